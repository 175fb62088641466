r"""Writes the layers of a finished run in another format, as a job on a Ray cluster.

    ray job submit --address http://127.0.0.1:8265 --working-dir . -- \
        python jobs/export.py configs/export.yaml

The configuration is one of kind export; options of `geoseg export` may follow it and go before it. With
`force: true` it may be submitted again; without, it replaces nothing.
"""

import sys

from geoseg.cli import main
from geoseg.cluster.job import job_arguments

if __name__ == "__main__":
    main(lambda: job_arguments("export", sys.argv[1:]))
