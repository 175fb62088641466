import itertools
import json
import math
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from bucket import BucketServer, reached
from hypothesis import given, settings
from hypothesis import strategies as st
from stumbling import Trouble, stumbling

from geoseg.errors import StoppedError
from geoseg.io.bucket import BucketPath
from geoseg.io.fence import Held
from geoseg.io.ledger import Ledger, canonical_hash, write_json
from geoseg.io.place import file_sha256

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
objects = st.dictionaries(
    texts,
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**60), 2**60)
        | st.floats(allow_nan=False, allow_infinity=False)
        | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


@given(objects)
def test_a_record_comes_back_as_it_was_committed(
    tmp_path_factory: pytest.TempPathFactory, record: dict[str, object]
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("run") / "ledger" / "mosaic")
    assert ledger.done() == frozenset()
    ledger.commit("0-1", record)
    assert ledger.done() == {"0-1"}
    assert ledger.record("0-1") == record
    assert [file.name for file in ledger.folder.iterdir()] == ["0-1.json"]


def test_a_later_commit_replaces_the_earlier(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.commit("a", {"attempt": 1, "padding": "x" * 1000})
    ledger.commit("a", {"attempt": 2})
    ledger.commit("b", {})
    assert ledger.record("a") == {"attempt": 2}
    assert ledger.done() == {"a", "b"}


def test_what_a_killed_writer_left_is_no_marker(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.commit("a", {})
    whole = (tmp_path / "a.json").read_text()
    (tmp_path / ".b.json.123.partial").write_text(whole[:3])
    assert ledger.done() == {"a"}


def test_what_is_no_json_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    write_json(file, {"status": "running"})
    for content in ({"seconds": float("nan")}, {"path": tmp_path}):
        with pytest.raises((ValueError, TypeError)):
            write_json(file, content)
    assert json.loads(file.read_text()) == {"status": "running"}
    assert list(tmp_path.iterdir()) == [file]


def test_a_reader_never_sees_a_part(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    contents = [{"number": number, "padding": "x" * 50000} for number in range(2)]
    write_json(file, contents[0])

    def write() -> None:
        for number in range(60):
            write_json(file, contents[number % 2])

    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    while writer.is_alive():
        seen.append(json.loads(file.read_text()))
    writer.join()
    seen.append(json.loads(file.read_text()))
    assert all(content in contents for content in seen)


@given(objects)
def test_a_hash_does_not_depend_on_the_order_of_keys(content: dict[str, object]) -> None:
    backwards = dict(reversed(content.items()))
    assert canonical_hash(content) == canonical_hash(backwards)
    assert canonical_hash({**content, "one more key": 1}) != canonical_hash(content)


def test_a_hash_is_of_all_that_is_said() -> None:
    assert canonical_hash({"a": [1, {"b": 2, "c": 3}]}) == canonical_hash({"a": [1, {"c": 3, "b": 2}]})
    assert canonical_hash({"a": [1, 2]}) != canonical_hash({"a": [2, 1]})
    # sha256sum of {"a":1}
    assert canonical_hash({"a": 1}) == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"


def test_the_hash_of_a_file_is_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert file_sha256(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@settings(max_examples=15)
@given(objects)
def test_in_a_store_a_record_comes_back_as_on_a_disk(bucket: BucketServer, record: dict[str, object]) -> None:
    with reached(bucket):
        ledger = Ledger(bucket.folder(f"ledger/{canonical_hash(record)}"))
        assert ledger.done() == frozenset()
        ledger.commit("0-1", record)
        assert ledger.done() == {"0-1"}
        assert ledger.record("0-1") == record
        ledger.forget("0-1")
        assert ledger.done() == frozenset()


def test_in_a_store_two_owners_cannot_both_commit(place: BucketPath) -> None:
    # Both believe that the claim is theirs.
    first, second = (Ledger(replace(place, held=Held("", owner, math.inf))) for owner in ("first", "second"))
    first.commit("same", {"chunks": {"0": "a"}})
    second.commit("same", {"chunks": {"0": "a"}})
    first.commit("differs", {"chunks": {"0": "a"}})
    with pytest.raises(StoppedError, match=r"another process marked s3://.*differs\.json as done"):
        second.commit("differs", {"chunks": {"0": "b"}})
    assert second.record("differs") == {"chunks": {"0": "a"}}
    # One's own is replaced: a unit that is done again.
    first.commit("differs", {"chunks": {"0": "c"}})
    assert dict(second.records()) == {"differs": {"chunks": {"0": "c"}}, "same": {"chunks": {"0": "a"}}}


def test_in_a_store_a_marker_is_ones_own_though_no_answer_came(bucket: BucketServer) -> None:
    writes = itertools.count()

    def misbehave(method: str, path: str, number: int) -> Trouble | None:
        return "lost" if method == "PUT" and next(writes) % 2 == 0 else None

    with stumbling(bucket, misbehave) as shaky, reached(shaky):
        ledger = Ledger(shaky.folder("no-answers"))
        for attempt in range(3):
            ledger.commit("a", {"attempt": attempt})
            assert ledger.record("a") == {"attempt": attempt}
    assert next(writes) >= 6


def test_in_a_store_many_records_come_in_the_order_of_their_keys(place: BucketPath) -> None:
    ledger = Ledger(place)
    for number in range(40):
        ledger.commit(f"{number:03}", {"number": number, "depends": str(number % 2)})
    assert [record["number"] for _, record in ledger.records()] == list(range(40))
    assert ledger.done_for("1") == {f"{number:03}" for number in range(1, 40, 2)}
    assert len(ledger.done()) == 20
