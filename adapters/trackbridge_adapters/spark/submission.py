"""From a spec to the program that this machine runs for it."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from trackbridge.domain.jobs import Compute, JobSpec, Launcher
from trackbridge_adapters._jobs.code_files import CodeFile, list_code
from trackbridge_adapters.spark import driver_program
from trackbridge_adapters.spark.config import Kind, Settings

CORES = "spark.executor.cores"


def local_spec(
    spec: JobSpec, settings: Settings, folder: Path, home: Path, *, modules: Path | None
) -> JobSpec:
    """Return the spec of the program around the driver.

    Args:
        spec: Of the job.
        settings: Of the master.
        folder: Where what belongs to the jobs lies.
        home: Where Spark is.
        modules: The archive of the code's modules for executors.
    """
    told = {
        "words": submit_words(spec, settings, modules),
        "folder": os.fspath(folder / "drivers"),
        "spark_home": os.fspath(home),
        "is_here": settings.is_on_this_machine,
        "has_workers": settings.kind is Kind.LOCAL_CLUSTER,
    }
    program = ("python", os.path.abspath(driver_program.__file__), "submit", json.dumps(told))
    return msgspec.structs.replace(
        spec,
        command=(*program, *spec.command),
        compute=Compute(),
        launcher=Launcher.DIRECT,
        processes_per_node=1,
        ignore_file=None,
    )


def submit_words(spec: JobSpec, settings: Settings, modules: Path | None = None) -> list[str]:
    """Return what ``spark-submit`` is given, but for the program."""
    words = ["--master", settings.master, "--deploy-mode", "client", "--name", _shown_name(spec.name)]
    if settings.properties_file is not None:
        words += ["--properties-file", os.fspath(settings.properties_file)]
    for name, value in {**settings.conf, **executor_settings(spec, settings)}.items():
        words += ["--conf", f"{name}={value}"]
    return words if modules is None else [*words, "--py-files", os.fspath(modules)]


def executor_settings(spec: JobSpec, settings: Settings) -> dict[str, str]:
    """Return how many executors a job has, and tasks at a time on each; nothing leaves it to the cluster.

    Standalone clusters know no number of executors: they give out cores until there are enough.
    """
    count, tasks = spec.compute.instance_count, spec.processes_per_node
    if count == 1 and tasks == 1:
        return {}
    cores = tasks if tasks > 1 else cores_of(settings.conf)
    found = {"spark.executor.instances": str(count), CORES: str(cores)}
    if settings.kind in (Kind.STANDALONE, Kind.LOCAL_CLUSTER):
        found["spark.cores.max"] = str(count * cores)
    return found


def cores_of(conf: Mapping[str, str]) -> int:
    """Return the cores of an executor that the settings name, else 1."""
    return int(conf[CORES]) if conf.get(CORES, "").isdecimal() else 1


def modules_of(spec: JobSpec, settings: Settings) -> list[CodeFile]:
    """Return the modules that executors get, which do not see the folder of the code.

    Raises:
        InvalidInput: The folder or its ignore file cannot be read.
        MissingExtra: There is an ignore file, and nothing that reads it.
    """
    if settings.kind is Kind.HERE or spec.code_dir is None:
        return []
    return [file for file in list_code(spec.code_dir, spec.ignore_file).files if file.path.endswith(".py")]


def modules_path(folder: Path, key: str) -> Path:
    """Return where the modules of the job with a key lie."""
    return folder / "modules" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.zip"


def write_modules(path: Path, modules: list[CodeFile]) -> None:
    """Write the archive once: submitted again with the key, a job is what it was.

    Raises:
        OSError: The disk is full, or a module is gone.
    """
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_suffix(f".{os.getpid()}-{id(modules)}")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            for module in modules:
                archive.write(module.source, module.path)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _shown_name(name: str) -> str:
    """Return a name as Spark's pages can show it."""
    printable = "".join(letter if letter.isprintable() else " " for letter in name).strip()
    return printable[:200] or "job"
