"""The two kinds of jobs, how a job of ours is called, and where things lie on its machine."""

from __future__ import annotations

import hashlib
import posixpath
import re
from dataclasses import dataclass

from trackbridge.domain.jobs import JobSpec
from trackbridge_adapters.sagemaker.place import Place

BRIDGE_CHANNEL, PLAN_CHANNEL, CODE_CHANNEL = "bridge", "plan", "code"
OWN_CHANNELS = frozenset({BRIDGE_CHANNEL, PLAN_CHANNEL, CODE_CHANNEL})
DAY_S = 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What differs between training and processing jobs; limits are those of botocore's service model.

    ``inputs``, ``kept`` and ``outputs`` are folders on the machine: of the channels, of what outlives it,
    and of what the program hands over.
    """

    word: str
    mark: str
    inputs: str
    kept: str
    outputs: str
    config: str
    inputs_max: int
    variable_chars_max: int
    runtime_s_max: int
    page: str

    @property
    def name_field(self) -> str:
        """``TrainingJobName``, which requests and answers have."""
        return f"{self.word}JobName"

    @property
    def operation(self) -> str:
        """The operation that makes one."""
        return f"Create{self.word}Job"

    @property
    def log_group(self) -> str:
        """Where CloudWatch has its logs."""
        return f"/aws/sagemaker/{self.word}Jobs"

    def channel(self, name: str) -> str:
        """Return the folder of an input on the machine."""
        return f"{self.inputs}/{name}"

    def from_plan(self, path: str) -> str:
        """Return a path of the machine as it is seen from the folder of the plan."""
        return posixpath.relpath(path, self.channel(PLAN_CHANNEL))


TRAINING = Kind(
    word="Training",
    mark="",
    inputs="/opt/ml/input/data",
    kept="/opt/ml/checkpoints",
    outputs="/opt/ml/output/bridge",
    config="/opt/ml/input/config",
    inputs_max=20,
    variable_chars_max=512,
    runtime_s_max=28 * DAY_S,
    page="jobs",
)
PROCESSING = Kind(
    word="Processing",
    mark="p-",
    inputs="/opt/ml/processing/input",
    kept="/opt/ml/processing/kept",
    outputs="/opt/ml/processing/output",
    config="/opt/ml/config",
    inputs_max=10,
    variable_chars_max=256,
    runtime_s_max=777_600,
    page="processing-jobs",
)
KINDS = {kind.word.lower(): kind for kind in (TRAINING, PROCESSING)}

_NAME = re.compile(r"bridge-(?P<place>[0-9a-f]{8})-(?P<mark>p-)?[0-9a-f]{32}")
_KEY = re.compile(r"[0-9a-f]{32}")


def kind_of(spec: JobSpec) -> Kind:
    """Return the kind that a spec asks for: a training job, unless its cluster is called ``processing``."""
    return KINDS.get(spec.compute.cluster or "training", TRAINING)


def names_begin(place: Place) -> str:
    """Return how the names of a place's jobs begin: an account has one list of all jobs."""
    return f"bridge-{hashlib.sha256(place.prefix.encode()).hexdigest()[:8]}-"


def job_name(place: Place, key: str, kind: Kind) -> str:
    """Return the job that a key stands for; always the same, so that none is started twice."""
    digest = key if _KEY.fullmatch(key) else hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{names_begin(place)}{kind.mark}{digest[:32]}"


def kind_of_job(place: Place, job_id: str) -> Kind | None:
    """Return of which kind a job of the place is; None for what is no job of the place."""
    found = _NAME.fullmatch(job_id)
    if found is None or not job_id.startswith(names_begin(place)):
        return None
    return PROCESSING if found["mark"] else TRAINING
