r"""Trains a model, as a job on a Ray cluster.

    ray job submit --address http://127.0.0.1:8265 --working-dir . -- \
        python jobs/train.py configs/train_buildings.yaml -o /mnt/geoseg/models/buildings

The configuration is one of kind train; options of `geoseg train` may follow it and go before it. Submitted
again it goes on from its last checkpoint, and does nothing if nothing is left.
"""

import sys

from geoseg.cli import main
from geoseg.cluster.job import job_arguments

if __name__ == "__main__":
    main(lambda: job_arguments("train", sys.argv[1:]))
