r"""Maps a region, as a job on a Ray cluster.

    ray job submit --address http://127.0.0.1:8265 --working-dir . -- \
        python jobs/map_region.py configs/map_cluster.yaml

The configuration is one of kind map; options of `geoseg map` may follow it and go before it. Submitted again it
goes on where it stopped, and does nothing if nothing is left.
"""

import sys

from geoseg.cli import main
from geoseg.cluster.job import job_arguments

if __name__ == "__main__":
    main(lambda: job_arguments("map", sys.argv[1:]))
