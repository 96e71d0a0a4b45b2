"""Which master, and with which settings.

======================================  ===============================================================
URI                                     master
======================================  ===============================================================
``spark:``                              ``local[*]``: this machine
``spark:local[4]``                      this machine, four tasks at a time
``spark:local-cluster[2,1,1024]``       this machine, two workers of one core and 1024 MiB
``spark://HOST:PORT``                   a standalone cluster
``spark:yarn``                          the cluster that ``HADOOP_CONF_DIR`` tells of
``spark:k8s://https://HOST:PORT``       Kubernetes
======================================  ===============================================================

Where commas separate several URIs, those of a master are written ``%2C``.

======================  ===============================================================================
option                  what it is
======================  ===============================================================================
``spark.…``             a setting of Spark, as ``spark-submit --conf`` takes it
``properties_file``     a file of them, for what is secret or has a long name
``spark_home``          where Spark is installed; by default ``SPARK_HOME``, else what pyspark brings
``jobs_parallel_max``   how many drivers run at a time
``jobs_notice_s``       seconds between SIGTERM and SIGKILL
======================  ===============================================================================
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from urllib.parse import unquote

from trackbridge.domain.secrets import shown
from trackbridge.errors import ConfigError

ADAPTER = "spark"
CLUSTER_DRIVERS_MAX = 16
"""A driver on this machine waits most of the time for a cluster's executors."""

_PASSED_ON = ("jobs_parallel_max", "jobs_notice_s")
_OPTIONS = frozenset({"properties_file", "spark_home", *_PASSED_ON})
_HINT = (
    "write spark://HOST:PORT, spark:yarn, spark:k8s://https://HOST:PORT, spark:local[N], "
    "or spark:local-cluster[WORKERS,CORES,MEMORY_MIB]"
)
_HOSTS = r"[A-Za-z0-9._\-]+:[0-9]{1,5}"


class Kind(str, Enum):
    """Who runs the executors."""

    HERE = "here"
    LOCAL_CLUSTER = "local-cluster"
    STANDALONE = "standalone"
    YARN = "yarn"
    KUBERNETES = "k8s"


_MASTERS = {
    Kind.HERE: re.compile(r"local(?:\[(?:\*|[1-9][0-9]{0,4})(?:,[1-9][0-9]{0,2})?\])?"),
    Kind.LOCAL_CLUSTER: re.compile(r"local-cluster\[ *([1-9][0-9]*) *, *([1-9][0-9]*) *, *([1-9][0-9]*) *\]"),
    Kind.STANDALONE: re.compile(rf"spark://{_HOSTS}(?:,{_HOSTS})*"),
    Kind.YARN: re.compile("yarn"),
    Kind.KUBERNETES: re.compile(r"k8s://(?:https?://)?[A-Za-z0-9._\-\[\]:]+(?:/[^\s@]*)?"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A master, and how jobs get there. ``workers`` are those of a local cluster, and the cores of each."""

    master: str
    kind: Kind
    workers: tuple[int, int] | None = None
    conf: Mapping[str, str] = field(default_factory=dict)
    properties_file: Path | None = None
    spark_home: Path | None = None
    runner: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_on_this_machine(self) -> bool:
        """True where executors see the files of the driver."""
        return self.kind in (Kind.HERE, Kind.LOCAL_CLUSTER)

    @property
    def folder_name(self) -> str:
        """The name of the folder for the jobs of this master."""
        readable = re.sub(r"[^A-Za-z0-9]+", "-", self.master).strip("-")[:40]
        return f"{readable}-{hashlib.sha256(self.master.encode()).hexdigest()[:8]}"


def settings_of(
    uri: str, options: Mapping[str, str], environment: Mapping[str, str] = os.environ
) -> Settings:
    """Read the URI, the options and ``SPARK_HOME``.

    Raises:
        ConfigError: They name no master, or an option is unknown or wrong.
    """
    master, kind = _master_of(uri)
    conf = {name: value for name, value in options.items() if name.startswith("spark.")}
    unknown = sorted(set(options) - set(conf) - _OPTIONS)
    if unknown:
        raise _wrong(
            f"the option {unknown[0]!r} is unknown", f"known are {', '.join(sorted(_OPTIONS))}, spark.…"
        )
    for name in ("spark.master", "spark.submit.deployMode"):
        if name in conf:
            raise _wrong(f"{name} cannot be an option", "the master is in the URI; the driver runs here")
    sizes = _MASTERS[Kind.LOCAL_CLUSTER].fullmatch(master)
    runner = {name: options[name] for name in _PASSED_ON if name in options}
    if kind is not Kind.HERE:
        runner.setdefault("jobs_parallel_max", str(CLUSTER_DRIVERS_MAX))
    return Settings(
        master=master,
        kind=kind,
        workers=(int(sizes[1]), int(sizes[2])) if sizes else None,
        conf=conf,
        properties_file=_existing(options, "properties_file"),
        spark_home=_spark_home(options, environment),
        runner=runner,
    )


def _master_of(uri: str) -> tuple[str, Kind]:
    rest = unquote(uri.partition(":")[2])
    master = f"spark:{rest}" if rest.startswith("//") else rest or "local[*]"
    for kind, pattern in _MASTERS.items():
        if pattern.fullmatch(master):
            return master, kind
    raise _wrong(f"{shown(uri)!r} names no master of Spark", _HINT)


def _spark_home(options: Mapping[str, str], environment: Mapping[str, str]) -> Path | None:
    given = options.get("spark_home") or environment.get("SPARK_HOME")
    return Path(given).expanduser().absolute() if given else None


def _existing(options: Mapping[str, str], name: str) -> Path | None:
    if name not in options:
        return None
    path = Path(options[name]).expanduser().absolute()
    if not path.is_file():
        raise _wrong(f"{name} is {options[name]!r}, and there is no such file", "check the path")
    return path


def _wrong(message: str, hint: str) -> ConfigError:
    return ConfigError(message, adapter=ADAPTER, hint=hint)
