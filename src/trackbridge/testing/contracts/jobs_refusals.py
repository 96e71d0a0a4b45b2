"""The job contract: what is not taken, and that ``check`` says so before."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from trackbridge.domain.job_checks import WORD_BYTES_MAX
from trackbridge.domain.jobs import Compute, Environment, JobStatus, Launcher
from trackbridge.errors import Rejected, Unsupported
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.base import each, requires
from trackbridge.testing.contracts.jobs_base import JobTests, errors_of

WRONG: dict[str, dict[str, object]] = {
    "no_command": {"command": ()},
    "empty_program": {"command": ("",)},
    "nul_in_command": {"command": ("a\0b",)},
    "argument_too_long": {"command": ("a", "x" * (WORD_BYTES_MAX + 1))},
    "variable_too_long": {"variables": {"A": "x" * WORD_BYTES_MAX}},
    "surrogate_in_command": {"command": ("a", "\ud800")},
    "no_code_dir": {"code_dir": "/there/is/no/such/folder"},
    "no_instance": {"compute": Compute(instance_count=0)},
    "no_process": {"processes_per_node": 0},
    "no_attempt": {"attempts_max": 0},
    "no_time": {"time_limit_s": 0},
    "negative_time": {"time_limit_s": -1},
    "variable_without_name": {"variables": {"": "x"}},
    "variable_with_equals": {"variables": {"A=B": "x"}},
    "variable_with_nul": {"variables": {"A": "x\0y"}},
    "secret_without_reference": {"secrets": {"S": ""}},
    "secret_twice": {"secrets": {"S": "env:S"}, "variables": {"S": "x"}},
    "several_environments": {"environment": Environment(conda_file="a", requirements=("b",))},
    "no_version": {"environment": Environment(python="three", requirements=("b",))},
}
"""Specs that no backend can run."""

DOUBTFUL: dict[str, dict[str, object]] = {
    "image": {"environment": Environment(image="python:3.11")},
    "conda": {"environment": Environment(conda_file="conda.yaml")},
    "option_as_requirement": {"environment": Environment(requirements=("--index-url=https://a.example",))},
    "secret_in_requirement": {
        "environment": Environment(requirements=("a @ https://me:Pa55word@a.example/a.whl",))
    },
    "cluster": {"compute": Compute(cluster="no-such-cluster")},
    "instance_type": {"compute": Compute(instance_type="no.such.type")},
    "reference_as_value": {"secrets": {"S": "Pa55word"}},
    "long_name": {"name": "n" * 5000},
    "empty_name": {"name": ""},
}
"""Specs that a backend may take or not."""


class RefusalTests(JobTests):
    """``check`` and ``submit`` agree."""

    def test_a_good_spec_has_no_error(self) -> None:
        assert errors_of(self.jobs.check(self.spec())) == []

    @each("fields", WRONG.values())
    def test_a_wrong_spec_is_found_and_refused(self, fields: dict[str, object]) -> None:
        spec = msgspec.structs.replace(self.spec(), **fields)
        self.is_refused(spec)

    @each("fields", DOUBTFUL.values())
    def test_what_is_found_wrong_is_refused_and_nothing_else(self, fields: dict[str, object]) -> None:
        spec = msgspec.structs.replace(self.spec(), **fields)
        if errors_of(self.jobs.check(spec)):
            self.is_refused(spec)
        else:
            assert not self.submit_spec(spec).reason

    @requires(Feature.JOBS_LIST)
    def test_checking_and_refusing_leave_nothing(self, tmp_path: Path) -> None:
        self.jobs.check(self.spec(code_dir=str(tmp_path)))
        with pytest.raises(Rejected):
            self.submit(command=())
        assert list(self.jobs.list_jobs()) == []

    @requires(Feature.JOBS_SPOT)
    def test_spot_capacity(self) -> None:
        assert self.run(compute=Compute(spot=True)).status is JobStatus.SUCCEEDED

    @pytest.mark.parametrize(
        ("feature", "fields"),
        [
            (Feature.JOBS_SPOT, {"compute": Compute(spot=True)}),
            (Feature.JOBS_DISTRIBUTED, {"processes_per_node": 2}),
            (Feature.JOBS_DISTRIBUTED, {"compute": Compute(instance_count=2)}),
            (Feature.JOBS_DISTRIBUTED, {"launcher": Launcher.TORCHRUN}),
            (Feature.JOBS_DATA, {"inputs": {"data": "/tmp"}}),
            (Feature.JOBS_DATA, {"outputs": {"model": "/tmp"}}),
            (Feature.JOBS_DATA, {"checkpoints": "/tmp"}),
        ],
        ids=["spot", "processes", "machines", "launcher", "inputs", "outputs", "checkpoints"],
    )
    def test_what_is_not_declared_is_found_before(self, feature: Feature, fields: dict[str, object]) -> None:
        if self.capabilities.supports(feature):
            return  # there are tests of it
        spec = msgspec.structs.replace(self.spec(), **fields)
        assert errors_of(self.jobs.check(spec)), "check says nothing"
        for call in (self.submit_spec, self.jobs.preview):
            with pytest.raises(Unsupported):
                call(spec)
