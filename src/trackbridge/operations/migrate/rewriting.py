"""Links of the source, written as links of the target.

Ids of 32 hexadecimal digits are kept, so between backends that have such ids nothing is rewritten. Others,
and numbers of versions, change: in the tag of the parent, in ``runs:/``, ``models:/`` and
``bridge-artifacts:/`` wherever they stand in a tag, in mlflow's history of logged models, and in ``MLmodel``.
So do the ids that a server gives to logged models (``m-`` and 32 digits): wherever one stands, since nothing
else has this form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from trackbridge.domain.model_digest import MLMODEL
from trackbridge.domain.runs import TAG_PARENT, Run
from trackbridge.operations.migrate.identity import target_run_id

TAG_LOGGED_MODELS = "mlflow.log-model.history"
MLMODEL_BYTES_MAX = 8 * 1024 * 1024
"""A larger file of that name is none of mlflow's, and is copied as it is."""

_RUN_LINK = re.compile(r"(?P<scheme>runs:/{1,3}|bridge-artifacts:/)(?P<run>[^/\s\"'<>,;?#]+)")
_VERSION_LINK = re.compile(r"models:/{1,3}(?P<name>[^/@\s\"'<>]+)/(?P<version>[0-9]+)(?![0-9A-Za-z])")
_MODEL_ID = re.compile(r"(?<![0-9A-Za-z])m-[0-9a-f]{32}(?![0-9A-Za-z])")
_MODEL_ID_BYTES = re.compile(_MODEL_ID.pattern.encode())
_RUN_ID_LINE = re.compile(
    rb"(?m)^(?P<key>run_id:[ ]*)(?P<quote>['\"]?)(?P<run>[^\s'\"]+)(?P=quote)[ ]*(?P<end>\r?)$"
)


class Rewriter:
    """Writes the links of one source as they are at one target.

    Args:
        source_uri: The source.
        runs: Ids of runs that go back to where they came from, with the id that they have there.
        versions: New numbers by name and old number, of versions whose number is another.
        models: The backends' own ids of logged models, by those that they have at the source.
    """

    def __init__(
        self,
        source_uri: str,
        *,
        runs: Mapping[str, str] | None = None,
        versions: Mapping[tuple[str, str], str] | None = None,
        models: Mapping[str, str] | None = None,
    ) -> None:
        self._source_uri = source_uri
        self.runs: dict[str, str] = dict(runs or {})
        self.versions: dict[tuple[str, str], str] = dict(versions or {})
        self.models: dict[str, str] = dict(models or {})

    @property
    def renames_models(self) -> bool:
        """True when a version or a logged model is known by another name at the target."""
        return bool(self.versions or self.models)

    def run_id(self, run_id: str) -> str:
        """Return the id of a run at the target."""
        return self.runs.get(run_id) or target_run_id(run_id, source_uri=self._source_uri)

    def text(self, text: str) -> str:
        """Return a text with its links rewritten."""
        if self.models:
            text = _MODEL_ID.sub(lambda match: self.models.get(match[0], match[0]), text)
        if "runs:/" not in text and "models:/" not in text and "bridge-artifacts:/" not in text:
            return text
        text = _RUN_LINK.sub(lambda match: match["scheme"] + self.run_id(match["run"]), text)
        return _VERSION_LINK.sub(self._version_link, text)

    def tags(self, tags: Mapping[str, str]) -> dict[str, str]:
        """Return tags with their links rewritten."""
        return {key: self._tag(key, value) for key, value in tags.items()}

    def run(self, run: Run) -> Run:
        """Return a run of the source as the target is to have it, under its id there."""
        info = msgspec.structs.replace(run.info, run_id=self.run_id(run.info.run_id))
        data = msgspec.structs.replace(run.data, tags=self.tags(run.data.tags))
        return msgspec.structs.replace(run, info=info, data=data)

    def mlmodel(self, content: bytes) -> bytes:
        """Return an ``MLmodel`` file with the ids of its run and its logged model at the target."""

        def model(match: re.Match[bytes]) -> bytes:
            return self.models.get(match[0].decode(), match[0].decode()).encode()

        def line(match: re.Match[bytes]) -> bytes:
            run_id = self.run_id(match["run"].decode(errors="surrogateescape"))
            quoted = match["quote"] + run_id.encode(errors="surrogateescape") + match["quote"]
            return match["key"] + quoted + match["end"]

        return _RUN_ID_LINE.sub(line, _MODEL_ID_BYTES.sub(model, content) if self.models else content)

    def _tag(self, key: str, value: str) -> str:
        if key == TAG_PARENT:
            return self.run_id(value) if value else value
        return self._logged_models(value) if key == TAG_LOGGED_MODELS else self.text(value)

    def _logged_models(self, text: str) -> str:
        """Rewrite the ids in mlflow's list of logged models; a text that is none stays as it is."""
        try:
            models = json.loads(text)
        except (ValueError, RecursionError):
            return text
        items = models if isinstance(models, list) else []
        changed = False
        for item in items:
            changed |= isinstance(item, dict) and self._renamed(item)
        return json.dumps(models) if changed else text

    def _renamed(self, item: dict[str, Any]) -> bool:
        old = item.get("run_id")
        if not isinstance(old, str) or not old or self.run_id(old) == old:
            return False
        item["run_id"] = self.run_id(old)
        return True

    def _version_link(self, match: re.Match[str]) -> str:
        new = self.versions.get((match["name"], match["version"]))
        return match[0] if new is None else match[0][: -len(match["version"])] + new


def names_version(run: Run) -> bool:
    """Tell whether a tag of a run names a version, or a logged model, that has another id at the target."""
    return any(names_model(value) for value in run.data.tags.values())


def names_model(text: str) -> bool:
    """Tell whether a text names a version by its number, or a logged model."""
    is_version = "models:/" in text and _VERSION_LINK.search(text) is not None
    return is_version or ("m-" in text and _MODEL_ID.search(text) is not None)


def is_mlmodel(path: str) -> bool:
    """Tell whether a file describes a model of mlflow's."""
    return path.rpartition("/")[2] == MLMODEL
