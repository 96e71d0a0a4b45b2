"""The file that goes to the machine: keys of a container, signed requests, parts of large files, rescue."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.sagemaker_jobs import BUCKET, files_at
from tests.support.scripted_servers import Answer, scripted_server
from tests.unit.adapters.sagemaker.jobs.conftest import Place
from trackbridge.domain.ids import mint_id
from trackbridge_adapters.sagemaker import jobs_files

KEY_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
Made = Callable[..., ModuleType]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    def make(**platform: object) -> ModuleType:
        """Return the module as it lies on a machine, beside what it is told there."""
        folder = tmp_path / "plan"
        folder.mkdir()
        told = {
            "config": "../config",
            "failure": "../output/failure",
            "outputs": {},
            "rescue": "../output/data",
            "region": "us-east-1",
            "suffix": "amazonaws.com",
            "main_port": 20_001,
            **platform,
        }
        (folder / "platform.json").write_text(json.dumps(told))
        (folder / "platform_hooks.py").write_bytes(jobs_files.own_files()["platform_hooks.py"])
        spec = importlib.util.spec_from_file_location("hooks_of_a_machine", folder / "platform_hooks.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return make


def test_keys_come_as_a_container_gets_them(
    place: Place, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks, name = made(), f"container-{mint_id()}"
    place.emulator.client("ssm").put_parameter(Name=name, Value="found", Type="String")
    variables = place.emulator.environment()
    keys = {"AccessKeyId": variables[KEY_VARIABLES[0]], "SecretAccessKey": variables[KEY_VARIABLES[1]]}
    with scripted_server() as server, monkeypatch.context() as patch:
        server.answer = lambda request: Answer(
            body=json.dumps(keys) if request.headers.get("Authorization") == "let me in" else "{}"
        )
        for variable in KEY_VARIABLES:
            patch.delenv(variable, raising=False)
        with pytest.raises(hooks.Refused, match="no keys"):
            hooks.secret(f"ssm:{name}")
        patch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.url}/keys")
        patch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "let me in")
        assert hooks.secret(f"ssm:{name}") == "found"
        patch.setattr(hooks, "CONTAINER_HOST", server.url)
        patch.setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/relative")
        assert hooks.secret(f"ssm:{name}") == "found"


def test_keys_are_not_shown(made: Made) -> None:
    assert "secret" not in repr(made().Keys("name", "secret", "token"))


def test_a_large_file_goes_in_parts(
    place: Place, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks, address = made(), f"s3://{BUCKET}/{mint_id()}"
    monkeypatch.setattr(hooks, "PART_BYTES", 5 * 1024 * 1024)
    content = bytes(range(256)) * 50_000  # 12.8 MB: S3 takes no smaller part than 5 MB but for the last
    (tmp_path / "out" / "deep").mkdir(parents=True)
    (tmp_path / "out" / "deep" / "a b~Ü.bin").write_bytes(content)
    (tmp_path / "out" / "empty").touch()
    hooks.upload(str(tmp_path / "out"), address)
    assert files_at(place.emulator, address) == {"deep/a b~Ü.bin": content, "empty": b""}


def test_what_is_overloaded_is_asked_again(
    place: Place, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks, address = made(), f"s3://{BUCKET}/{mint_id()}"
    monkeypatch.setattr(hooks, "PAUSE_S", 0.01)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").write_text("x")
    place.emulator.faults.fail("PutObject", times=2, code="SlowDown", status=503)
    hooks.upload(str(tmp_path / "out"), address)
    assert files_at(place.emulator, address) == {"x": b"x"}


def test_an_output_that_cannot_be_brought_is_rescued(place: Place, made: Made, tmp_path: Path) -> None:
    hooks = made(outputs={"model": "s3://there-is-no-such-bucket/x"})
    (tmp_path / "plan" / "model").mkdir()
    (tmp_path / "plan" / "model" / "w").write_text("w")
    plan = {"paths": {"outputs": {"model": str(tmp_path / "plan" / "model")}}}
    with pytest.raises(hooks.Refused, match="output model could not be brought"):
        hooks.finish(plan, {"reason": ""})
    assert (tmp_path / "output" / "data" / "model" / "w").read_text() == "w"


def test_the_failure_is_told_unless_the_program_told_it_better(made: Made, tmp_path: Path) -> None:
    hooks, failure = made(), tmp_path / "output" / "failure"
    plan: dict[str, object] = {"paths": {"outputs": {}}}
    hooks.finish(plan, {"reason": ""})
    assert not failure.exists()
    hooks.finish(plan, {"reason": "x" * 5000})
    assert failure.read_text() == "x" * 900
    failure.write_text("no luck")
    hooks.finish(plan, {"reason": "other"})
    assert failure.read_text() == "no luck"


def test_machines_are_counted(made: Made, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    told = {"current_host": "algo-2", "hosts": ["algo-1", "algo-2"]}
    (tmp_path / "config" / "resourceconfig.json").write_text(json.dumps(told))
    assert made().machines() == {"rank": 1, "count": 2, "main_address": "algo-1", "main_port": 20_001}


def test_bytes_and_unknown_places_are_no_secrets(place: Place, made: Made) -> None:
    hooks, name = made(), f"bytes-{mint_id()}"
    place.emulator.client("secretsmanager").create_secret(Name=name, SecretBinary=b"\0")
    with pytest.raises(hooks.Refused, match="not text"):
        hooks.secret(f"secretsmanager:{name}")
    with pytest.raises(hooks.Refused, match="vault is no place"):
        hooks.secret("vault:x")
    with pytest.raises(hooks.Refused, match="400"):
        hooks.secret("ssm:/there/is/none")
