"""Objects of the emulator's S3 that many write and read at once: moto closes buffers under its readers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.support.sagemaker_emulators import sagemaker_emulator

CALLS = 40
BODY_BYTES = 3_000_000
"""So much that a digest takes a while, and lets others run meanwhile."""


def test_one_object_that_is_overwritten_and_read_at_once() -> None:
    with sagemaker_emulator() as emulator:
        s3 = emulator.client("s3")
        s3.create_bucket(Bucket="busy")
        s3.put_object(Bucket="busy", Key="record", Body=b"0" * BODY_BYTES)

        def touch(number: int) -> set[int]:
            if number % 2:
                s3.put_object(Bucket="busy", Key="record", Body=bytes([48 + number % 10]) * BODY_BYTES)
                return set()
            body: bytes = s3.get_object(Bucket="busy", Key="record")["Body"].read()
            assert len(body) == BODY_BYTES
            return set(body)

        with ThreadPoolExecutor(8) as pool:
            read = list(pool.map(touch, range(CALLS)))
        assert max(map(len, read)) == 1  # never a part of one, and a part of another
        emulator.raise_failures()
