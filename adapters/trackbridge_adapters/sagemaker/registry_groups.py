"""Which model package group stands for a model: names of models are free, those of groups are not.

SageMaker takes 63 letters, digits and hyphens, and does not mind the case. A name in small letters that fits
is the group's, behind the prefix of the place. Any other becomes what of it a group can hold, and ``-`` with
16 digits of the name's SHA-256, so that it is the same everywhere and at all times; so does one that looks
like that already, so that none is mistaken for another's. The true name is in the record, and in a tag of the
group.

Groups that others made have their own names as they are. One of another account is named by its ARN, or by a
word that the option ``shared_groups`` gives it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from trackbridge.domain.model_references import checked_model_name
from trackbridge.errors import ConfigError, InvalidInput
from trackbridge_adapters.sagemaker.arn import ADAPTER

NAME_CHARS_MAX = 63
"""Of a group (botocore, CreateModelPackageGroup)."""
DIGEST_CHARS = 16
PREFIX_CHARS_MAX = 30
"""A longer prefix is stood in for: names of groups need room."""
_NATIVE = re.compile(r"[a-zA-Z0-9](?:-*[a-zA-Z0-9]){0,62}")
_PLAIN = re.compile(r"[a-z0-9](?:-*[a-z0-9])*")
_LOOKS_SHORTENED = re.compile(rf".*-[0-9a-f]{{{DIGEST_CHARS}}}")
_UNTAKEN = re.compile(r"[^a-zA-Z0-9]+")
_ARN = re.compile(
    r"arn:aws[a-z-]{0,20}:sagemaker:(?P<region>[a-z0-9-]{1,32}):(?P<account>[0-9]{12}):"
    rf"model-package-group/(?P<name>{_NATIVE.pattern})"
)


@dataclass(frozen=True, slots=True)
class Group:
    """The group of a model.

    ``model`` is the model's name; ``reference`` what SageMaker is given for the group, its name or ARN;
    ``folder`` where its record lies, below ``registry/``.
    """

    model: str
    reference: str
    folder: str
    is_shared: bool = False


class Groups:
    """Between names of models and groups.

    Args:
        prefix: Of the place; "" is none.
        shared: Names for groups of other accounts: name to ARN.
    """

    def __init__(self, prefix: str, shared: Mapping[str, str]) -> None:
        self._begin = _begin_of(prefix)
        self._shared = dict(shared)

    @property
    def begin(self) -> str:
        """What names of groups begin with."""
        return self._begin

    def of(self, model: str) -> Group:
        """Return the group of a model that is made here, or shared.

        Raises:
            InvalidInput: No model can have the name.
        """
        arn = self._shared.get(model, model)
        found = _ARN.fullmatch(arn)
        if found is not None:
            folder = f"arn/{found['region']}/{found['account']}/{found['name']}"
            return Group(model, arn, folder, is_shared=True)
        native = self._native(checked_model_name(model))
        return Group(model, native, native)

    def candidates(self, model: str) -> list[Group]:
        """Return the groups that a model of this name may have: ours, and one that somebody else made."""
        try:
            own = self.of(model)
        except InvalidInput:
            return []
        native = self._begin + model
        if own.is_shared or native == own.reference or not _NATIVE.fullmatch(native):
            return [own]
        return [own, Group(model, native, native)]

    def of_native(self, native: str) -> Group | None:
        """Return the group of this name, with the name that its model has unless a record says otherwise.

        None: it is outside of the place.
        """
        if not native.startswith(self._begin) or native == self._begin:
            return None
        return Group(native[len(self._begin) :], native, native)

    def looks_shortened(self, native: str) -> bool:
        """Tell whether the name of a group may stand for another name of a model."""
        return _LOOKS_SHORTENED.fullmatch(native) is not None

    def shared(self) -> list[Group]:
        """Return the groups of other accounts that have a name here."""
        return [self.of(name) for name in self._shared]

    def _native(self, model: str) -> str:
        native = self._begin + model
        is_plain = len(native) <= NAME_CHARS_MAX and _PLAIN.fullmatch(model) is not None
        if is_plain and not _LOOKS_SHORTENED.fullmatch(native):
            return native
        readable = _UNTAKEN.sub("-", model).strip("-") or "model"
        room = NAME_CHARS_MAX - DIGEST_CHARS - 1
        return f"{(self._begin + readable)[:room].strip('-')}-{_digest(model)}"


def shared_groups(text: str) -> dict[str, str]:
    """Read the option ``shared_groups``: ``NAME=ARN,NAME=ARN``.

    Raises:
        ConfigError: It is something else.
    """
    shared: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, arn = part.partition("=")
        if not equals or not _is_name(name) or not _ARN.fullmatch(arn):
            raise ConfigError(
                f"shared_groups: {part[:100]!r} does not name a group of another account",
                adapter=ADAPTER,
                hint="write NAME=arn:aws:sagemaker:REGION:ACCOUNT:model-package-group/GROUP, "
                "several with commas between",
            )
        shared[name] = arn
    return shared


def _begin_of(prefix: str) -> str:
    if len(prefix) <= PREFIX_CHARS_MAX:
        return f"{prefix}-" if prefix else ""
    kept = prefix[: PREFIX_CHARS_MAX - DIGEST_CHARS - 1].rstrip("-")
    return f"{kept}-{_digest(prefix)}-"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_CHARS]


def _is_name(name: str) -> bool:
    try:
        checked_model_name(name)
    except InvalidInput:
        return False
    return True
