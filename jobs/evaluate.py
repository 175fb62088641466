r"""Compares a model, or a run, with labels, as a job on a Ray cluster.

    ray job submit --address http://127.0.0.1:8265 --working-dir . -- \
        python jobs/evaluate.py configs/evaluate.yaml

The configuration is one of kind evaluate; options of `geoseg evaluate` may follow it and go before it. Submitted
again it measures again and replaces its figures; exit code 3 says that a figure is too low.
"""

import sys

from geoseg.cli import main
from geoseg.cluster.job import job_arguments

if __name__ == "__main__":
    main(lambda: job_arguments("evaluate", sys.argv[1:]))
