"""A server that speaks S3's protocol, and a client that looks at what is in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moto.server import ThreadedMotoServer

BUCKET = "artifacts"
KEY, SECRET, REGION = "test", "test", "us-east-1"


@contextmanager
def s3_server() -> Iterator[str]:
    """Run one with an empty bucket, and return its address. It checks no signature."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    try:
        s3_client(endpoint).create_bucket(Bucket=BUCKET)
        yield endpoint
    finally:
        server.stop()


def s3_client(endpoint: str) -> Any:
    """Return boto3's client."""
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
    )


def uploads_of(endpoint: str) -> list[Any]:
    """Return the multipart uploads that nobody has ended."""
    return list(s3_client(endpoint).list_multipart_uploads(Bucket=BUCKET).get("Uploads") or [])
