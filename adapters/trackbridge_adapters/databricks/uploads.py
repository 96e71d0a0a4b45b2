"""A file on its way to the storage of a workspace, in the manner of the cloud that the workspace is on.

=======================  ==============================================================================
kind of address          manner
=======================  ==============================================================================
AWS_PRESIGNED_URL        one PUT; a large file in parts, whose addresses are asked for all at once
GCP_SIGNED_URL           one PUT
AZURE_SAS_URI            one PUT; a large file in blocks, and the list of them
AZURE_ADLS_GEN2_SAS_URI  a file is made, appended to, and flushed
=======================  ==============================================================================

Nothing is seen of a large file before it is whole, except on AZURE_ADLS_GEN2_SAS_URI, where an empty one is.
"""

from __future__ import annotations

import base64
import contextlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol
from urllib.parse import quote

import requests

from trackbridge.domain.secrets import shown
from trackbridge.errors import AuthError, BridgeError, Unavailable, Unsupported
from trackbridge_adapters._mlflow_rest.wire import Json, Wire
from trackbridge_adapters.databricks.config import ADAPTER

AWS, GCP, BLOB, LAKE = "AWS_PRESIGNED_URL", "GCP_SIGNED_URL", "AZURE_SAS_URI", "AZURE_ADLS_GEN2_SAS_URI"


@dataclass(frozen=True, slots=True)
class Address:
    """A signed address, the headers that go with it, and of which cloud it is; its repr does not show it."""

    url: str = field(repr=False)
    kind: str
    headers: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, info: Json) -> Address:
        """Return the address in an answer."""
        url = str(info.get("signed_uri") or "")
        if not url.startswith(("https://", "http://127.0.0.1:", "http://localhost:")):
            raise Unavailable("the workspace gave no signed address for the file", adapter=ADAPTER)
        headers = {str(item["name"]): str(item.get("value", "")) for item in info.get("headers") or ()}
        return cls(url, str(info.get("type") or ""), headers)


class Send(Protocol):
    """Sends a request to storage."""

    def __call__(self, method: str, address: Address, **named: Any) -> requests.Response:
        """Return the answer.

        Raises:
            AuthError: The address has expired.
        """
        ...


@dataclass(slots=True)
class Upload:
    """One file. ``ask`` returns an address for the whole of it; ``path`` is below the run's folder."""

    send: Send
    ask: Callable[[], Address]
    wire: Wire
    run: str
    path: str
    _address: Address | None = None

    def whole(self, source: BinaryIO, size: int, part_bytes: int) -> None:
        """Send all of it.

        Raises:
            Unsupported: The workspace's storage is of a kind that is not known here.
        """
        self._address = address = self.ask()
        is_large = size > part_bytes
        if address.kind == LAKE:
            self._to_the_lake(source, size, part_bytes)
        elif address.kind == BLOB:
            self._as_blocks(source, part_bytes) if is_large else self._at_once(
                source, {"x-ms-blob-type": "BlockBlob"}
            )
        elif address.kind == AWS and is_large:
            self._as_parts(source, size, part_bytes)
        elif address.kind in (AWS, GCP):
            self._at_once(source, {})
        else:
            raise Unsupported(
                f"storage of the kind {shown(address.kind)!r} is not known here", adapter=ADAPTER
            )

    def _renewed(self, method: str, **named: Any) -> requests.Response:
        """Send to the file's address; one that has expired is replaced."""
        address = self._address or self.ask()
        try:
            return self.send(method, address, **named)
        except AuthError:
            self._address = self.ask()
            return self.send(method, self._address, **named)

    def _at_once(self, source: BinaryIO, headers: dict[str, str]) -> None:
        def body() -> BinaryIO:
            source.seek(0)
            return source

        content: Any = b"" if not source.read(1) else body  # an empty file would be sent in chunks, of none
        self._renewed("PUT", body=content, headers=headers)

    def _as_blocks(self, source: BinaryIO, part_bytes: int) -> None:
        blocks = []
        for content in _parts(source, part_bytes):
            block = base64.b64encode(uuid.uuid4().bytes).decode()
            self._renewed("PUT", body=content, query=f"&comp=block&blockid={quote(block, safe='')}")
            blocks.append(block)
        items = "".join(f"<Latest>{block}</Latest>" for block in blocks)
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{items}</BlockList>'.encode()
        self._renewed("PUT", body=body, query="&comp=blocklist")

    def _to_the_lake(self, source: BinaryIO, size: int, part_bytes: int) -> None:
        self._renewed("PUT", query="&resource=file", body=b"")
        position = 0
        for content in _parts(source, part_bytes):
            self._renewed("PATCH", body=content, query=f"&action=append&position={position}")
            position += len(content)
        if size:
            self._renewed("PATCH", body=b"", query=f"&action=flush&position={position}")

    def _as_parts(self, source: BinaryIO, size: int, part_bytes: int) -> None:
        count = -(-size // part_bytes)
        body = {"run_id": self.run, "path": self.path, "num_parts": count}
        begun = self.wire.post("artifacts/create-multipart-upload", body)
        upload = str(begun.get("upload_id") or "")
        addresses = begun.get("upload_credential_infos") or ()
        try:
            if len(addresses) != count:
                raise Unavailable(
                    "the workspace gave too few addresses for the file's parts", adapter=ADAPTER
                )
            etags = [
                {"part_number": number, "etag": self._part(upload, number, Address.of(info), content)}
                for number, (info, content) in enumerate(
                    zip(addresses, _parts(source, part_bytes), strict=True), start=1
                )
            ]
            done = {"run_id": self.run, "path": self.path, "upload_id": upload, "part_etags": etags}
            self.wire.post("artifacts/complete-multipart-upload", done)
        except BaseException:
            if begun.get("abort_credential_info"):
                with contextlib.suppress(BridgeError):  # storage drops what was begun after some days
                    self.send("DELETE", Address.of(begun["abort_credential_info"]))
            raise

    def _part(self, upload: str, number: int, address: Address, content: bytes) -> str:
        try:
            answer = self.send("PUT", address, body=content)
        except AuthError:
            query = {"run_id": self.run, "path": self.path, "upload_id": upload, "part_number": number}
            found = self.wire.get("artifacts/get-presigned-upload-part-url", query)
            answer = self.send("PUT", Address.of(found.get("upload_credential_info") or {}), body=content)
        return answer.headers.get("ETag", "")


def _parts(source: BinaryIO, part_bytes: int) -> Iterator[bytes]:
    source.seek(0)
    return iter(lambda: source.read(part_bytes), b"")
