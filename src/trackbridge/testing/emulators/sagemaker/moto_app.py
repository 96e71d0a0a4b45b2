"""moto, which answers for every service of AWS but SageMaker; called in this process, without a port."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from trackbridge.testing.emulators.sagemaker import statistics
from trackbridge.testing.emulators.sagemaker.core import Cloud
from trackbridge.testing.emulators.sagemaker.protocol import Answer
from trackbridge.testing.emulators.sagemaker.refusal import Refused
from trackbridge.testing.emulators.sagemaker.requests import Request

PRESERVED_NAMES = "moto.preserved_header_names"
"""Where moto looks for headers as they were spelled: WSGI cannot tell a hyphen from an underscore."""
_CONTROL = "/v20180820/"
"""How paths of S3's control plane begin, which is another service of moto."""
STREAMED_BYTES = 1 << 23
"""From which size on a body is handed on as it comes."""


class MotoApp:
    """moto's server as a function. A request is for the account of its caller.

    Args:
        cloud: Knows who calls.
    """

    def __init__(self, cloud: Cloud) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        self._cloud = cloud
        self._app = DomainDispatcherApplication(create_backend_app)
        self._first = threading.Lock()
        self._known: set[str] = set()
        self._accounts = {cloud.account}
        self._storage: Any = None

    def answer(self, request: Request) -> Answer:
        """Answer a request.

        Raises:
            Refused: moto does not have the operation.
        """
        if request.service not in self._known:
            # The first request of a service builds its routes, which is not safe in two threads.
            with self._first:
                if request.service == "monitoring":
                    statistics.install()
                answer = self._answer(request)
                self._known.add(request.service)
                return answer
        return self._answer(request)

    def has_sagemaker(self, operation: str) -> bool:
        """Tell whether moto has an operation of SageMaker."""
        from moto.core.utils import camelcase_to_underscores
        from moto.sagemaker.responses import SageMakerResponse

        return hasattr(SageMakerResponse, camelcase_to_underscores(operation))

    def reset(self) -> None:
        """Forget everything of the accounts that called."""
        from moto.core.base_backend import BackendDict
        from moto.s3.models import s3_backends

        owners = list(s3_backends.bucket_accounts.items())
        for backends in list(BackendDict._instances):  # type: ignore[misc]
            for account in self._accounts & set(backends):
                backends[account].reset()
        for name, (_, account) in owners:
            if account in self._accounts:
                s3_backends.bucket_accounts.pop(name, None)

    def _answer(self, request: Request) -> Answer:
        started: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], failure: Any = None) -> Any:
            started[:] = [int(status.split()[0]), headers]
            return io.BytesIO().write

        try:
            environ = self._environ(request)
            parts: Iterable[bytes] = self._app_for(request, environ)(environ, start)
        except NotImplementedError:
            message = f"The emulator does not have {request.action or request.path} of {request.service}"
            raise Refused("UnknownOperationException", message) from None
        status, headers = started
        named: dict[str, str] = dict(headers)
        if any(name.lower() == "content-length" and int(size) > STREAMED_BYTES for name, size in headers):
            return Answer(status, named, _of(parts))
        body = b"".join(parts)
        _close(parts)
        if status >= 500 and body[:9].lower().startswith((b"<!doctype", b"<html")):
            message = f"moto failed at {request.action or request.path} of {request.service}"
            raise Refused("InternalFailure", message, 500)
        return Answer(status, named, body)

    def _app_for(self, request: Request, environ: dict[str, Any]) -> Any:
        # moto lists its own folder for each request: a third of what one to S3 costs.
        if request.service != "s3" or request.path.startswith(_CONTROL):
            return self._app
        if self._storage is None:
            self._storage = self._app.get_application(environ)
        return self._storage

    def _environ(self, request: Request) -> dict[str, Any]:
        parts = urlsplit(request.target)
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(parts.path).decode("latin-1"),
            "QUERY_STRING": parts.query,
            "RAW_URI": request.target,
            "REQUEST_URI": request.target,
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": (request.headers.get("Host") or "").rpartition(":")[2] or "80",
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(request.body),
            "wsgi.input_terminated": True,
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        _add_headers(environ, request)
        environ["CONTENT_LENGTH"] = str(len(request.body))
        environ["HTTP_X_MOTO_ACCOUNT_ID"] = self._cloud.caller_account
        self._accounts.add(self._cloud.caller_account)
        return environ


def _add_headers(environ: dict[str, Any], request: Request) -> None:
    preserved: dict[str, str] = {}
    for name in dict.fromkeys(request.headers.keys()):
        key = name.upper().replace("-", "_")
        if key == "TRANSFER_ENCODING":
            continue  # the body is whole here
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        environ[key] = ",".join(request.headers.get_all(name))
        if "_" in name and name.lower().startswith("x-amz-meta-"):
            preserved[key] = name
    environ[PRESERVED_NAMES] = preserved


def _of(parts: Iterable[bytes]) -> Iterator[bytes]:
    try:
        yield from parts
    finally:
        _close(parts)


def _close(parts: Any) -> None:
    close = getattr(parts, "close", None)
    if close is not None:
        close()
