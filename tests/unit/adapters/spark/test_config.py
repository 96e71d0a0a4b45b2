"""Which URIs name a master, and what the options become."""

from __future__ import annotations

from pathlib import Path

import pytest

from trackbridge.errors import ConfigError
from trackbridge_adapters.spark.config import CLUSTER_DRIVERS_MAX, Kind, settings_of


@pytest.mark.parametrize(
    ("uri", "master", "kind"),
    [
        ("spark:", "local[*]", Kind.HERE),
        ("spark:local", "local", Kind.HERE),
        ("spark:local[4]", "local[4]", Kind.HERE),
        ("spark:local[*,3]", "local[*,3]", Kind.HERE),
        ("spark:local-cluster[2,1,1024]", "local-cluster[2,1,1024]", Kind.LOCAL_CLUSTER),
        ("spark:local-cluster[2%2C1%2C1024]", "local-cluster[2,1,1024]", Kind.LOCAL_CLUSTER),
        ("spark://master.example:7077", "spark://master.example:7077", Kind.STANDALONE),
        ("spark://a:7077,b:7077", "spark://a:7077,b:7077", Kind.STANDALONE),
        ("spark:yarn", "yarn", Kind.YARN),
        ("spark:k8s://https://k.example:6443", "k8s://https://k.example:6443", Kind.KUBERNETES),
        ("spark:k8s://k.example:6443/path", "k8s://k.example:6443/path", Kind.KUBERNETES),
    ],
)
def test_each_form_names_a_master(uri: str, master: str, kind: Kind) -> None:
    settings = settings_of(uri, {}, {})
    assert (settings.master, settings.kind) == (master, kind)


@pytest.mark.parametrize(
    "uri",
    [
        "spark:/some/folder",
        "spark://host",
        "spark://",
        "spark:local[0]",
        "spark:local-cluster[2,1]",
        "spark:local-cluster[0,1,1024]",
        "spark:k8s://",
        "spark:mesos://host:5050",
        "spark:yarn ",
        "spark:local[2]\nspark",
    ],
)
def test_anything_else_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of(uri, {}, {})
    assert "spark:yarn" in str(caught.value.hint)


def test_settings_of_spark_are_options(tmp_path: Path) -> None:
    (tmp_path / "more.conf").touch()
    options = {"spark.executor.memory": "2g", "properties_file": str(tmp_path / "more.conf")}
    settings = settings_of("spark:yarn", {**options, "jobs_notice_s": "3"}, {"SPARK_HOME": "/opt/spark"})
    assert settings.conf == {"spark.executor.memory": "2g"}
    assert settings.properties_file == tmp_path / "more.conf"
    assert settings.spark_home == Path("/opt/spark")
    assert settings.runner == {"jobs_notice_s": "3", "jobs_parallel_max": str(CLUSTER_DRIVERS_MAX)}


def test_a_local_master_takes_as_many_drivers_as_the_machine_does_jobs() -> None:
    assert settings_of("spark:local[2]", {}, {}).runner == {}


def test_an_option_goes_before_the_variable() -> None:
    settings = settings_of("spark:yarn", {"spark_home": "/other"}, {"SPARK_HOME": "/opt/spark"})
    assert settings.spark_home == Path("/other")


@pytest.mark.parametrize(
    "options",
    [
        {"memory": "2g"},
        {"spark.master": "yarn"},
        {"spark.submit.deployMode": "cluster"},
        {"properties_file": "/there/is/none"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_wrong_options_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of("spark:yarn", options, {})
    assert caught.value.hint


def test_masters_do_not_share_a_folder() -> None:
    uris = (
        "spark:local[1]",
        "spark:local[11]",
        "spark:local-cluster[1,1,1]",
        "spark://a-b:1",
        "spark://a.b:1",
    )
    assert len({settings_of(uri, {}, {}).folder_name for uri in uris}) == len(uris)
