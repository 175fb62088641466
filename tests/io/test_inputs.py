"""What arguments name: files, folders, globs and lists."""

from pathlib import Path

import pytest

from geoseg.errors import SceneError
from geoseg.io.inputs import find_sources

BANDS = ("red", "green", "blue")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.tif", "a.TIF", "c.jp2", "notes.md", "b.tif.aux.xml", ".hidden.tif", "deep/d.tif", "v.vrt"):
        path = tmp_path / "scenes" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.touch()
    return tmp_path / "scenes"


def files(*given: str | Path, trust_vrt: bool = False) -> list[str]:
    return [source.files[0] for source in find_sources([str(one) for one in given], BANDS, trust_vrt=trust_vrt)]


def test_a_folder_is_its_rasters_by_name(folder: Path) -> None:
    assert files(folder) == [str(folder / name) for name in ("a.TIF", "b.tif", "c.jp2")]
    assert files(folder, trust_vrt=True)[-1] == str(folder / "v.vrt")


def test_a_glob_is_the_rasters_it_matches(folder: Path) -> None:
    assert files(f"{folder}/*") == files(folder)
    assert files(f"{folder}/**/*.tif") == [str(folder / "b.tif"), str(folder / "deep" / "d.tif")]


def test_a_list_is_relative_to_itself_and_may_name_folders_and_globs(folder: Path) -> None:
    listed = folder.parent / "all.txt"
    listed.write_text(f"# scenes\n\nscenes/c.jp2\n{folder}/deep/d.tif\nscenes\nscenes/*.jp2\n")
    assert files(listed) == [str(folder / n) for n in ("c.jp2", "deep/d.tif", "a.TIF", "b.tif")]


def test_each_file_comes_once_and_in_the_order_given(folder: Path) -> None:
    assert files(folder / "b.tif", folder, folder / "b.tif") == [
        str(folder / n) for n in ("b.tif", "a.TIF", "c.jp2")
    ]
    # Whether it is there is told where it is opened.
    assert files("nowhere.tif") == ["nowhere.tif"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "lists no scene"),
        ("# nothing\n", "lists no scene"),
        ("other.txt\n", "lists another list"),
        ("empty\n", "without rasters"),
        ("*.tif\n", "matches no raster"),
        (b"\xff\xfe\x00", "not UTF-8"),
    ],
)
def test_what_names_nothing_is_refused(tmp_path: Path, content: str | bytes, words: str) -> None:
    (tmp_path / "empty").mkdir()
    listed = tmp_path / "list.txt"
    listed.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(SceneError, match=words):
        find_sources([str(listed)], BANDS)


def test_nothing_at_all_is_refused() -> None:
    with pytest.raises(SceneError, match="got none"):
        find_sources([], BANDS)
