"""Logs of deployments: the last lines that Azure gives, in pieces, and what is kept of those that are gone.

Azure tells the last lines of one instance, without saying how many went before. A cursor holds how many lines
were read and what the last of them were: what comes behind them is new. Where they are no longer among the
lines that Azure gives, all of these come, behind a line that says so.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import Any

from trackbridge.domain.jobs import LogChunk
from trackbridge.domain.page_tokens import listing_of, place_of, token_of
from trackbridge.domain.secrets import shown
from trackbridge.errors import BridgeError, NotFound
from trackbridge_adapters.azureml.arm import Json
from trackbridge_adapters.azureml.clouds import ADAPTER
from trackbridge_adapters.azureml.deployments_kept import KeptBlobs, folder_of
from trackbridge_adapters.azureml.deployments_names import own_deployment
from trackbridge_adapters.azureml.deployments_resources import ONLINE, EndpointResources, HeldEndpoint

TAIL_LINES = 5000
LAST_LINES = 50
"""How many lines are looked at for why a deployment failed."""
ANCHOR_LINES = 3
PIECE_CHARS = 1024 * 1024
MISSED = "[lines in between are gone: Azure gives the last ones only]"
BODY = "Container logs:"
OPERATION = "deployments.read_logs"
_ERRORS = ("Error", "Exception", "error:", "crashed", "Failed")


class DeploymentLogs:
    """Reads logs of one workspace. Any thread may use it."""

    def __init__(self, resources: EndpointResources, blobs: KeptBlobs) -> None:
        self._resources = resources
        self._blobs = blobs

    def read(self, endpoint: str, deployment: str, cursor: str, held: HeldEndpoint | None) -> LogChunk:
        """Return the next piece; see the port."""
        listing = listing_of("azureml.deployment_logs", endpoint.lower(), deployment)
        place = place_of(cursor or None, listing, adapter=ADAPTER, operation=OPERATION, types=(int, str))
        is_there = held is not None and held.find(deployment) is not None
        lines = self._lines(endpoint, deployment, is_there=is_there)
        start, is_missed = _start(lines, place)
        taken: list[str] = []
        size = 0
        for line in lines[start:]:
            size += len(line) + 1
            if taken and size > PIECE_CHARS:
                break
            taken.append(line)
        end = start + len(taken)
        text = "".join(f"{line}\n" for line in ([MISSED, *taken] if is_missed and taken else taken))
        token = token_of(listing, [end, _anchor(lines, end)]) if end or cursor else token_of(listing, [0, ""])
        return LogChunk(text=text, cursor=token, done=not is_there and end >= len(lines))

    def _lines(self, endpoint: str, deployment: str, *, is_there: bool) -> list[str]:
        if is_there:
            return _told(self._asked(endpoint, deployment, TAIL_LINES)).splitlines()
        kept = self._blobs.read(_path(endpoint, deployment))
        if kept is None:
            raise NotFound(
                f"there was no deployment {endpoint[:80]}/{deployment[:80]}",
                adapter=ADAPTER,
                operation=OPERATION,
                hint="'bridge endpoints list' names what is there",
            )
        return kept[0].decode("utf-8", "replace").splitlines()

    def keep(self, held: HeldEndpoint, deployment: str) -> None:
        """Keep what a deployment has logged, before it is deleted; what cannot be had is not kept."""
        if held.kind != ONLINE:
            return
        endpoint, name = str(held.endpoint.get("name")), own_deployment(deployment)
        with suppress(BridgeError):
            text = _told(self._asked(endpoint, name, TAIL_LINES))
            self._blobs.write(_path(endpoint, name), text.encode())

    def why_failed(self, found: Json) -> str:
        """Return why a deployment failed, as far as its log says."""
        *_, endpoint, _, name = str(found.get("id") or "//").split("/")
        about = "Azure could not start it"
        try:
            text = _told(self._asked(endpoint, own_deployment(name), LAST_LINES))
        except BridgeError:
            return about
        errors = [line.strip() for line in text.splitlines() if any(word in line for word in _ERRORS)]
        why = shown(errors[-1], chars_max=300) if errors else "'bridge endpoints logs' may say why"
        return f"{about}: {why}"

    def _asked(self, endpoint: str, deployment: str, tail: int) -> Json:
        path = f"{self._resources.path(ONLINE, endpoint, deployment)}/getLogs"
        return self._resources.arm.post(path, ONLINE, {"tail": tail})


def _told(answer: Json) -> str:
    """Return the lines of the container, behind Azure's own about the instance."""
    text = str(answer.get("content") or "")
    _, found, body = text.partition(f"{BODY}\n")
    return body if found else text


def _start(lines: list[str], place: list[Any] | None) -> tuple[int, bool]:
    """Return at which line to go on, and whether lines in between are gone."""
    if not place:
        return 0, False
    count, anchor = int(place[0]), str(place[1])
    if count <= len(lines) and _anchor(lines, count) == anchor:
        return count, False
    for end in range(len(lines), 0, -1):
        if _anchor(lines, end) == anchor:
            return end, False
    return 0, count > 0


def _anchor(lines: list[str], end: int) -> str:
    """Return what the last lines before one were."""
    last = "\n".join(lines[max(0, end - ANCHOR_LINES) : end])
    return hashlib.sha256(last.encode("utf-8", "surrogatepass")).hexdigest()[:16] if end else ""


def _path(endpoint: str, deployment: str) -> str:
    return f"{folder_of(endpoint)}/logs/{deployment.lower()}"
