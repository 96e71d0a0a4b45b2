"""What is seen of a model before it is deployed: its description, and a trial in a clean environment."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.support.preflights import lend_small, with_example
from trackbridge.domain.deployments import DeploymentSpec
from trackbridge.errors import Rejected
from trackbridge.operations.deployment_checks import model_findings, tried_out
from trackbridge.operations.model_source import ModelSource
from trackbridge.operations.preflight.trials import Trials
from trackbridge.ports.findings import Severity
from trackbridge.testing.contracts.deployment_models import answering, failing, spec_for

SIGNATURE = """\
signature:
  inputs: '[{"name": "a", "type": "double"}]'
"""


def source(folder: Path) -> ModelSource:
    return ModelSource(artifacts=None, cache=folder / "cache")


def spec_of(model: Path) -> DeploymentSpec:
    return msgspec.structs.replace(spec_for(model, "wine", "v1"), model_digest="")


def test_a_model_that_says_all_has_no_findings(tmp_path: Path) -> None:
    model = with_example(answering(tmp_path, "good", 1.0))
    with (model / "MLmodel").open("a", encoding="utf-8") as file:
        file.write(SIGNATURE)
    assert model_findings(spec_of(model), source(tmp_path)) == ()


def test_what_a_model_lacks_is_a_warning_with_its_fix(tmp_path: Path) -> None:
    found = model_findings(spec_of(answering(tmp_path, "bare", 1.0)), source(tmp_path))
    assert [finding.severity for finding in found] == [Severity.WARNING, Severity.WARNING]
    assert [finding.message.partition(":")[0] for finding in found] == [
        "it has no signature",
        "it has no input example",
    ]
    assert all("log it with" in finding.fix for finding in found)


def test_plain_files_are_a_warning(tmp_path: Path) -> None:
    model = tmp_path / "plain"
    model.mkdir()
    (model / "weights.bin").write_bytes(b"1")
    (finding,) = model_findings(spec_of(model), source(tmp_path))
    assert "it has no MLmodel" in finding.message


def test_a_model_that_is_gone_is_an_error(tmp_path: Path) -> None:
    spec = msgspec.structs.replace(
        spec_of(answering(tmp_path, "one", 1.0)), model_source="s3://nobody/has/it"
    )
    (finding,) = model_findings(spec, source(tmp_path))
    assert finding.severity is Severity.ERROR
    assert finding.fix


def test_a_model_is_loaded_and_asked_before_anything_is_changed(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    lend_small(tmp_path_factory.mktemp("index") / "index", monkeypatch)
    with Trials(tmp_path / "home") as trials:
        good = spec_of(with_example(answering(tmp_path, "good", 1.0)))
        assert "passed: its input example was scored: 2 rows" in tried_out(good, source(tmp_path), trials)
        bad = spec_of(with_example(failing(tmp_path)))
        with pytest.raises(Rejected, match="it fails on its own input example") as caught:
            tried_out(bad, source(tmp_path), trials)
    assert "--no-preflight" in str(caught.value.hint)
