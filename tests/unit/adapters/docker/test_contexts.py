"""Build contexts: the same bytes for the same model, a Dockerfile that engines take, what pip installs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from packaging.requirements import Requirement

from tests.support.image_contexts import Dockerfile
from trackbridge.domain.deployments import DeploymentSpec, Operation
from trackbridge.errors import ConfigError, Rejected
from trackbridge.testing.contracts import deployment_models
from trackbridge_adapters.docker import building, wheel
from trackbridge_adapters.docker.checks import check_spec
from trackbridge_adapters.docker.config import canonical_uri, folder_of
from trackbridge_adapters.docker.context import write_context
from trackbridge_adapters.docker.deployments import DockerDeployments
from trackbridge_adapters.docker.requirements import constraints_of, model_lines
from trackbridge_adapters.docker.state import Built, Endpoint, Store, Work

ODD = {"QUOTED": 'a "b" $HOME \\n ${x}', "EMPTY": "", "PLAIN": "x=y;z"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return deployment_models.answering(tmp_path_factory.mktemp("models"), "one", 1.0)


def spec_of(model: Path, **fields: object) -> DeploymentSpec:
    return deployment_models.spec_for(model, "wine", "v1", **fields)


def written(folder: Path, spec: DeploymentSpec, model: Path) -> str:
    folder.mkdir()
    return write_context(folder, spec, model)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def context(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contexts") / "context"
    written(folder, spec_of(model, variables=ODD, instance_count=3, request_timeout_s=1.5), model)
    return folder


def test_the_same_model_gives_the_same_bytes(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trackbridge_adapters.docker.wheel.PACKAGES", ("trackbridge_adapters",))
    copy = tmp_path / "copy"
    shutil.copytree(model, copy, copy_function=shutil.copyfile)  # other times, other modes
    (copy / "MLmodel").chmod(0o600)
    first = written(tmp_path / "first", spec_of(model), model)
    assert written(tmp_path / "second", spec_of(model), copy) == first
    assert files_of(tmp_path / "first") == files_of(tmp_path / "second")
    (copy / "MLmodel").write_text((model / "MLmodel").read_text() + "# other\n")
    assert written(tmp_path / "third", spec_of(model), copy) != first


def test_the_dockerfile_says_how_the_server_runs(context: Path) -> None:
    said = Dockerfile.read(context)
    version = ".".join(map(str, sys.version_info[:3]))
    assert said.argument("FROM") == f"python:{version}-slim"
    assert said.entrypoint == ["python", "-m", "trackbridge.serving.container"]
    assert said.argument("EXPOSE") == "8080"
    assert {name: said.environment[name] for name in ODD} == ODD
    assert said.environment["BRIDGE_SERVING_NAME"] == "wine/v1"
    assert said.environment["BRIDGE_SERVING_WORKERS"] == "3"
    assert said.environment["BRIDGE_SERVING_TIMEOUT_S"] == "1.5"
    assert said.labels["io.trackbridge.model"] == "models:/one/1"
    runs = [rest for name, rest in said.instructions if name == "RUN"]
    assert len(runs) == 1, "nothing but pip needs a network, and nothing after it"


def test_everybody_may_read_what_is_in_it(context: Path) -> None:
    for path in context.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644)


def test_the_manifest_has_the_hash_of_every_file(context: Path) -> None:
    told = json.loads((context / "manifest.json").read_bytes())
    assert set(told["files"]) == set(files_of(context)) - {"manifest.json", "README.md"}
    assert told["model"] == "models:/one/1"


def test_what_is_installed_is_pinned(context: Path) -> None:
    first, *rest = (context / "requirements.txt").read_text().splitlines()
    (wheel,) = (context / "wheels").glob("*.whl")
    assert first == f"./wheels/{wheel.name}[serve,mlflow]"
    assert rest == ["mlflow"]
    pins = [Requirement(line) for line in (context / "constraints.txt").read_text().splitlines()]
    assert {"uvicorn", "httptools", "msgspec", "prometheus-client"} <= {pin.name for pin in pins}
    assert all(str(pin.specifier).startswith("==") for pin in pins)
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
    assert "trackbridge/serving/container.py" in names
    assert not [name for name in names if "__pycache__" in name]


def test_options_choose_image_packages_and_pins(model: Path, tmp_path: Path) -> None:
    pinned = "registry.example.org/python:3.12-slim@sha256:" + "0" * 64
    options = {
        "base_image": pinned,
        "system_packages": "libgomp1,git",
        "package": "index",
        "pins": "none",
        "extras": "otel",
    }
    spec = spec_of(model, options=options)
    check_spec(spec)
    written(tmp_path / "context", spec, model)
    said = Dockerfile.read(tmp_path / "context")
    assert said.argument("FROM") == pinned
    assert "git libgomp1" in next(rest for name, rest in said.instructions if name == "RUN")
    first = (tmp_path / "context" / "requirements.txt").read_text().splitlines()[0]
    assert first.startswith("trackbridge[serve,mlflow,otel]==")
    assert (tmp_path / "context" / "constraints.txt").read_text() == ""
    assert not (tmp_path / "context" / "wheels").exists()


def model_needing(folder: Path, *lines: str, mlmodel: str = "") -> Path:
    made = deployment_models.answering(folder, "needing", 1.0)
    (made / "requirements.txt").write_text("\n".join(lines))
    (made / "MLmodel").write_text((made / "MLmodel").read_text() + mlmodel)
    return made


def test_requirements_of_a_model_are_taken_as_they_are(tmp_path: Path) -> None:
    lines = (
        "# mine",
        "scikit-learn==1.5.0",
        "--extra-index-url https://example.org/simple",
        "-c constraints.txt",
    )
    made = model_needing(tmp_path, *lines, mlmodel="mlflow_version: 2.17.2\n")
    (made / "constraints.txt").write_text("numpy==1.26.4\n")
    assert model_lines(made) == [lines[1], lines[2], "-c model-constraints.txt", "mlflow==2.17.2"]
    written(tmp_path / "context", spec_of(made), made)
    assert (tmp_path / "context" / "model-constraints.txt").read_text() == "numpy==1.26.4\n"
    copied = [
        rest.split() for name, rest in Dockerfile.read(tmp_path / "context").instructions if name == "COPY"
    ]
    assert "model-constraints.txt" in copied[0]


@pytest.mark.parametrize(
    "line",
    [
        "./wheels/mine.whl",
        "/home/me/mine.whl",
        "file:///home/me/mine.whl",
        "-e .",
        "-r others.txt",
        "-c missing.txt",
        "--trusted-host example.org",
        "--extra-index-url https://me:hunter22@example.org/simple",
    ],
)
def test_what_no_image_can_install_is_refused(tmp_path: Path, line: str) -> None:
    made = model_needing(tmp_path, "mlflow", line)
    with pytest.raises(Rejected) as caught:
        model_lines(made)
    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize("line", ["x @ https://me:hunter22@example.org/x.whl", "-c others.txt"])
def test_constraints_are_looked_at_as_requirements_are(tmp_path: Path, line: str) -> None:
    made = model_needing(tmp_path, "mlflow", "-c constraints.txt")
    (made / "constraints.txt").write_text(f"numpy==1.26.4\n{line}\n")
    with pytest.raises(Rejected) as caught:
        constraints_of(made)
    assert "hunter22" not in str(caught.value)


def test_a_second_file_of_constraints_is_refused(tmp_path: Path) -> None:
    made = model_needing(tmp_path, "mlflow", "-c one.txt", "-c two.txt")
    for name in ("one.txt", "two.txt"):
        (made / name).write_text("numpy==1.26.4\n")
    with pytest.raises(Rejected, match="more than one file"):
        model_lines(made)


def test_what_editors_leave_is_in_no_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "edited"
    (package / ".idea").mkdir(parents=True)
    for name in ("__init__.py", ".env", ".idea/x.xml", "a.py~"):
        (package / name).write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(wheel, "PACKAGES", ("edited",))
    with zipfile.ZipFile(wheel.write_wheel(tmp_path, wheel.installed())) as archive:
        held = [name for name in archive.namelist() if "dist-info" not in name]
    assert held == ["edited/__init__.py"]


def test_a_trial_sees_nothing_of_the_user_s_variables(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str] = {}
    started = subprocess.Popen

    def start(arguments: list[str], *, env: dict[str, str], **options: Any) -> Any:
        seen.update(env)
        return started([sys.executable, "-S", "-c", ""], env=env, **options)

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter22")
    with pytest.raises(Rejected, match="did not"):
        building.try_out(model, spec_of(model, variables={"MODE": "x"}))
    assert "AWS_SECRET_ACCESS_KEY" not in seen
    assert seen["HOME"] != os.environ.get("HOME")
    assert (seen["MODE"], seen["PATH"]) == ("x", os.environ["PATH"])


def test_a_model_without_requirements_is_refused(tmp_path: Path) -> None:
    made = model_needing(tmp_path, "mlflow")
    (made / "requirements.txt").unlink()
    with pytest.raises(Rejected, match=r"requirements\.txt"):
        model_lines(made)


def test_a_builder_that_cannot_start_is_told(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "MODULE", "no_such_module")
    store, spec = Store(tmp_path), spec_of(model)
    work = Work(spec=spec, payload=str(model), token="t")
    store.write("wine", Endpoint(deployments={"v1": Built(spec=spec, work=work)}))
    target = DockerDeployments(tmp_path, lambda: 0)
    waiting = Operation(operation_id="wine/t", done=False)
    assert not target.poll(waiting).done
    for thread in threading.enumerate():
        if thread.name == "docker-building":
            thread.join()
    with pytest.raises(Rejected, match="No module named no_such_module"):
        target.poll(waiting)


@pytest.mark.parametrize(
    "fields",
    [
        {"variables": {"A": "two\nlines"}},
        {"variables": {"a b": "1"}},
        {"variables": {"BRIDGE_MODEL_PATH": "/x"}},
        {"options": {"base_image": "python slim"}},
        {"options": {"base_image": "python:3\nRUN x"}},
        {"options": {"system_packages": "git; rm"}},
        {"options": {"trial": "there"}},
        {"image": "mine"},
        {"instance_type": "large"},
        {"deployment": "current"},
        {"instance_count": 257},
    ],
    ids=str,
)
def test_what_a_context_cannot_hold_is_rejected(model: Path, fields: dict[str, object]) -> None:
    spec = msgspec.structs.replace(spec_of(model), **fields)
    with pytest.raises(Rejected):
        check_spec(spec)


# URIs.


def test_uris_name_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert folder_of("docker:", {}, tmp_path / ".bridge") == tmp_path / ".bridge" / "images"
    assert folder_of("docker:some%20images", {}, tmp_path) == tmp_path / "some images"
    assert folder_of("docker:/abs", {}, tmp_path) == Path("/abs")
    named = canonical_uri("docker:some images", options={}, environment={}, folder=tmp_path)
    assert folder_of(named, {}, Path("/elsewhere")) == tmp_path / "some images"
    assert canonical_uri("docker:", options={}, environment={}, folder=tmp_path) == "docker:"


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for uri, options in ((f"docker:{tmp_path}/file", {}), ("docker://host/x", {}), ("docker:", {"a": "b"})):
        with pytest.raises(ConfigError):
            folder_of(uri, options, tmp_path)
