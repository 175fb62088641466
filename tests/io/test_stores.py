import pytest

from geoseg.io.stores import s3_endpoint


@pytest.mark.parametrize(
    ("said", "endpoint"),
    [
        ({}, None),
        ({"AWS_ENDPOINT_URL": ""}, None),
        ({"AWS_ENDPOINT_URL": "http://a:1"}, "http://a:1"),
        ({"AWS_ENDPOINT_URL": "http://a:1", "AWS_ENDPOINT_URL_S3": "https://b"}, "https://b"),
        ({"AWS_ENDPOINT_URL": "http://a:1", "AWS_S3_ENDPOINT": "b"}, "http://a:1"),
        ({"AWS_S3_ENDPOINT": "minio.example.org:9000"}, "https://minio.example.org:9000"),
        ({"AWS_S3_ENDPOINT": "127.0.0.1:9000", "AWS_HTTPS": "NO"}, "http://127.0.0.1:9000"),
        ({"AWS_S3_ENDPOINT": "127.0.0.1:9000", "AWS_HTTPS": "YES"}, "https://127.0.0.1:9000"),
        ({"AWS_S3_ENDPOINT": "http://127.0.0.1:9000"}, "http://127.0.0.1:9000"),
    ],
)
def test_endpoints_are_named_as_the_cloud_or_gdal_does(said: dict[str, str], endpoint: str | None) -> None:
    assert s3_endpoint(said) == endpoint
