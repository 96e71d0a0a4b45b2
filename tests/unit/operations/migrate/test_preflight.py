"""Models are loaded and scored before they are promoted, each in an environment of its own requirements."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.migrations import local_side, migrate, pair_of
from tests.support.preflights import lend_installed, lend_small, register_folder, with_example
from trackbridge.domain.jobs import JobStatus
from trackbridge.domain.models import Approval
from trackbridge.errors import Rejected, Unavailable
from trackbridge.operations.following import wait_for_job
from trackbridge.operations.migrate.applying import Applying
from trackbridge.operations.migrate.files import file_digest
from trackbridge.operations.migrate.mirror import apply_mirror, plan_mirror
from trackbridge.operations.migrate.pair import Pair
from trackbridge.operations.migrate.preflight import Preflight, Report, promotes
from trackbridge.operations.preflight.needs import is_loadable, needs_of
from trackbridge.operations.preflight.trials import Verdict
from trackbridge.testing.contracts.deployment_models import answering, broken, failing, sleeping, write_model


class Rig:
    """Two registries, and a pre-flight whose reports are kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        sides = local_side(folder / "left"), local_side(folder / "right")
        self.pair: Pair = pair_of(*sides, folder / "home")
        self.reports: list[Report] = []
        self.preflight = Preflight(folder / "home", on_report=self.reports.append)

    def register(self, model: Path, name: str = "wine") -> str:
        """Register a version at the source that is promoted in every way."""
        number = register_folder(self.pair.source, model, name)
        registry = self.pair.source.registry
        assert registry is not None
        registry.set_alias(name, "champion", version=number)
        registry.set_stage(name, number, stage="Production")
        registry.set_approval(name, number, approval=Approval.APPROVED)
        registry.set_tags(name, number, tags={"team": "red"})
        return number

    def labels(self, number: str = "1", name: str = "wine") -> tuple[tuple[str, ...], str, Approval]:
        """Return what a version at the target is promoted to."""
        assert self.pair.target.registry is not None
        found = self.pair.target.registry.get_version(name, number)
        return found.aliases, found.stage, found.approval

    def again(self) -> Preflight:
        """Return another pre-flight at the same place, as the next program has it."""
        self.preflight.close()
        self.preflight = Preflight(self.folder / "home", on_report=self.reports.append)
        return self.preflight


PROMOTED = (("champion",), "Production", Approval.APPROVED)
PLAIN = ((), "None", Approval.PENDING)


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    lend_small(tmp_path / "index", monkeypatch)
    made = Rig(tmp_path)
    yield made
    for opened in (made.preflight, made.pair.source, made.pair.target, made.pair.ledger):
        opened.close()


def test_a_model_that_answers_is_promoted_and_its_environment_is_kept(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    sees = "        if 'AWS_SECRET_ACCESS_KEY' in os.environ: raise RuntimeError('it sees secrets')\n"
    sees += "        return [1.0] * len(model_input)"
    rig.register(with_example(write_model(rig.folder, "clean", body=sees)))
    account = migrate(rig.pair, how=Applying(preflight=rig.preflight))
    assert account.remaining == []
    assert rig.labels() == PROMOTED
    (report,) = rig.reports
    assert (report.verdict, report.detail) == (Verdict.PASSED, "its input example was scored: 2 rows")
    (environment,) = [
        path for path in (rig.folder / "home/preflight/environments").iterdir() if path.is_dir()
    ]
    assert (environment / "ready").exists()
    assert list((rig.folder / "home/preflight/work").iterdir()) == [], "nothing is left of it"
    rig.register(with_example(answering(rig.folder, "second", 2.0)))
    assert migrate(rig.pair, how=Applying(preflight=rig.again())).remaining == []
    assert rig.labels("2") == PROMOTED
    assert len(list(environment.parent.glob("*/ready"))) == 1, "the same requirements, the same environment"
    assert not list(rig.folder.glob("home/migrations/*/payloads/*/MLmodel"))


def test_what_has_passed_is_not_fetched_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.register(with_example(answering(rig.folder, "model", 1.0)))
    version = rig.pair.source.versions("wine")[0]
    rig.preflight.refuse_unfit(rig.pair.source, version)

    def fetch(*args: object, **named: object) -> Path:
        raise AssertionError("it was fetched")

    monkeypatch.setattr("trackbridge.operations.migrate.preflight.materialise", fetch)
    rig.again().refuse_unfit(rig.pair.source, version)
    assert [report.detail for report in rig.reports] == [
        "its input example was scored: 2 rows",
        "its input example was scored: 2 rows (before)",
    ]


def test_mlflow_itself_loads_a_model_and_scores_its_example(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    lend_installed(rig.folder / "index of mlflow", monkeypatch)
    rig.register(with_example(answering(rig.folder, "model", 1.0)))
    assert migrate(rig.pair, how=Applying(preflight=rig.preflight)).remaining == []
    assert [report.detail for report in rig.reports] == ["its input example was scored: 2 rows"]
    assert rig.labels() == PROMOTED


def test_a_model_that_fails_on_its_example_is_copied_and_not_promoted(rig: Rig) -> None:
    rig.register(with_example(failing(rig.folder)))
    account = migrate(rig.pair, how=Applying(preflight=rig.preflight))
    assert rig.labels() == PLAIN
    (left,) = account.remaining
    assert left.subject == "version wine/1"
    assert "pre-flight failed: it fails on its own input example" in left.error
    assert "this model fails on purpose" in left.error
    assert account.exit_code == 3
    copy = rig.pair.target.versions("wine")[0]
    assert copy.digest == rig.pair.source.versions("wine")[0].digest
    assert copy.tags["team"] == "red", "all else is as at the source"
    assert migrate(rig.pair, how=Applying(preflight=rig.again())).remaining[0].error == left.error
    assert migrate(rig.pair).remaining == [], "without a pre-flight it is promoted"
    assert rig.labels() == PROMOTED


def test_what_keeps_a_model_from_being_promoted_is_said(rig: Rig) -> None:
    nothing = with_example(answering(rig.folder, "nothing", 1.0))
    (nothing / "requirements.txt").write_text("mlflow\nthere-is-no-such-package==1\n", "utf-8")
    dying = write_model(rig.folder, "dying", body="        return []", preparation="os._exit(0)")
    for name, model in {
        "broken": broken(rig.folder),
        "nothing": nothing,
        "dying": with_example(dying),
    }.items():
        rig.register(model, name)
    account = migrate(rig.pair, how=Applying(preflight=rig.preflight))
    said = {outcome.subject: outcome.error for outcome in account.remaining}
    assert "it cannot be loaded: RuntimeError: this model cannot be loaded" in said["version broken/1"]
    assert "there-is-no-such-package" in said["version nothing/1"]
    assert "without a result" in said["version dying/1"]
    assert {rig.labels(name=name) for name in ("broken", "nothing", "dying")} == {PLAIN}


def test_a_model_that_never_answers_is_ended(rig: Rig) -> None:
    rig.register(with_example(sleeping(rig.folder, seconds=600)))
    rig.preflight = Preflight(rig.folder / "home", score_s_max=3)
    account = migrate(rig.pair, how=Applying(preflight=rig.preflight))
    assert "the time limit of 3 s was reached" in account.remaining[0].error
    assert rig.labels() == PLAIN


def test_whoever_wants_no_more_waits_for_no_model(rig: Rig) -> None:
    rig.register(with_example(sleeping(rig.folder, seconds=600)))

    def stop() -> None:
        if list((rig.folder / "home/preflight/environments").glob("*/ready")):
            raise KeyboardInterrupt

    rig.preflight.on_wait = stop
    version = rig.pair.source.versions("wine")[0]
    with pytest.raises(KeyboardInterrupt):
        rig.preflight.refuse_unfit(rig.pair.source, version)
    jobs = rig.preflight._trials._jobs()
    (job,) = jobs.list_jobs().items
    assert wait_for_job(job.job_id, jobs, timeout_s=120).status is JobStatus.CANCELLED
    assert list((rig.folder / "home/preflight/work").iterdir()) == []


def test_what_killed_looks_have_left_goes_away(rig: Rig) -> None:
    old, recent = (rig.folder / "home/preflight/work" / name for name in ("old", "recent"))
    for folder in (old, recent):
        folder.mkdir(parents=True)
        (folder / "weights").write_bytes(b"1")
    os.utime(old, (1.0, 1.0))
    rig.register(with_example(answering(rig.folder, "model", 1.0)))
    rig.preflight.refuse_unfit(rig.pair.source, rig.pair.source.versions("wine")[0])
    assert list(old.parent.iterdir()) == [recent], "that of another program stays"


def test_what_cannot_be_loaded_anywhere_is_promoted_and_said(rig: Rig, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "model.bin").write_bytes(b"weights")
    own = tmp_path / "own"
    own.mkdir()
    (own / "MLmodel").write_text("flavors:\n  onnx:\n    data: model.onnx\nmlflow_version: 3.0.0\n", "utf-8")
    rig.register(plain, "plain")
    rig.register(own, "own")
    assert migrate(rig.pair, how=Applying(preflight=rig.preflight)).remaining == []
    assert rig.labels(name="plain") == rig.labels(name="own") == PROMOTED
    assert {report.verdict for report in rig.reports} == {Verdict.UNCHECKED}
    assert not (tmp_path / "home/preflight").exists(), "nothing was fetched or built for it"


def test_a_version_that_is_only_copied_is_not_looked_at(rig: Rig) -> None:
    register_folder(rig.pair.source, with_example(failing(rig.folder)), "wine")
    assert rig.pair.source.registry is not None
    rig.pair.source.registry.set_stage("wine", "1", stage="Archived")
    assert migrate(rig.pair, how=Applying(preflight=rig.preflight)).remaining == []
    assert rig.reports == []
    assert rig.labels() == ((), "Archived", Approval.PENDING)


def test_a_sync_promotes_nothing_that_fails_on_either_side(rig: Rig) -> None:
    register_folder(rig.pair.source, with_example(failing(rig.folder)), "wine")
    assert apply_mirror(rig.pair, plan_mirror(rig.pair, two_way=True), preflight=rig.preflight).is_complete
    left, right = rig.pair.source.registry, rig.pair.target.registry
    assert left is not None
    assert right is not None
    left.set_alias("wine", "champion", version="1")
    right.set_approval("wine", "1", approval=Approval.APPROVED)
    right.set_description("wine", "1", description="good")
    result = apply_mirror(rig.pair, plan_mirror(rig.pair, two_way=True), preflight=rig.preflight)
    assert sorted(what for what, _ in result.failed) == [
        "model wine alias:champion at the target",
        f"version wine/1 of {rig.pair.source.uri} approval at the source",
    ]
    assert right.get_model("wine").aliases == {}
    assert left.get_version("wine", "1").approval is Approval.PENDING
    assert left.get_version("wine", "1").description == "good", "what promotes nothing is set"
    assert apply_mirror(rig.pair, plan_mirror(rig.pair, two_way=True)).is_complete
    assert right.get_model("wine").aliases == {"champion": "1"}


def test_a_target_that_cannot_be_read_is_no_verdict(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    number = rig.register(with_example(answering(rig.folder, "model", 1.0)))
    version = rig.pair.source.versions("wine")[int(number) - 1]

    def away(*args: object) -> object:
        raise Unavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr("trackbridge.operations.migrate.preflight.mlmodel_of", away)
        with pytest.raises(Unavailable):
            rig.preflight.refuse_unfit(rig.pair.source, version)
    rig.preflight.refuse_unfit(rig.pair.source, version)
    assert [report.verdict for report in rig.reports] == [Verdict.PASSED]


def test_files_that_are_not_those_that_were_registered_are_refused(rig: Rig) -> None:
    rig.register(with_example(answering(rig.folder, "model", 1.0)))
    version = rig.pair.source.versions("wine")[0]
    other = rig.folder / "other"
    other.write_bytes(b"import os; os._exit(0)")
    assert rig.pair.source.artifacts is not None
    run_id = version.run_id or ""
    rig.pair.source.artifacts.put(
        run_id, "model/code/contract_model_model.py", other, digest=file_digest(other), size=22
    )
    with pytest.raises(Rejected, match="not those that were registered"):
        rig.preflight.refuse_unfit(rig.pair.source, version)


@pytest.mark.parametrize(
    ("what", "value", "expected"),
    [
        ("alias:champion", "1", True),
        ("alias:champion", None, False),
        ("stage", "Production", True),
        ("stage", "Staging", True),
        ("stage", "Archived", False),
        ("stage", "None", False),
        ("approval", "approved", True),
        ("approval", "rejected", False),
        ("approval", "pending", False),
        ("tag:stage", "Production", False),
        ("description", "approved", False),
    ],
)
def test_what_promotes(what: str, value: str | None, expected: bool) -> None:
    assert promotes(what, value) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flavors:\n  python_function:\n    loader_module: m\n", True),
        (
            "a: b\r\nflavors:\r\n  sklearn:\r\n    x: y\r\n  python_function:\r\n    l: m\r\nrun_id: r\r\n",
            True,
        ),
        ("flavors:\n  onnx:\n    data: d\n", False),
        ("flavors: {}\n", False),
        ("metadata:\n  python_function:\n", False),
        ("", False),
        ("\x00\xff", False),
    ],
)
def test_flavors(text: str, expected: bool) -> None:
    assert is_loadable(text) is expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"requirements.txt": "mlflow==2.16\npandas<3  # newer breaks\n\n"}, ("mlflow==2.16", "pandas<3")),
        ({"requirements.txt": "mlflow-skinny>=3\n"}, ("mlflow-skinny>=3",)),
        (
            {"requirements.txt": "mlflow==3.1 \\\n  --hash=sha256:aa \\\n  --hash=sha256:bb\nnumpy==2\n"},
            ("mlflow==3.1", "numpy==2"),
        ),
        ({"requirements.txt": "mlflow_tools==1\n"}, ("mlflow_tools==1", "mlflow==3.1.0")),
        (
            {"conda.yaml": "dependencies:\n- python=3.10\n- pip:\n  - mlflow==3.1\n  - numpy\nname: env\n"},
            ("mlflow==3.1", "numpy"),
        ),
        ({}, ("mlflow==3.1.0",)),
    ],
)
def test_requirements(tmp_path: Path, files: dict[str, str], expected: tuple[str, ...]) -> None:
    for name, text in {"MLmodel": "mlflow_version: 3.1.0\n", **files}.items():
        (tmp_path / name).write_text(text, "utf-8")
    assert needs_of(tmp_path).requirements == expected


def test_options_among_requirements_and_another_python_are_told(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("--extra-index-url https://x\nmlflow\n-r more.txt\n", "utf-8")
    (tmp_path / "python_env.yaml").write_text("python: 3.8.10\nbuild_dependencies:\n- pip\n", "utf-8")
    needs = needs_of(tmp_path)
    assert needs.requirements == ("mlflow",)
    assert needs.left_out == ("--extra-index-url https://x", "-r more.txt")
    assert needs.python == "3.8"
