"""A gateway in this process over a local store, as a client sees its files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.asgi_calls import AsgiClient
from trackbridge.api import session
from trackbridge.gateway.application import application
from trackbridge.gateway.gateway import Gateway, GatewayOptions
from trackbridge.gateway.limits import Limits

PROXY = "/api/2.0/mlflow-artifacts"


class FileGateway:
    """The gateway, and a run in it."""

    def __init__(self, gateway: Gateway, *, limits: Limits | None = None) -> None:
        self.gateway = gateway
        self.app = application(gateway, limits=limits)
        self.call = AsgiClient(self.app)
        self.run_id = self.run()

    def run(self) -> str:
        """Create a run and return its id."""
        made = self.call.json("POST", "/api/2.0/mlflow/runs/create", {"experiment_id": "0"})
        run_id: str = made.json()["run"]["info"]["run_id"]
        return run_id

    def at(self, path: str, run_id: str | None = None) -> str:
        """Return where the proxy has a file of a run."""
        return f"{PROXY}/artifacts/0/{run_id or self.run_id}/artifacts/{path}"

    def stored(self, path: str, run_id: str | None = None) -> bytes:
        """Return what the store has after all was delivered."""
        client = self.gateway.client
        client.reader.drain()
        with client.reader.artifacts.open(run_id or self.run_id, path) as file:
            return file.read()

    def leftovers(self) -> list[Path]:
        """Return the files that are staged, or come in parts, once all was delivered."""
        self.gateway.client.reader.drain()
        logged = self.gateway.client.session
        parts = [
            file for file in logged.root.glob("uploads/*/*") if file.name not in ("upload.json", "complete")
        ]
        return [*logged.writer.folder.staged.iterdir(), *parts]


@contextmanager
def file_gateway(folder: Path, *, limits: Limits | None = None) -> Iterator[FileGateway]:
    """Return a gateway over a local store; it delivers when somebody reads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRIDGE_DELIVERY", "off")
        patch.setenv("BRIDGE_HOME", str(folder / "home"))
        gateway = Gateway(GatewayOptions(backend=f"file:{folder}/store"))
        gateway.start()
        session._sessions.clear()  # what a test leaves is closed behind it; this one lives longer
        yield FileGateway(gateway, limits=limits)
        gateway.close()
        gateway.client.session.close(10)
