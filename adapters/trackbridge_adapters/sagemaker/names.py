"""How our names become SageMaker's, and keys in S3: always the same way, and so that both can be told.

SageMaker takes ``[a-zA-Z0-9](-*[a-zA-Z0-9])*`` and does not mind the case; AWS's own SDK writes lower case,
and joins an experiment and a run of at most 59 characters each. A name that fits stays as it is. Any other
becomes ``<readable part>-<16 hexadecimal digits of its SHA-256>``; one that looks like that already is
treated so as well, so that none can be mistaken for another's. What was meant stands in the description of
the experiment, and in our record.
"""

from __future__ import annotations

import hashlib
import json
import re

HALF_CHARS_MAX = 59
"""Longest experiment and longest run that AWS's SDK puts together (sagemaker 3.27, experiments/run.py)."""
NAME_CHARS_MAX = 120
DESCRIPTION_CHARS_MAX = 3072
TRIAL = "Default-Run-Group-"
"""How AWS's SDK names the trial of an experiment's runs."""
RUN_SOURCE_TAG, RUN_SOURCE = "sagemaker:trial-component-source", "run"
"""The tag by which Studio and AWS's SDK know a run among other components."""
RUN_TAG = "bridge:run-id"
EXPERIMENT_TAG = "bridge:experiment"
DELETED_TAG = "bridge:deleted"

_NATIVE = re.compile(r"[a-zA-Z0-9](?:-*[a-zA-Z0-9])*")
_PLAIN = re.compile(r"[a-z0-9](?:-*[a-z0-9])*")
_LOOKS_SHORTENED = re.compile(r".*-[0-9a-f]{16}")
_UNREADABLE = re.compile(r"[^a-z0-9]+")
_UNTAKEN = re.compile(r"[^a-zA-Z0-9]+")
_KEY_PART = re.compile(r"(?!sha-)[A-Za-z0-9_-]{1,128}")
_DIGEST_CHARS = 16


def slug(text: str) -> str:
    """Return the half of a component's name that stands for an experiment or a run."""
    is_plain = len(text) <= HALF_CHARS_MAX and _PLAIN.fullmatch(text) is not None
    if is_plain and _LOOKS_SHORTENED.fullmatch(text) is None:
        return text
    room = HALF_CHARS_MAX - _DIGEST_CHARS - 1
    readable = _UNREADABLE.sub("-", text.lower())[:room].strip("-")
    return f"{readable or 'name'}-{_digest(text)[:_DIGEST_CHARS]}"


def experiment_name(prefix: str, name: str) -> str:
    """Return SageMaker's name of an experiment of ours below a prefix ("" is none)."""
    return slug(f"{prefix}-{name}" if prefix else name)


def experiment_digest(prefix: str, name: str) -> str:
    """Return what the tag ``EXPERIMENT_TAG`` holds: which experiment an SageMaker experiment stands for."""
    return _digest(f"{prefix}\n{name}")[:32]


def component_name(experiment: str, run_id: str) -> str:
    """Return the component of a run, as AWS's SDK would name it: ``load_run(run_id, experiment)`` finds it.

    Args:
        experiment: SageMaker's name of it.
        run_id: Ours.
    """
    half = experiment.lower() if len(experiment) <= HALF_CHARS_MAX else slug(experiment)
    return f"{half}-{slug(run_id)}"


def trial_name(experiment: str, number: int) -> str:
    """Return the name of an experiment's first, second … trial; AWS's SDK knows the first.

    The others end with a digest: ``a-2`` may be an experiment of its own, with a first trial.
    """
    half = experiment if len(experiment) <= HALF_CHARS_MAX else slug(experiment)
    if number == 1:
        return f"{TRIAL}{half}"
    return f"{TRIAL}{half}-{number}-{_digest(f'{half.lower()} {number}')[:_DIGEST_CHARS]}"


def display_name(text: str) -> str | None:
    """Return a text as near as SageMaker can show it; None when nothing is left of it."""
    return _UNTAKEN.sub("-", text)[:NAME_CHARS_MAX].strip("-") or None


def is_native(name: str) -> bool:
    """Tell whether SageMaker could have something of this name."""
    return len(name) <= NAME_CHARS_MAX and _NATIVE.fullmatch(name) is not None


def description_of(name: str) -> str:
    """Return the description that tells the name of an experiment: the name, as JSON where it needs that."""
    is_whole = name.isprintable() and not name.startswith('"') and len(name) <= DESCRIPTION_CHARS_MAX // 2
    text = name if is_whole else json.dumps(name)
    return text if len(text) <= DESCRIPTION_CHARS_MAX else ""


def name_of_description(text: str) -> str:
    """Return the name that a description of ours tells; "" where it was too long for one."""
    if not text.startswith('"'):
        return text
    try:
        name = json.loads(text)
    except ValueError:
        return ""
    return name if isinstance(name, str) else ""


def key_part(identifier: str) -> str:
    """Return what stands for an id in keys of the bucket: the id, or its digest where it is no plain one."""
    return identifier if _KEY_PART.fullmatch(identifier) else f"sha-{_digest(identifier)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
