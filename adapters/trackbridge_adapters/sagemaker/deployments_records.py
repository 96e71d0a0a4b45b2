"""What SageMaker cannot tell of endpoints, as JSON in the bucket.

::

    endpoint-records/wine.json          that there is an endpoint, what failed, what was finished
    endpoints/wine/configs/NAME.json    what the config NAME was made from: specs and models
    endpoints/wine/revisions/…          how it stood before each operation
    endpoints/wine/lock.json            who changes it now

How an endpoint stands is always SageMaker's own answer; a config's file is only read where SageMaker says
that the config is in use, or is about to be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from trackbridge.errors import BridgeError, Unavailable
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.bucket import Bucket
from trackbridge_adapters.sagemaker.deployments_names import FOLDER, RECORDS, config_key, record_key


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment that did not come up: what was wanted, and why it did not."""

    facts: dict[str, Any]
    reason: str


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment of a config: its spec, without shares, and SageMaker's name of its model.

    ``user`` brought it at ``time``, in milliseconds since 1970.
    """

    facts: dict[str, Any]
    model: str
    time: int | None = None
    user: str = ""


class EndpointRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint of ours. ``settled`` is the config whose aftermath (scaling, cleaning) is done.

    ``batch`` are the deployments of a batch endpoint, which SageMaker has not, and ``traffic`` their shares.
    """

    created_time: int = 0
    is_deleting: bool = False
    settled: str = ""
    failures: dict[str, Failure] = msgspec.field(default_factory=dict)
    batch: dict[str, Served] = msgspec.field(default_factory=dict)
    traffic: dict[str, int] = msgspec.field(default_factory=dict)


class Companion(msgspec.Struct, frozen=True, kw_only=True):
    """What a config was made from. ``models`` are those that it needs and that we made."""

    deployments: dict[str, Served] = msgspec.field(default_factory=dict)
    models: tuple[str, ...] = ()


class Records:
    """Reads and writes them. Any thread may use it."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def endpoint(self, endpoint: str) -> EndpointRecord | None:
        """Return the record of an endpoint."""
        found = self._bucket.get(record_key(endpoint))
        return None if found is None else _decoded(found[0], EndpointRecord, record_key(endpoint))

    def change(self, endpoint: str, change: Callable[[EndpointRecord | None], EndpointRecord | None]) -> None:
        """Change the record by compare-and-swap; None from ``change`` leaves it."""
        key = record_key(endpoint)

        def swapped(data: bytes | None) -> bytes | None:
            after = change(None if data is None else _decoded(data, EndpointRecord, key))
            return None if after is None else msgspec.json.encode(after)

        self._bucket.swap(key, swapped)

    def forget(self, endpoint: str) -> None:
        """Remove the record of an endpoint."""
        self._bucket.delete(record_key(endpoint))

    def endpoints(self) -> Iterator[str]:
        """Yield the endpoints that have a record."""
        for key in self._bucket.list(RECORDS):
            yield key.removeprefix(f"{RECORDS}/").removesuffix(".json")

    def companion(self, endpoint: str, config: str) -> Companion | None:
        """Return what a config was made from; None for one that we did not make."""
        key = config_key(endpoint, config)
        found = self._bucket.get(key)
        return None if found is None else _decoded(found[0], Companion, key)

    def keep_companion(self, endpoint: str, config: str, companion: Companion) -> None:
        """Write what a config is made from."""
        self._bucket.put(config_key(endpoint, config), msgspec.json.encode(companion))

    def companions(self, endpoint: str) -> list[str]:
        """Return the configs of an endpoint that we made and have not cleaned up."""
        folder = f"{FOLDER}/{endpoint}/configs"
        return [
            key.removeprefix(f"{folder}/").removesuffix(".json") for key in list(self._bucket.list(folder))
        ]

    def forget_companion(self, endpoint: str, config: str) -> None:
        """Remove what a config was made from."""
        self._bucket.delete(config_key(endpoint, config))


def _decoded(data: bytes, kind: Any, key: str) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise damaged(key, error) from error


def damaged(key: str, error: Exception) -> BridgeError:
    """Return the error of a record that is none."""
    return Unavailable(
        f"the record {key} cannot be read: {error}",
        adapter=ADAPTER,
        operation="deployments.observe",
        hint="restore the object in the bucket, or delete it: SageMaker itself has the endpoint",
    )
