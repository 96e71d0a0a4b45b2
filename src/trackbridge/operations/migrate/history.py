"""The history of a version, carried along: who promoted it, when and why, at every registry it has been in.

A registry writes its own history and takes nobody else's. So what happened elsewhere lies as a file beside
the payload, ``bridge/registry/<name>-<digest of the origin>.jsonl`` in the artifacts of its run: one change a
line, with the registry where it happened.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable

import msgspec

from trackbridge.domain.artifacts import split_artifact_uri
from trackbridge.domain.migration import REGISTRY_FOLDER
from trackbridge.domain.models import Origin, RegistryChange
from trackbridge.errors import NotFound
from trackbridge.operations.model_payloads import all_versions
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.registry import ModelRegistry

_NAME_CHARS_MAX = 60
_UNREADABLE = re.compile(r"[^A-Za-z0-9_]+")


class CarriedChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a model or a version, and the registry where it happened."""

    registry: str
    change: RegistryChange


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(CarriedChange)


def history_path(origin: Origin) -> str:
    """Return where the history of the version of this origin lies in its run's artifacts."""
    text = "\n".join((origin.registry, origin.name, origin.version))
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    readable = _UNREADABLE.sub("_", origin.name)[:_NAME_CHARS_MAX].strip("_")
    return f"{REGISTRY_FOLDER}/{readable}-{digest}.jsonl"


def read_history(store: ArtifactStore, run_id: str, origin: Origin) -> tuple[CarriedChange, ...]:
    """Return what was carried along to a version; nothing where it was registered here first."""
    with contextlib.suppress(NotFound), contextlib.closing(store.open(run_id, history_path(origin))) as file:
        return tuple(_decoder.decode_lines(file.read()))
    return ()


def carried_changes(
    registry: ModelRegistry, artifacts: ArtifactStore | None, name: str, version: str | None = None
) -> list[CarriedChange]:
    """Return what happened to the versions of a model before they came here, newest first.

    Args:
        registry: Has the model.
        artifacts: Has the files of its versions.
        name: The model.
        version: One version of it; None for all.
    """
    found: dict[bytes, CarriedChange] = {}
    for item in all_versions(registry, name):
        place = split_artifact_uri(item.source)
        is_meant = item.origin is not None and version in (None, item.version)
        if artifacts is None or place is None or item.origin is None or not is_meant:
            continue
        for change in read_history(artifacts, place[0], item.origin):
            found[_encoder.encode(change)] = change
    return sorted(found.values(), key=lambda item: (-item.change.time, -item.change.sequence))


def encode_history(changes: Iterable[CarriedChange]) -> bytes:
    """Return changes as the bytes of a file, each once, in the order in which they happened."""
    unique = {_encoder.encode(change): change for change in changes}
    ordered = sorted(unique.items(), key=lambda item: (item[1].change.time, item[1].change.sequence, item[0]))
    return b"".join(line + b"\n" for line, _ in ordered)
