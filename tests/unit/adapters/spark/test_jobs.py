"""From a spec to spark-submit, and what is found wrong before it; no Java is started."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from trackbridge.domain.ids import mint_id
from trackbridge.domain.jobs import Compute, Environment, JobSpec, Launcher
from trackbridge.errors import Rejected, Unsupported
from trackbridge.ports.adapter import Adapter, AdapterContext
from trackbridge.ports.findings import Severity
from trackbridge.ports.jobs import JobBackend
from trackbridge_adapters.spark import open_adapter
from trackbridge_adapters.spark.config import settings_of
from trackbridge_adapters.spark.submission import local_spec, modules_of, submit_words, write_modules

SPEC = JobSpec(name="train", command=("python", "train.py", "--x", "1"))


def opened(uri: str, home: Path, options: Mapping[str, str] | None = None) -> Adapter:
    context = AdapterContext(home=home, options=options or {}, clock_ms=lambda: time.time_ns() // 1_000_000)
    return open_adapter(uri, context=context)


def jobs_of(uri: str, home: Path, options: Mapping[str, str] | None = None) -> JobBackend:
    jobs = opened(uri, home, options).jobs
    assert jobs is not None
    return jobs


def spec_of(**fields: object) -> JobSpec:
    return msgspec.structs.replace(SPEC, **fields)


def found(jobs: JobBackend, spec: JobSpec) -> dict[str, str]:
    findings = jobs.check(spec)
    assert all(finding.fix for finding in findings)
    return {finding.subject: finding.message for finding in findings if finding.severity is Severity.ERROR}


# What spark-submit is told.


def test_settings_become_words() -> None:
    settings = settings_of("spark:yarn", {"spark.executor.memory": "2g", "spark.a": "b c"}, {})
    assert submit_words(SPEC, settings) == [
        *("--master", "yarn", "--deploy-mode", "client", "--name", "train"),
        *("--conf", "spark.executor.memory=2g", "--conf", "spark.a=b c"),
    ]


@pytest.mark.parametrize(
    ("uri", "tasks", "options", "expected"),
    [
        ("spark:yarn", 1, {}, {"spark.executor.instances=3", "spark.executor.cores=1"}),
        ("spark:yarn", 4, {}, {"spark.executor.instances=3", "spark.executor.cores=4"}),
        (
            "spark://a:1",
            1,
            {"spark.executor.cores": "2"},
            {"spark.executor.instances=3", "spark.executor.cores=2", "spark.cores.max=6"},
        ),
    ],
)
def test_executors_are_counted_as_each_master_counts(
    uri: str, tasks: int, options: dict[str, str], expected: set[str]
) -> None:
    spec = spec_of(compute=Compute(instance_count=3), processes_per_node=tasks, launcher=Launcher.SPARK)
    assert expected <= set(submit_words(spec, settings_of(uri, options, {})))


def test_one_machine_is_left_to_the_cluster() -> None:
    assert "--conf" not in submit_words(SPEC, settings_of("spark:yarn", {}, {}))


@pytest.mark.parametrize(
    ("name", "shown"), [("a\nb", "a b"), ("\x01", "job"), ("", "job"), ("x" * 500, "x" * 200)]
)
def test_a_name_is_shown_as_spark_can(name: str, shown: str) -> None:
    words = submit_words(spec_of(name=name), settings_of("spark:", {}, {}))
    assert words[words.index("--name") + 1] == shown


def test_the_command_stays_whole_behind_the_program(tmp_path: Path) -> None:
    spec = spec_of(command=("a", "{x}", "漢\n"), compute=Compute(instance_count=2))
    made = local_spec(spec, settings_of("spark:yarn", {}, {}), tmp_path, tmp_path, modules=None)
    assert made.command[-3:] == ("a", "{x}", "漢\n")
    assert made.command[0] == "python"
    assert (made.compute, made.name) == (Compute(), spec.name)


# Modules for executors.


def test_executors_get_modules_and_not_what_is_ignored(tmp_path: Path) -> None:
    code = tmp_path / "code"
    for path in ("a.py", "pkg/b.py", "secret/c.py", "data.csv"):
        (code / path).parent.mkdir(parents=True, exist_ok=True)
        (code / path).write_text("x = 1", encoding="utf-8")
    (code / ".bridgeignore").write_text("secret/\n", encoding="utf-8")
    spec = spec_of(code_dir=str(code))
    assert modules_of(spec, settings_of("spark:local[2]", {}, {})) == []
    modules = modules_of(spec, settings_of("spark:yarn", {}, {}))
    archive = tmp_path / "store" / "modules.zip"
    write_modules(archive, modules)
    (code / "later.py").touch()
    write_modules(archive, modules_of(spec, settings_of("spark:yarn", {}, {})))
    with zipfile.ZipFile(archive) as opened_archive:
        assert sorted(opened_archive.namelist()) == ["a.py", "pkg/b.py"], "the first submission's"
    assert list(archive.parent.iterdir()) == [archive]


# What is refused.


@pytest.mark.parametrize(
    ("subject", "fields"),
    [
        ("compute", {"compute": Compute(cluster="big")}),
        ("compute", {"compute": Compute(instance_type="m5.large")}),
        ("compute", {"compute": Compute(instance_count=3)}),
        ("processes_per_node", {"processes_per_node": 2}),
        ("processes_per_node", {"processes_per_node": 3, "launcher": Launcher.SPARK}),
        ("launcher", {"launcher": Launcher.TORCHRUN, "processes_per_node": 2}),
        ("launcher", {"launcher": Launcher.MPI}),
        ("all_ranks_track", {"all_ranks_track": True}),
        ("environment", {"environment": Environment(image="python:3.11")}),
        ("environment", {"environment": Environment(conda_file="conda.yaml")}),
        ("code_dir", {"code_dir": "/there/is/none"}),
    ],
)
def test_what_a_local_cluster_cannot_do_is_found(
    subject: str, fields: dict[str, object], tmp_path: Path
) -> None:
    jobs = jobs_of("spark:local-cluster[2,2,1024]", tmp_path)
    assert subject in found(jobs, spec_of(**fields))
    with pytest.raises(Rejected):
        jobs.submit(spec_of(**fields), key=mint_id())


@pytest.mark.parametrize(
    "fields", [{"compute": Compute(instance_count=2)}, {"processes_per_node": 2, "launcher": Launcher.SPARK}]
)
def test_a_local_master_has_no_executors(fields: dict[str, object], tmp_path: Path) -> None:
    jobs = jobs_of("spark:local[2]", tmp_path)
    with pytest.raises(Unsupported, match="local-cluster"):
        jobs.submit(spec_of(**fields), key=mint_id())


def test_requirements_on_a_cluster_are_the_drivers_alone(tmp_path: Path) -> None:
    spec = spec_of(environment=Environment(requirements=("six",)))
    remarks = [item.message for item in jobs_of("spark:yarn", tmp_path).check(spec)]
    assert any("executors have their own Python" in remark for remark in remarks)
    assert not jobs_of("spark:local-cluster[1,1,1024]", tmp_path).check(spec)


def test_a_machine_without_spark_or_java_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    adapter = opened("spark:yarn", tmp_path, {"spark_home": str(tmp_path)})
    assert adapter.jobs is not None
    assert "spark" in found(adapter.jobs, SPEC)
    errors = {item.subject for item in adapter.check() if item.severity is Severity.ERROR}
    assert errors == {"spark", "java"}


def test_a_master_that_is_not_there_is_found_by_doctor(tmp_path: Path) -> None:
    errors = [
        item for item in opened("spark://127.0.0.1:9", tmp_path).check() if item.severity is Severity.ERROR
    ]
    assert [item.subject for item in errors] == ["master"]


def test_a_preview_shows_the_words_and_no_secret(tmp_path: Path) -> None:
    jobs = jobs_of("spark:yarn", tmp_path, {"spark.executor.memory": "2g"})
    spec = spec_of(variables={"API_TOKEN": "Pa55word"}, compute=Compute(instance_count=4))
    preview = jobs.preview(spec)
    assert "spark.executor.memory=2g" in preview.request["spark-submit"]
    assert (preview.billed_to, preview.instance_count) == ("", 4)
    assert "Pa55word" not in repr(preview)
