"""Parts of a file behind an MLflow server, which signs an address of its bucket for each of them.

Signed addresses are never written to a disk: the process that began an upload can go on with it, another
drops it. A server whose files are in a folder offers no parts, and a bucket may be out of reach from here,
which is why servers hand files on; both is found once and remembered while the process lives.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from trackbridge.errors import AuthError, BridgeError, Rejected, TimedOut, Transient, Unavailable
from trackbridge.transport.http import HttpClient, error_of_status
from trackbridge_adapters._mlflow_rest.artifacts_parts import ANSWER_S, Parts, PartsRefused
from trackbridge_adapters._mlflow_rest.wire import Wire, encoded

PREFIX = "/api/2.0/mlflow-artifacts/mpu"
UPLOADS_MAX = 64


@dataclass(slots=True)
class Offer:
    """What is known of a server's multipart routes; shared by its runs.

    ``is_declined`` once it has none, or once its bucket was out of reach. ``uploads`` are the signed
    addresses of uploads on their way, by path and upload id.
    """

    is_declined: bool = False
    has_worked: bool = False
    uploads: dict[tuple[str, str], dict[int, tuple[str, dict[str, str]]]] = field(
        default_factory=dict, repr=False
    )


class ProxyParts(Parts):
    """One file.

    Args:
        wire: Asks the server.
        path: The file's, below the server's root.
        offer: What is known of the server.
    """

    def __init__(self, wire: Wire, path: str, offer: Offer) -> None:
        self._wire = wire
        self._path = path
        self._offer = offer
        self._adapter = wire.service.adapter
        self._http = HttpClient(adapter=self._adapter)  # the bucket's certificates are not the server's

    def begin(self, count: int, digest: str) -> str:
        try:
            answer = self._ask("create", {"num_parts": count})
            upload = str(answer.get("upload_id") or "")
            addresses = {
                int(item["part_number"]): (str(item["url"]), dict(item.get("headers") or {}))
                for item in answer["credentials"]
            }
        except (BridgeError, LookupError, TypeError, ValueError) as error:
            # Also a server that fails: one that may not sign still takes the file as a whole.
            self._offer.is_declined |= not isinstance(error, (Transient, AuthError))
            raise PartsRefused("the server signs no addresses for parts", adapter=self._adapter) from error
        if len(self._offer.uploads) >= UPLOADS_MAX:
            self._offer.uploads.clear()
        self._offer.uploads[self._path, upload] = addresses
        return upload

    def knows(self, upload: str) -> bool:
        return (self._path, upload) in self._offer.uploads

    def send(self, upload: str, number: int, content: bytes) -> str:
        url, headers = self._offer.uploads[self._path, upload][number]
        md5 = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
        try:
            answer = self._http.request(
                "PUT", url, body=content, headers={**headers, "Content-MD5": md5}, answer_s=ANSWER_S
            )
        except (Unavailable, TimedOut, AuthError) as error:
            if self._offer.has_worked:
                raise
            self._offer.is_declined = True
            raise PartsRefused("the server's bucket is out of reach", adapter=self._adapter) from error
        if answer.status_code >= 300:
            raise self._refusal(error_of_status(answer, "the bucket refused a part", adapter=self._adapter))
        self._offer.has_worked = True
        return answer.headers.get("ETag", "")

    def complete(self, upload: str, tags: list[str]) -> str:
        addresses = self._offer.uploads[self._path, upload]
        parts = [
            {"part_number": number, "etag": tag, "url": addresses[number][0]}
            for number, tag in enumerate(tags, start=1)
        ]
        try:
            self._ask("complete", {**_id(upload), "parts": parts})
        except TimedOut:
            raise
        except BridgeError as error:  # also 500: what the server says when the bucket has dropped the parts
            raise Rejected("the server could not join the parts", adapter=self._adapter) from error
        self._offer.uploads.pop((self._path, upload), None)
        return ""

    def abort(self, upload: str) -> None:
        self._offer.uploads.pop((self._path, upload), None)
        if upload:
            self._ask("abort", _id(upload))

    def close(self) -> None:
        self._http.close()

    def _ask(self, route: str, body: Mapping[str, Any]) -> dict[str, Any]:
        folder, _, name = self._path.rpartition("/")
        answer = self._wire.send(
            "POST",
            f"{PREFIX}/{route}/{quote(folder)}",
            body=encoded({"path": name, **body}),
            headers={"Content-Type": "application/json"},
            answer_s=ANSWER_S,
        )
        return self._wire.decoded(answer, f"mpu/{route}")

    def _refusal(self, error: BridgeError) -> BridgeError:
        if isinstance(error, AuthError):  # the address has expired, and another upload gets new ones
            return Rejected(error.message, adapter=self._adapter)
        return error


def _id(upload: str) -> dict[str, str]:
    """Return the upload's id as the routes want it; Azure's uploads have none."""
    return {"upload_id": upload} if upload else {}
