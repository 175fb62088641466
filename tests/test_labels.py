import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.labels import NO_OBJECT_CLASS, LabelClass, LabelSet

slugs = st.from_regex(r"[a-z][a-z0-9_]{0,62}", fullmatch=True)


@given(st.binary(min_size=3, max_size=3))
def test_a_colour_is_its_three_bytes(rgb: bytes) -> None:
    assert LabelClass("a", None, "stuff", f"#{rgb.hex()}").rgb == tuple(rgb)


@given(st.lists(slugs, min_size=2, max_size=20, unique=True), st.data())
def test_ids_are_positions(names: list[str], data: st.DataObject) -> None:
    layered = data.draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names)))
    classes = [
        LabelClass(name, f"l_{name}"[:63] if has else None, "stuff", "#000000")
        for name, has in zip(names, layered, strict=True)
    ]
    try:
        labels = LabelSet(tuple(classes))
    except ValueError as error:
        assert "layer names must differ" in str(error)  # noqa: PT017  # long names may fall together when cut
        return
    assert len(labels) == len(names)
    assert labels.names == tuple(names)
    assert [labels.classes[i].layer for i, _ in labels.layers] == [layer for _, layer in labels.layers]
    assert [i for i, _ in labels.layers] == [i for i, has in enumerate(layered) if has]


@pytest.mark.parametrize("name", ["", "Building", "a b", "../a", "a/b", "a.b", "0a", "a" * 64, "a\n", "é"])
def test_what_is_no_slug_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="class name"):
        LabelClass(name, None, "thing", "#000000")
    with pytest.raises(ValueError, match="layer name"):
        LabelClass("a", name, "thing", "#000000")


@pytest.mark.parametrize("color", ["", "red", "#fff", "#GGGGGG", "#AA0000", "#aa00000", "#aa0000\n"])
def test_a_colour_has_one_spelling(color: str) -> None:
    with pytest.raises(ValueError, match="color must be #rrggbb"):
        LabelClass("a", None, "thing", color)


def test_ids_must_fit_below_nodata() -> None:
    classes = tuple(LabelClass(f"c{i}", None, "stuff", "#000000") for i in range(NO_OBJECT_CLASS + 1))
    assert len(LabelSet(classes[:-1])) == NO_OBJECT_CLASS
    with pytest.raises(ValueError, match="expected 2 to 254 classes, got 255"):
        LabelSet(classes)
    with pytest.raises(ValueError, match="expected 2 to 254 classes, got 1"):
        LabelSet(classes[:1])


def test_no_two_classes_share_a_name_or_a_layer() -> None:
    first, second = LabelClass("a", "as", "stuff", "#000000"), LabelClass("b", "as", "stuff", "#000000")
    with pytest.raises(ValueError, match="class names must differ, got a, a"):
        LabelSet((first, first))
    with pytest.raises(ValueError, match="layer names must differ, got as, as"):
        LabelSet((first, second))


@pytest.mark.parametrize("layer", ["gpkg_contents", "sqlite_master", "rtree_a_geom"])
def test_names_that_sqlite_keeps_are_no_layers(layer: str) -> None:
    with pytest.raises(ValueError, match="are SQLite's"):
        LabelClass("a", layer, "stuff", "#000000")
