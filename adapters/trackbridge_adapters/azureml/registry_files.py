"""The files of a version in an organisational registry, by the signed address that the registry hands out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

from trackbridge.errors import ConfigError, Unsupported
from trackbridge.transport.http import HttpClient
from trackbridge_adapters.azureml.clouds import ADAPTER
from trackbridge_adapters.azureml.config import LOOPBACK
from trackbridge_adapters.azureml.datastores import Container, Datastore, DatastoreFiles
from trackbridge_adapters.azureml.paths import Found
from trackbridge_adapters.azureml.storage_keys import StorageKeys

Json = dict[str, Any]


def signed_files(reference: Callable[[], Json], http: HttpClient, clock_ms: Callable[[], int]) -> Found:
    """Return the files at a reference of a registry, and the path that it names among them.

    Args:
        reference: Asks for ``blobReferenceForConsumption``; asked again before the signature ends.
        http: Sends blocks.
        clock_ms: Milliseconds since 1970.

    Raises:
        Unsupported: The registry signs no address.
        ConfigError: The address would be asked without encryption.
    """
    first = reference()
    account, container, path = _named(str(first.get("blobUri") or ""))
    endpoint = _endpoint(_signed(first), container)
    kept = [first]

    def secrets() -> Json:
        told = kept.pop() if kept else reference()
        return {"secretsType": "Sas", "sasToken": urlsplit(_signed(told)).query}

    datastore = Datastore(
        name="registry",
        kind="azureblob",
        account=account,
        container=container,
        suffix="",
        protocol="https",
        keeps_secret=True,
    )
    keys = StorageKeys(secrets, None, account, container, clock_ms)
    return Found(DatastoreFiles(Container(datastore, keys, http, endpoint), ""), path)


def _signed(reference: Json) -> str:
    address = str((reference.get("credential") or {}).get("sasUri") or "")
    if "?" not in address:
        raise Unsupported("the registry signs no address of the files", adapter=ADAPTER)
    return address


def _named(address: str) -> tuple[str, str, str]:
    """Return account, container and path of ``https://ACCOUNT.blob.SUFFIX/CONTAINER/PATH``."""
    parts = urlsplit(address)
    account, is_host, _ = parts.netloc.partition(".")
    path = unquote(parts.path).strip("/")
    if not is_host or (parts.hostname or "") in LOOPBACK:  # storage of this machine has accounts in paths
        account, _, path = path.partition("/")
    container, _, inside = path.partition("/")
    if not account or not container:
        raise Unsupported("the registry names no container of its files", adapter=ADAPTER)
    return account, container, inside.rstrip("/")


def _endpoint(address: str, container: str) -> str:
    parts = urlsplit(address)
    if parts.scheme != "https" and (parts.hostname or "") not in LOOPBACK:
        raise ConfigError("the registry's files would be asked for without encryption", adapter=ADAPTER)
    before = f"{parts.path.rstrip('/')}/".partition(f"/{container}/")[0]
    return f"{parts.scheme}://{parts.netloc}{before}"
