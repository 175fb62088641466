"""Which addresses are read, and what is told of them."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import SceneError
from geoseg.io.addresses import is_public, is_remote, parse_address, shown


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("https://example.org/a.tif?sig=x", "/vsicurl/https://example.org/a.tif?sig=x"),
        ("HTTPS://Example.ORG:8443/A.tif", "/vsicurl/https://example.org:8443/A.tif"),
        ("http://127.0.0.1:81/a.tif", "/vsicurl/http://127.0.0.1:81/a.tif"),
        ("http://[::1]:81/a.tif", "/vsicurl/http://[::1]:81/a.tif"),
        ("http://localhost/a.tif", "/vsicurl/http://localhost/a.tif"),
        ("s3://bucket/b/Aä.tif", "/vsis3/bucket/b/Aä.tif"),
        ("gs://bucket/a.tif", "/vsigs/bucket/a.tif"),
        ("az://container/a.tif", "/vsiaz/container/a.tif"),
    ],
)
def test_what_is_read(text: str, path: str) -> None:
    assert is_remote(text)
    assert parse_address(text).gdal_path == path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ftp://example.org/a.tif", "expected a path on this machine, or an address with https"),
        ("file:///etc/passwd", "expected a path on this machine"),
        ("/vsicurl/https://example.org/a.tif", "expected a path on this machine"),
        ("http://example.org/a.tif", "expected https"),
        ("http://127.1/a.tif", "expected https"),
        ("http://127.0.0.1.example.org/a.tif", "expected https"),
        ("http://[::ffff:127.0.0.1]/a.tif", "expected https"),
        ("https://user:SECRET@example.org/a.tif", "without user or password"),
        ("https://example.org/a b.tif", "write blanks and signs as %XX"),
        ("https://example.org\\@127.0.0.1/", "write blanks"),
        ("https://ex%61mple.org/a.tif", "no name or number"),
        ("https://example.org:x/a.tif", "expected a path on this machine"),
        ("https://[::1/a.tif", "expected a path on this machine"),
        ("https://example.org/a.tif#b", "without a fragment"),
        ("https://exämple.org/a.tif", "in ASCII"),
        ("s3://bucket", "BUCKET/NAME"),
        ("s3://bucket/../a.tif", "without query, empty parts or dots"),
        ("s3://bucket//a.tif", "without query, empty parts or dots"),
        ("s3://bucket/a.tif?X-Amz-Signature=SECRET", "without query"),
        ("s3://key:SECRET@bucket/a.tif", "without user or password"),
    ],
)
def test_what_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(SceneError, match=words) as refused:
        parse_address(text)
    assert "\n" not in str(refused.value)
    assert "SECRET" not in str(refused.value)


@given(st.text(max_size=30), st.text(alphabet=st.characters(exclude_characters="/?#"), max_size=10))
def test_secrets_are_not_shown(path: str, user: str) -> None:
    assert shown(f"https://{user}@example.org/a.tif?{path}") == "https://example.org/a.tif"
    assert shown(f"https://example.org/a.tif#{path}") == "https://example.org/a.tif"


@given(st.ip_addresses(v=4))
def test_numbers_that_wrap_another_are_what_they_wrap(number: ipaddress.IPv4Address) -> None:
    public = number.is_global and not number.is_multicast
    assert is_public(str(number)) == public
    wrapped = int(number)
    for other in (f"::ffff:{number}", f"64:ff9b::{number}"):
        assert is_public(other) == public
    sixth = ipaddress.IPv6Address((0x2002 << 112) | (wrapped << 80))
    assert is_public(str(sixth)) == public


@pytest.mark.parametrize(
    "number",
    ["127.0.0.1", "0.0.0.0",  # noqa: S104  # none is bound
     "10.0.0.1", "100.64.0.1", "169.254.169.254", "172.16.0.1", "192.168.0.1", "224.0.0.1",
     "255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "ff02::1"],
)  # fmt: skip
def test_what_is_not_public(number: str) -> None:
    assert not is_public(number)
