"""What keeps a job from running on a master."""

from __future__ import annotations

from collections.abc import Iterator

from trackbridge.domain.jobs import JobSpec, Launcher
from trackbridge.errors import BridgeError
from trackbridge.ports.capabilities import Capabilities, Feature
from trackbridge.ports.findings import Finding
from trackbridge_adapters._jobs.findings import error, problems_of, warning
from trackbridge_adapters.spark.config import Kind, Settings
from trackbridge_adapters.spark.installation import JAVA_HINT, SPARK_HINT, java, spark_home_of
from trackbridge_adapters.spark.submission import cores_of, modules_of


def features_of(spec: JobSpec) -> Iterator[Feature]:
    """Yield the optional features that Spark itself decides on."""
    if spec.compute.spot:
        yield Feature.JOBS_SPOT
    if spec.compute.instance_count > 1 or spec.processes_per_node > 1:
        yield Feature.JOBS_DISTRIBUTED


def findings_of(spec: JobSpec, settings: Settings, capabilities: Capabilities) -> Iterator[Finding]:
    """Yield what is wrong or doubtful beyond what the driver's backend finds."""
    yield from problems_of(spec)
    for feature in features_of(spec):
        if not capabilities.supports(feature):
            yield error("compute", capabilities.features[feature].reason, "leave it out")
    yield from _compute(spec, settings)
    yield from _environment(spec, settings)
    if spec.launcher not in (Launcher.DIRECT, Launcher.SPARK):
        fix = "leave it out; Spark starts the tasks, pyspark.ml.torch distributes PyTorch"
        yield error("launcher", f"{spec.launcher.value} starts no processes on executors", fix)
    elif spec.processes_per_node > 1 and spec.launcher is Launcher.DIRECT:
        fix = "add --launcher spark: so many tasks at a time on each executor"
        yield error("processes_per_node", "the command is one process, the driver", fix)
    if spec.all_ranks_track:
        yield error("all_ranks_track", "a Spark job is one driver", "leave --all-ranks out")
    yield from _installation(settings)
    yield from _code(spec, settings)


def _compute(spec: JobSpec, settings: Settings) -> Iterator[Finding]:
    if spec.compute.cluster:
        yield error("compute", "the cluster is the master in the URI", "leave the cluster out")
    if spec.compute.instance_type:
        fix = "give spark.executor.memory and spark.executor.cores as options of the URI"
        yield error("compute", "Spark has no types of instances", fix)
    if settings.workers is None:
        return
    workers, cores = settings.workers
    if spec.compute.instance_count > workers:
        yield error("compute", f"the local cluster has {workers} workers", f"at most --instances {workers}")
    if max(spec.processes_per_node, cores_of(settings.conf)) > cores:
        yield error("processes_per_node", f"a worker has {cores} cores", f"at most --processes {cores}")


def _environment(spec: JobSpec, settings: Settings) -> Iterator[Finding]:
    environment = spec.environment
    if environment.image:
        fix = "give requirements; on Kubernetes the option spark.kubernetes.container.image"
        yield error("environment", "drivers run without containers", fix)
    if environment.conda_file:
        yield error("environment", "drivers run without conda", "give requirements instead")
    if (environment.requirements or environment.python) and not settings.is_on_this_machine:
        yield warning(
            "environment",
            "the environment is made for the driver; executors have their own Python",
            "for functions on executors, give them theirs: spark.archives and spark.pyspark.python",
        )


def _installation(settings: Settings) -> Iterator[Finding]:
    if spark_home_of(settings) is None:
        yield error("spark", "there is no spark-submit on this machine", SPARK_HINT)
    if java() is None:
        yield error("spark", "there is no Java on this machine", JAVA_HINT)


def _code(spec: JobSpec, settings: Settings) -> Iterator[Finding]:
    if settings.kind is Kind.HERE:
        return
    try:
        modules_of(spec, settings)
    except BridgeError as problem:
        yield error("code_dir", problem.message, problem.hint or "check the folder")
