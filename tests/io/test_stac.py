"""STAC documents become scenes, in their order; hostile ones are refused by name."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback import Fault, Web, first

from geoseg.errors import SceneError
from geoseg.io.hrefs import follow
from geoseg.io.sources import SceneSource
from geoseg.io.stac import is_stac, read_stac

RGB = ("red", "green", "blue")
TIFF = "image/tiff; application=geotiff; profile=cloud-optimized"


def item(name: str = "one", assets: dict[str, Any] | None = None, **properties: object) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": ["https://schemas.example.org/never-fetched.json"],
        "id": name,
        "geometry": None,
        "properties": {"datetime": "2024-05-06T07:08:09+02:00", **properties},
        "links": [],
        "assets": assets or {"image": {"href": "./a.tif", "type": TIFF, "roles": ["data"]}},
    }


def catalog(*links: tuple[str, str], kind: str = "Catalog") -> dict[str, Any]:
    extent = {"spatial": {"bbox": [[0, 0, 1, 1]]}, "temporal": {"interval": [[None, None]]}}
    more = {"license": "CC0-1.0", "extent": extent} if kind == "Collection" else {}
    return {
        "type": kind,
        "stac_version": "1.0.0",
        "id": "all",
        "description": "all",
        "links": [{"rel": rel, "href": href} for rel, href in links],
        **more,
    }


def write(folder: Path, **documents: object) -> Path:
    for name, document in documents.items():
        path = folder / f"{name.replace('__', '/')}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))
    return folder


def serve(web: Web, path: str, document: object) -> str:
    return web.put(path, json.dumps(document).encode())


def test_an_item_on_disk(tmp_path: Path) -> None:
    path = str(write(tmp_path, item=item()) / "item.json")
    assert is_stac(path)
    found = str(tmp_path.resolve() / "a.tif")
    assert read_stac(path, None, RGB) == [SceneSource((found,), "2024-05-06T05:08:09Z", "one")]


def test_items_of_a_collection_keep_their_order(tmp_path: Path) -> None:
    write(
        tmp_path,
        collection=catalog(
            ("self", "https://elsewhere.invalid/collection.json"),
            ("item", "./z/2.json"),
            ("child", "sub/catalog.json"),
            ("item", "z/1.json"),
            ("license", "file:///etc/passwd"),
            kind="Collection",
        ),
        z__2=item("2"),
        z__1=item("1", datetime=None, start_datetime="2023-01-01T00:00:00Z", end_datetime="2024-01-01T00:00:00Z"),
        sub__catalog=catalog(("root", "../collection.json"), ("item", "../z/3.json"), ("item", "../z/2.json")),
        z__3=item("3"),
    )
    sources = read_stac(str(tmp_path / "collection.json"), None, RGB)
    assert [source.name for source in sources] == ["2", "3", "1"]
    assert sources[2].date == "2023-01-01T00:00:00Z"
    assert {source.files for source in sources} == {(str(tmp_path.resolve() / "z/a.tif"),)}


def test_a_collection_on_a_server(web: Web) -> None:
    serve(web, "/c/items/1.json", item("1"))
    serve(web, "/c/items/2.json", item("2", {"visual": {"href": "/b/2.tif?sig=SECRET"}}))
    address = serve(
        web, "/c/collection.json", catalog(("item", "items/1.json"), ("item", "/c/items/2.json"), kind="Collection")
    )
    assert is_stac(address)
    web.requests.clear()
    web.misbehave = first(2, Fault(status=503))
    sources = read_stac(address, None, RGB)
    assert [source.files[0] for source in sources] == [
        f"{web.origin}/c/items/a.tif",
        f"{web.origin}/b/2.tif?sig=SECRET",
    ]
    assert {request.path for request in web.requests} == {
        "/c/collection.json",
        "/c/items/1.json",
        "/c/items/2.json",
    }


def test_pages_of_a_search_are_followed(web: Web) -> None:
    last = {"type": "FeatureCollection", "features": [item("2")], "links": []}
    pages: list[dict[str, Any]] = [
        {**last, "features": [item("1")], "links": [{"rel": "next", "href": "/last"}]},
        {**last, "features": [], "links": [{"rel": "next", "href": "/search"}]},
    ]
    serve(web, "/last", last)
    address = serve(web, "/search", pages[0])
    assert [source.name for source in read_stac(address, None, RGB)] == ["1", "2"]
    pages[0]["links"][0]["method"] = "POST"
    with pytest.raises(SceneError, match="asked for with POST"):
        read_stac(serve(web, "/search", pages[0]), None, RGB)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (item(), True),
        (catalog(), True),
        (catalog(kind="Collection"), True),
        ({"type": "FeatureCollection", "features": [item()]}, True),
        ({"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {}}]}, False),
        ({"type": "Feature", "geometry": None, "properties": {}}, False),
        ({"version": 1}, False),
        ({"type": ["Feature"], "assets": 3}, False),
        ([item()], False),
        ("{", False),
    ],
)
def test_other_json_is_told_apart(tmp_path: Path, web: Web, content: object, expected: bool) -> None:
    path = tmp_path / "a.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    assert is_stac(str(path)) is expected
    assert is_stac(web.put("/a.json?x=1".partition("?")[0], path.read_bytes())) is expected


def test_what_is_no_document_is_not_read(tmp_path: Path, web: Web) -> None:
    (tmp_path / "deep.json").write_text("[" * 100_000)
    assert not is_stac(str(tmp_path / "deep.json"))
    assert not is_stac(str(tmp_path / "missing.json"))
    assert not is_stac(str(tmp_path))
    assert not is_stac(web.put("/a.tif", b"{"))
    assert web.requests == [], "a raster by its name is not looked at"
    assert not is_stac(web.put("/raster", bytes(10**7)))
    assert all(request.part == (0, 1023) for request in web.requests)
    assert not is_stac("s3://bucket/a.json")


BANDS_1_0 = {name: [{"name": f"B{number}", "common_name": name}] for number, name in enumerate(RGB)}


@pytest.mark.parametrize(
    ("assets", "asked", "chosen"),
    [
        ({"x": {"eo:bands": [{"name": name} for name in (*RGB, "nir")]}, "y": {"roles": ["data"]}}, None, ["x"]),
        ({"x": {"bands": [{"eo:common_name": name} for name in RGB]}}, None, ["x"]),
        ({"blue": {}, "red": {}, "green": {}, "data": {"roles": ["data"]}}, None, list(RGB)),
        ({f"B0{n}": {"eo:bands": BANDS_1_0[name]} for n, name in enumerate(RGB)}, None, ["B00", "B01", "B02"]),
        ({"t": {"roles": ["thumbnail"]}, "x": {"roles": ["data"]}, "y": {}}, None, ["x"]),
        ({"visual": {}, "y": {}}, None, ["visual"]),
        ({"x": {}, "y": {"roles": ["scene"]}}, ("scene",), ["y"]),
        ({"x": {}, "y": {}, "z": {}}, ("z", "y", "x"), ["z", "y", "x"]),
    ],
)
def test_which_assets(
    tmp_path: Path, assets: dict[str, Any], asked: tuple[str, ...] | None, chosen: list[str]
) -> None:
    full = {key: {"href": f"{key}.tif", "type": TIFF, **asset} for key, asset in assets.items()}
    path = str(write(tmp_path, item=item("a", full)) / "item.json")
    expected = tuple(str(tmp_path.resolve() / f"{key}.tif") for key in chosen)
    assert read_stac(path, asked, RGB)[0].files == expected


@pytest.mark.parametrize(
    ("assets", "asked", "words"),
    [
        ({"x": {}, "y": {}}, None, r"nothing tells which .*--assets"),
        ({"x": {"roles": ["a"]}, "y": {"roles": ["a"]}}, ("a",), "2 of them"),
        ({"x": {}}, ("w",), r"x \(no role\); 0 of them"),
        ({"x": {}}, ("x", "x"), "one for each of red, green, blue; it names 2"),
        ({"x": {"bands": [{"name": name} for name in reversed(RGB)]}}, None, "in another order"),
        ({"x": {"type": "text/html", "href": "a.html"}}, None, "nothing tells"),
    ],
)
def test_assets_that_nothing_tells(
    tmp_path: Path, assets: dict[str, Any], asked: tuple[str, ...] | None, words: str
) -> None:
    full = {key: {"href": f"{key}.tif", "type": TIFF, **asset} for key, asset in assets.items()}
    path = str(write(tmp_path, item=item("a", full)) / "item.json")
    with pytest.raises(SceneError, match=words):
        read_stac(path, asked, RGB)


HOSTILE = [
    "file:///etc/passwd",
    "FILE:/etc/passwd",
    "/vsicurl/http://127.0.0.1/a.tif",
    "/vsizip/a.zip/b.tif",
    "http://127.0.0.1:9/a.tif",
    "http://example.org/a.tif",
    "HTTP://LOCALHOST/a.tif",
    "https://127.0.0.1/a.tif",
    "HTTPS://127.0.0.1/a.tif",
    "https://localhost/a.tif",
    "https://127.1/a.tif",
    "https://0x7f000001/a.tif",
    "https://2130706433/a.tif",
    "https://10.1.2.3/a.tif",
    "https://169.254.169.254/latest/meta-data",
    "https://[::1]/a.tif",
    "https://[::ffff:10.0.0.1]/a.tif",
    "https://[64:ff9b::a00:1]/a.tif",
    "https://[fe80::1]/a.tif",
    "https://0.0.0.0/a.tif",
    "https://no-such-host.invalid/a.tif",
    "https://8.8.8.8@127.0.0.1/a.tif",
    "https://user:word@8.8.8.8/a.tif",
    "https://127.0.0.1%2f@8.8.8.8/a.tif",
    "https://127%2e0%2e0%2e1/a.tif",
    "https://8.8.8.8\\@127.0.0.1/a.tif",
    "https:\\\\127.0.0.1\\a.tif",
    "\\\\127.0.0.1\\share\\a.tif",
    "https:///a.tif",
    "https://8.8.8.8:99999/a.tif",
    "ftp://8.8.8.8/a.tif",
    "data:image/tiff;base64,AAAA",
    "s3://../a.tif",
    "s3://bucket/../other/a.tif",
    "s3://bucket?x/a.tif",
    "gs://bucket",
    "a\n.tif",
    "a\0.tif",
    "",
    "C:\\a.tif",
    "a" * 10_000,
]


@pytest.mark.parametrize("href", [*HOSTILE, "//127.0.0.1/a.tif", "//127.0.0.1:9/a.tif"])
def test_hostile_links_are_refused_with_their_document(web: Web, tmp_path: Path, href: str) -> None:
    assets = {"image": {"href": href, "type": TIFF, "roles": ["data"]}}
    for document in (
        serve(web, "/item.json", item("a", assets)),
        str(write(tmp_path, item=item("a", assets)) / "item.json"),
    ):
        with pytest.raises(SceneError, match=r"item\.json") as refused:
            read_stac(document, None, RGB)
        assert "\n" not in str(refused.value)
    with pytest.raises(SceneError, match="must not lead"):
        follow(href, f"{web.origin}/catalog.json", None)
    web.requests.clear()
    with pytest.raises(SceneError):
        read_stac(serve(web, "/catalog.json", catalog(("item", href))), None, RGB)
    assert {request.path for request in web.requests} == {"/catalog.json"}


@pytest.mark.parametrize(
    "href", ["/etc/passwd", "../a.tif", "sub/../../a.tif", "out.tif", "//etc/passwd", "out/a.tif", "%2e%2e/../../b"]
)
def test_links_on_disk_stay_in_their_folder(tmp_path: Path, href: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "out.tif").symlink_to("/etc/passwd")
    (folder / "out").symlink_to(tmp_path)
    path = str(write(folder, item=item("a", {"image": {"href": href, "type": TIFF}})) / "item.json")
    with pytest.raises(SceneError, match="must not lead"):
        read_stac(path, ("image",), RGB)
    with pytest.raises(SceneError, match="must not lead"):
        read_stac(str(write(folder, catalog=catalog(("child", href))) / "catalog.json"), None, RGB)


def test_what_is_public_may_be_named(tmp_path: Path) -> None:
    for href in ("https://8.8.8.8/a.tif?sig=x", "s3://bucket/a.tif", "gs://bucket/b/a.tif", "az://c/a.tif"):
        path = str(write(tmp_path, item=item("a", {"image": {"href": href, "type": TIFF}})) / "item.json")
        assert read_stac(path, None, RGB)[0].files == (href,)


@given(
    href=st.one_of(
        st.text(max_size=40),
        st.lists(st.sampled_from(["..", ".", "/", "a", "%2e%2e", "//", "https:", "@", "\\", ":", "?"])).map(
            "".join
        ),
    )
)
def test_nothing_leads_out_of_a_folder(href: str) -> None:
    folder = Path("/somewhere/in")
    try:
        found = follow(href, str(folder / "item.json"), folder)
    except SceneError:
        return
    assert Path(found).is_relative_to(folder)
    assert ".." not in Path(found).parts


@given(href=st.lists(st.sampled_from(["..", "/", "a", "@", "//", "https:", "http:", "127.0.0.1", ":9", "?", "#"])))
def test_nothing_leads_to_another_server(href: list[str]) -> None:
    origin = "https://8.8.8.8"
    try:
        found = follow("".join(href), f"{origin}/c/item.json", None)
    except SceneError:
        return
    assert found.startswith(f"{origin}/")


def test_catalogs_that_go_round_end(tmp_path: Path, web: Web) -> None:
    path = write(tmp_path, catalog=catalog(("child", "catalog.json"), ("child", "./x/../catalog.json")))
    with pytest.raises(SceneError, match="no STAC item"):
        read_stac(str(path / "catalog.json"), None, RGB)
    address = serve(web, "/catalog.json", catalog(("child", "catalog.json"), ("child", "/catalog.json?again")))
    with pytest.raises(SceneError, match="no STAC item"):
        read_stac(address, None, RGB)
    write(tmp_path, **{f"c{number}": catalog(("child", f"c{number + 1}.json")) for number in range(50)})
    with pytest.raises(SceneError, match="catalogs deep"):
        read_stac(str(tmp_path / "c0.json"), None, RGB)


GOOD = item()


@given(data=st.data())
def test_malformed_documents_are_refused_in_words(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    broken = copy.deepcopy(GOOD)
    junk = st.one_of(
        st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.lists(st.integers(), max_size=2)
    )
    key = data.draw(st.sampled_from([*GOOD, "properties.datetime", "assets.image", "assets.image.href"]))
    place = broken
    for part in key.split(".")[:-1]:
        place = place[part]
    place[key.rpartition(".")[2]] = data.draw(junk)
    path = tmp_path_factory.mktemp("stac") / "item.json"
    path.write_text(json.dumps(broken))
    is_stac(str(path))
    try:
        read_stac(str(path), None, RGB)
    except SceneError as error:
        assert str(path) in str(error)  # noqa: PT017  # both are right
