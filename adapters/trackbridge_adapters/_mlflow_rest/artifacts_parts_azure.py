"""Parts of a file in Azure's storage: blocks, which wait up to a week for the list that makes a blob of them.

The address is signed by obstore; a signature does not cover the parameters that make a block of a PUT. A
store that is opened with a signature alone (a SAS) cannot sign another, and takes files as a whole.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal
from urllib.parse import urlencode

import obstore
import requests

from trackbridge.errors import AuthError, BridgeError, Rejected
from trackbridge.transport.http import HttpClient
from trackbridge_adapters._mlflow_rest.artifacts_objects import DIGEST_KEY, translated
from trackbridge_adapters._mlflow_rest.artifacts_parts import ANSWER_S, Parts, PartsRefused

SIGNED_FOR = timedelta(hours=24)
VERSION = {"x-ms-version": "2021-08-06"}


class AzureParts(Parts):
    """One blob.

    Args:
        sign: Returns an address that the blob can be written at for a day.
        adapter: For errors.
    """

    def __init__(self, sign: Callable[[], str], *, adapter: str) -> None:
        self._sign = sign
        self._adapter = adapter
        self._url = ""
        self._digest = ""
        self._http = HttpClient(adapter=adapter)

    def begin(self, count: int, digest: str) -> str:
        self._address()
        return f"{os.urandom(12).hex()}-{digest}"

    def knows(self, upload: str) -> bool:
        return "-" in upload

    def send(self, upload: str, number: int, content: bytes) -> str:
        block = _block(upload, number)
        self._put({"comp": "block", "blockid": block}, content, {})
        return block

    def complete(self, upload: str, tags: list[str]) -> str:
        listed = "".join(f"<Latest>{tag}</Latest>" for tag in tags)
        body = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listed}</BlockList>'.encode()
        digest = upload.partition("-")[2]
        answer = self._put({"comp": "blocklist"}, body, {f"x-ms-meta-{DIGEST_KEY}": digest})
        return answer.headers.get("ETag", "")

    def named(self, upload: str, digest: str) -> str:
        return f"{upload.partition('-')[0]}-{digest}"

    def abort(self, upload: str) -> None:
        """Do nothing: blocks cannot be deleted, and end by themselves."""

    def close(self) -> None:
        self._http.close()

    def _address(self) -> str:
        if not self._url:
            try:
                self._url = self._sign()
            except Exception as error:
                meaning = translated(error, adapter=self._adapter, operation="artifacts.put", resource="")
                raise PartsRefused(f"not in parts: {meaning.message}", adapter=self._adapter) from error
        return self._url

    def _put(self, query: dict[str, str], body: bytes, headers: dict[str, str]) -> requests.Response:
        md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        answer = self._http.request(
            "PUT",
            f"{self._address()}&{urlencode(query)}",
            body=body,
            headers={**VERSION, "Content-MD5": md5, **headers},
            answer_s=ANSWER_S,
        )
        if answer.status_code < 300:
            return answer
        raise self._meaning(answer)

    def _meaning(self, answer: requests.Response) -> BridgeError:
        meaning = translated(
            RuntimeError(f"status code: {answer.status_code} {answer.text[:2000]}"),
            adapter=self._adapter,
            operation="artifacts.put",
            resource="",
        )
        if isinstance(meaning, AuthError):  # the signature is of no use; obstore may have other ways in
            return Rejected(meaning.message, adapter=self._adapter)
        return meaning


def signer(store: Any, key: str) -> Callable[[], str]:
    """Return what signs the address of a blob for writing."""
    method: Literal["PUT"] = "PUT"
    return lambda: str(obstore.sign(store, method, key, SIGNED_FOR))


def _block(upload: str, number: int) -> str:
    """Return a block's id: as long as obstore's, since all that wait for one blob must be."""
    return base64.b64encode(f"{upload.partition('-')[0]}{number:08x}".encode()).decode()
