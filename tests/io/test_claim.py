"""Claims of folders in an object store: one owner at a time, wherever processes run, and none for ever."""

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from bucket import BucketServer, reached
from stumbling import Trouble, stumbling

from geoseg.errors import RunFolderError, StoppedError
from geoseg.io.bucket import BucketPath
from geoseg.io.claim import Lease, claimed, refuse_claimed
from geoseg.io.fence import CLAIM
from geoseg.io.ledger import Ledger

QUICK = Lease(renew_s=0.05, dead_s=0.6)


def elsewhere(folder: BucketPath, owner: str | None = "somebody") -> None:
    """A claim of a process of another machine, which does not renew it."""
    said = {"owner": owner, "host": "far", "pid": 1, "world": "another start", "beat": 7}
    (folder / CLAIM).write(json.dumps(said).encode())


def test_a_folder_has_one_owner_at_a_time(place: BucketPath) -> None:
    for _ in range(2):
        with claimed(place, QUICK) as mine:
            (mine / "a").write(b"")
            named = pytest.raises(RunFolderError, match=r"another process on .* is working on s3://.*/run: wait")
            with named, claimed(place, QUICK):
                pytest.fail("it is held")
            with pytest.raises(RunFolderError, match="a process is working on"):
                refuse_claimed(place, QUICK)
        refuse_claimed(place, QUICK)


def test_a_claim_is_renewed_for_longer_than_it_would_hold(place: BucketPath) -> None:
    with claimed(place, QUICK) as mine:
        for _ in range(3):
            with pytest.raises(RunFolderError), claimed(place, QUICK):
                pytest.fail("it is held")
        (mine / "a").write(b"")


def test_a_process_that_died_here_holds_nothing(place: BucketPath, bucket: BucketServer) -> None:
    script = (
        "import os, signal, sys; from geoseg.io.claim import claimed; from geoseg.io.place import parse_place\n"
        "with claimed(parse_place(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = os.environ | bucket.environment
    died = subprocess.run([sys.executable, "-c", script, str(place)], env=environment, check=False)
    assert died.returncode == -9
    assert json.loads((place / CLAIM).read_bytes())["owner"] is not None
    # Nobody is watched: a claim that is held elsewhere would be for a day.
    with claimed(place, Lease(renew_s=0.05, dead_s=86400)) as mine:
        (mine / "a").write(b"")


def test_one_who_is_silent_elsewhere_is_taken_for_dead(
    place: BucketPath, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere(place)
    with claimed(place, QUICK) as mine:
        (mine / "a").write(b"")
    assert "was not given back by the process that worked on it; watching" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"[]", b'{"owner": null}', b"\xff"])
def test_what_is_no_claim_holds_nothing(place: BucketPath, content: bytes) -> None:
    (place / CLAIM).write(content)
    with claimed(place, Lease(renew_s=0.05, dead_s=86400)):
        assert json.loads((place / CLAIM).read_bytes())["owner"] is not None


def test_who_lost_a_folder_writes_nothing_more_to_it(place: BucketPath) -> None:
    with claimed(place, Lease(renew_s=86400, believed_s=0)) as mine:
        (mine / "a").write(b"mine")
        elsewhere(place)
        writes: list[Any] = [
            partial((mine / "a").write, b"late"),
            partial((mine / "b").create, b"late"),
            (mine / "a").unlink,
            (mine / "a").remove_all,
            partial(Ledger(mine / "ledger").commit, "0-0", {}),
        ]
        for write in writes:
            with pytest.raises(StoppedError, match=r"another process works on s3://.*/run now"):
                write()
        assert (mine / "a").read_bytes() == b"mine"
    # It is not given back by who does not hold it any more.
    assert json.loads((place / CLAIM).read_bytes())["owner"] == "somebody"
    assert sorted(path.name for path in place.iterdir()) == [CLAIM, "a"]


def test_of_many_who_want_a_folder_that_was_left_one_gets_it(place: BucketPath) -> None:
    elsewhere(place)
    got, refused, done = [], [], threading.Event()

    def take(number: int) -> None:
        try:
            with claimed(place, QUICK):
                got.append(number)
                done.wait(30)
        except RunFolderError:
            refused.append(number)
            if len(refused) == 3:
                done.set()

    threads = [threading.Thread(target=take, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 3)


@pytest.mark.parametrize("fault", ["lost", "500"])
def test_a_claim_survives_answers_that_do_not_come(bucket: BucketServer, fault: Trouble) -> None:
    """A write whose answer was lost is tried again, and then refused: the object there is one's own."""
    numbers, many = itertools.count(), threading.Event()

    def misbehave(method: str, path: str, number: int) -> Trouble | None:
        if method != "PUT" or not path.endswith(CLAIM):
            return None
        turn = next(numbers)
        if turn > 8:
            many.set()
        return fault if turn % 2 == 0 else None

    with stumbling(bucket, misbehave) as shaky, reached(shaky):
        folder = shaky.folder(f"answers-{fault}")
        with claimed(folder, QUICK) as mine:
            assert many.wait(60), "it is renewed"
            (mine / "a").write(b"")
            with pytest.raises(RunFolderError), claimed(folder, QUICK):
                pytest.fail("it is held")
        refuse_claimed(folder, QUICK)


def test_a_claim_goes_on_after_it_could_not_be_looked_at(bucket: BucketServer) -> None:
    """No answer to a renewal came, and to whose the claim is by now a refusal: it still is one's own."""
    trouble, writes = threading.Event(), itertools.count()
    refused = []

    def misbehave(method: str, path: str, number: int) -> Trouble | None:
        if not (trouble.is_set() and path.endswith(CLAIM)):
            return None
        if method == "PUT":
            return "lost" if next(writes) == 0 else None
        refused.append(path)
        return "403"

    with stumbling(bucket, misbehave) as shaky, reached(shaky):
        folder = shaky.folder("unseen")
        with claimed(folder, QUICK):
            trouble.set()
            assert until(lambda: refused)
            trouble.clear()
            _, left = (folder / CLAIM).read_version()
            assert until(lambda: (folder / CLAIM).read_version()[1] != left), "it is renewed again"


def until(true: Callable[[], object], most_s: float = 60) -> bool:
    """Wait until something is so; whether it came to be."""
    end = time.monotonic() + most_s
    while time.monotonic() < end and not true():
        time.sleep(0.01)
    return bool(true())


def test_a_bucket_that_cannot_be_written_is_refused_in_one_line(bucket: BucketServer) -> None:
    with (
        stumbling(bucket, lambda method, *_: "403" if method == "PUT" else None) as shut,
        reached(shut),
        pytest.raises(RunFolderError, match=r"the store answered 403 Forbidden .* or name another") as refused,
        claimed(shut.folder("shut")),
    ):
        pytest.fail("it is held")
    assert "\n" not in str(refused.value)
    with (
        reached(bucket),
        pytest.raises(RunFolderError, match="there is no bucket nowhere-at-all: make it, or"),
        claimed(BucketPath("s3", "nowhere-at-all", "run")),
    ):
        pytest.fail("it is held")
