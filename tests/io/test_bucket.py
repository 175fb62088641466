"""Paths in an object store: those of a disk but for what only stores can do, also where the store misbehaves."""

import hashlib
import itertools
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import obstore
import pytest
from bucket import BucketServer, reached
from hypothesis import given, settings
from hypothesis import strategies as st
from stumbling import Trouble, stumbling

from geoseg.errors import StoppedError
from geoseg.io.bucket import BucketPath
from geoseg.io.stores import patiently

NUMBERS = itertools.count()

parts = st.sampled_from(["a", "b", "a.json", "b.npz", "0-1.json", "x y", "ä"])
names = st.lists(parts, min_size=1, max_size=3).map("/".join)
patterns = st.sampled_from(["*", "*.json", "*.npz", "*/", "a*", "0-1.json"])


def without_conflicts(chosen: list[str]) -> list[str]:
    """Names of which none would be a folder that another one is a file of, as no disk has them."""
    return [one for one in chosen if not any(other.startswith(f"{one}/") for other in chosen)]


@settings(max_examples=12)
@given(st.lists(names, max_size=6).map(without_conflicts), st.lists(names, max_size=4), patterns)
def test_what_lies_there_is_found_as_on_a_disk(
    bucket: BucketServer,
    tmp_path_factory: pytest.TempPathFactory,
    written: list[str],
    asked: list[str],
    pattern: str,
) -> None:
    disk = tmp_path_factory.mktemp("disk")
    with reached(bucket):
        stored = bucket.folder(f"law/{next(NUMBERS)}")
        for name in written:
            (disk / name).parent.mkdir(parents=True, exist_ok=True)
            (disk / name).write_bytes(name.encode())
            (stored / name).write(name.encode())
        for name in ["", *written, *asked, *(str(PurePosixPath(name).parent) for name in written)]:
            if name == "." or (not name and not written):
                continue  # a store has no empty folders
            here, there = disk / name, stored / name if name else stored
            assert (here.exists(), here.is_file(), here.is_dir()) == (
                there.exists(),
                there.is_file(),
                there.is_dir(),
            )
            if here.is_file():
                assert there.read_bytes() == here.read_bytes()
                assert there.read_text() == here.read_text()
                assert there.size() == here.stat().st_size
                assert there.sha256() == hashlib.sha256(here.read_bytes()).hexdigest()
                assert (there.name, there.stem) == (here.name, here.stem)
                assert there.parent / there.name == there
                continue
            within = {path.relative_to(disk).as_posix() for path in here.iterdir()} if here.exists() else set()
            assert {path.relative_to(stored).as_posix() for path in there.iterdir()} == within
            # A pattern that ends with a slash is of folders alone, which Python's own does not say before 3.11.
            alike = {path for path in here.glob(pattern) if path.is_dir() or not pattern.endswith("/")}
            assert {path.relative_to(stored).as_posix() for path in there.glob(pattern)} == {
                path.relative_to(disk).as_posix() for path in alike
            }
            deep = {path.relative_to(disk).as_posix() for path in here.rglob("*.json") if path.is_file()}
            assert {path.relative_to(stored).as_posix() for path in there.rglob("*.json")} == deep


def test_a_missing_object_is_a_missing_file(place: BucketPath, tmp_path: Path) -> None:
    reads: list[Any] = [
        place.read_bytes,
        place.sha256,
        place.size,
        place.read_version,
        lambda: place.fetch(tmp_path / "a"),
    ]
    for read in reads:
        with pytest.raises(FileNotFoundError):
            read()
    place.unlink()
    place.remove_all()


def test_a_folder_is_removed_with_all_that_is_in_it_and_nothing_beside(place: BucketPath) -> None:
    kept = [place.parent / "run2" / "a", place.parent / "run.json"]
    for path in (*kept, place, *(place / f"{number % 7}/{number}" for number in range(40))):
        path.write(b"")
    place.remove_all()
    assert sorted(place.parent.rglob("*")) == sorted(kept)


@pytest.mark.parametrize("size", [0, 1, 2**20, 8 * 2**20 + 1, 20 * 2**20])
def test_bytes_come_back(place: BucketPath, tmp_path: Path, size: int) -> None:
    content = hashlib.shake_128(b"seed").digest(size)
    file = tmp_path / "file"
    file.write_bytes(content)
    (place / "of_bytes").write(content)
    (place / "of_file").write(file)
    for path in place.iterdir():
        assert path.read_bytes() == content
        assert path.sha256() == hashlib.sha256(content).hexdigest()
        path.fetch(tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == content


def test_of_several_that_create_the_first_does(place: BucketPath) -> None:
    assert place.create(b"first") is not None
    assert place.create(b"second") is None
    assert place.create(b"first") is None
    assert place.read_bytes() == b"first"


def test_of_several_that_replace_a_version_the_first_does(place: BucketPath) -> None:
    version = place.create(b"0")
    assert version is not None
    content, same = place.read_version()
    assert (content, same) == (b"0", version)
    newer = place.swap(b"1", version)
    assert newer is not None
    assert place.swap(b"2", version) is None
    assert place.read_version() == (b"1", newer)
    place.unlink()
    assert place.swap(b"3", newer) is None
    assert not place.exists()


def test_what_travels_holds_no_credentials(place: BucketPath) -> None:
    place.write(b"")  # the store is open
    sent = pickle.dumps(place)
    assert pickle.loads(sent) == place  # noqa: S301  # our own
    assert b"nothing" not in sent
    assert b"nobody" not in sent


@pytest.mark.parametrize(
    "fault",
    ["500", "lost", "cut", *(pytest.param(fault, marks=pytest.mark.slow) for fault in ("503", "slow"))],
)
def test_a_store_that_fails_now_and_then_is_asked_again(
    bucket: BucketServer, tmp_path: Path, fault: Trouble
) -> None:
    """Every third request goes wrong; that answers of successful writes are lost makes no difference, either."""
    big = hashlib.shake_128(b"seed").digest(9 * 2**20)

    def misbehave(method: str, path: str, number: int) -> Trouble | None:
        return fault if number % 3 == 1 else None

    with stumbling(bucket, misbehave) as shaky, reached(shaky):
        place = shaky.folder(f"faults-{fault}")
        for number in range(6):
            (place / f"{number}.json").write(str(number).encode())
        (place / "big").write(big)
        assert (place / "big").read_bytes() == big
        assert sorted(path.name for path in place.glob("*.json")) == [f"{number}.json" for number in range(6)]
        for number in range(6):
            assert (place / f"{number}.json").read_bytes() == str(number).encode()
        made = place / "created"
        # None where the answer was lost, and the object is there all the same.
        if made.create(b"mine") is None:
            assert fault == "lost"
        content, version = made.read_version()
        assert content == b"mine"
        if made.swap(b"newer", version) is None:
            assert fault == "lost"
        assert made.read_bytes() == b"newer"
        (place / "0.json").unlink()
        assert not (place / "0.json").exists()
        (place / "big").fetch(tmp_path / "big")
        assert (tmp_path / "big").read_bytes() == big
        place.remove_all()
        assert not place.exists()


@pytest.fixture(scope="module")
def crowd(bucket: BucketServer) -> BucketPath:
    """A folder with more objects than a store lists at once, which is a thousand."""
    place = bucket.folder("crowd")
    with reached(bucket), ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: (place / f"{number:04}.json").write(b""), range(1005)))
    return place


@pytest.mark.parametrize("fault", ["cut", "lost"])
@pytest.mark.parametrize("page", [1, 2])
def test_a_listing_that_breaks_off_is_not_taken_for_the_whole(
    bucket: BucketServer, crowd: BucketPath, fault: Trouble, page: int
) -> None:
    """What is not listed would count as not done, and a folder that is full as new."""
    pages = itertools.count(1)

    def misbehave(method: str, path: str, number: int) -> Trouble | None:
        return fault if "list-type" in path and next(pages) == page else None

    with stumbling(bucket, misbehave) as shaky, reached(shaky):
        assert [path.name for path in crowd.rglob("*.json")] == [f"{number:04}.json" for number in range(1005)]
    pages = itertools.count(1)
    with stumbling(bucket, misbehave) as shaky, reached(shaky):
        assert crowd.is_dir()


def test_a_store_that_refuses_is_not_asked_again(bucket: BucketServer) -> None:
    asked = []

    def misbehave(method: str, path: str, number: int) -> Trouble | None:
        asked.append(method)
        return "403"

    with stumbling(bucket, misbehave) as shut, reached(shut):
        place = shut.folder("shut/run")
        with pytest.raises(StoppedError, match=r"s3://geoseg-test/shut/run cannot be .*403 Forbidden \(Trouble\)"):
            place.write(b"")
        with pytest.raises(StoppedError, match="check bucket, network, endpoint and credentials"):
            place.read_bytes()
    assert asked == ["PUT", "GET"]


def test_a_store_that_fails_for_long_stops(bucket: BucketServer) -> None:
    with (
        stumbling(bucket, lambda *_: "503") as down,
        reached(down),
        pytest.raises(StoppedError, match=r"down cannot be .* answered 503 Service Unavailable \(Trouble\)"),
    ):
        patiently("down", lambda: obstore.put(down.folder("down").store(), "a", b""), (0.0,))
