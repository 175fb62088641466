"""Workers that write to an object store which fails now and then, and that die."""

import itertools
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from bucket import BucketServer, reached
from harness import WORKERS, Mapping, content, workers_of
from stumbling import FAULTS, Trouble, stumbling

from geoseg.verify import verify_run

pytestmark = pytest.mark.slow


def test_workers_die_and_the_store_fails_and_no_byte_differs(
    mapping: Mapping, undisturbed: Path, bucket: BucketServer
) -> None:
    faults = itertools.cycle(FAULTS)
    marked, turn = threading.Event(), itertools.count(1)

    def misbehave(method: str, path: str, number: int) -> Trouble | None:
        if method == "PUT" and "/ledger/mosaic/" in path and next(turn) == 4:
            marked.set()
        return next(faults) if number % 11 == 5 else None

    with stumbling(bucket, misbehave) as shaky:
        place = shaky.folder("workers/run")
        process = replace(mapping, environment=shaky.environment).start(place, *WORKERS)
        assert marked.wait(200)
        os.kill(workers_of(process)[0], signal.SIGKILL)
        ended = process.end()
        assert ended.returncode == 0, ended.stderr
    with reached(bucket):
        assert content(place) == content(undisturbed)
        assert verify_run(place).differences == ()
