"""The job contract: what would be sent is shown, and nothing is sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from trackbridge.domain.jobs import Compute, JobPreview
from trackbridge.errors import Rejected
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.base import each, requires
from trackbridge.testing.contracts.jobs_base import JobTests
from trackbridge.testing.contracts.jobs_program import SECRET

REFUSED: dict[str, dict[str, object]] = {
    "no_command": {"command": ()},
    "no_code_dir": {"code_dir": "/there/is/no/such/folder"},
    "no_instance": {"compute": Compute(instance_count=0)},
    "no_time": {"time_limit_s": 0},
}


class PreviewTests(JobTests):
    """``preview`` and ``submit`` speak of the same."""

    def test_the_request_is_plain_and_names_the_command(self) -> None:
        preview = self.jobs.preview(self.spec(command=("python", "with-a-word")))
        assert preview.request
        decoded = msgspec.json.decode(msgspec.json.encode(preview), type=JobPreview)
        assert decoded == preview, "it is saved as JSON"
        assert "python" in repr(preview.request)
        assert "with-a-word" in repr(preview.request)

    def test_the_same_spec_has_the_same_preview(self) -> None:
        first = self.jobs.preview(self.spec(name="a", variables={"A": "1"}))
        assert self.jobs.preview(self.spec(name="a", variables={"A": "1"})) == first
        assert self.jobs.preview(self.spec(name="a", variables={"A": "2"})) != first

    def test_it_tells_no_secret(self, new_secret: Callable[[str], str]) -> None:
        reference = new_secret(SECRET)
        preview = self.jobs.preview(self.spec(secrets={"MY_TOKEN": reference}))
        assert SECRET not in repr(preview)
        assert reference in repr(preview), "where it comes from is worth knowing"

    def test_what_looks_like_a_secret_is_not_shown(self) -> None:
        preview = self.jobs.preview(self.spec(variables={"MY_TOKEN": "Pa55word", "COLOUR": "blue"}))
        assert "Pa55word" not in repr(preview)
        assert "blue" in repr(preview)

    @each("fields", REFUSED.values())
    def test_what_is_refused_has_none(self, fields: dict[str, object]) -> None:
        with pytest.raises(Rejected):
            self.jobs.preview(msgspec.structs.replace(self.spec(), **fields))

    @requires(Feature.JOBS_LIST)
    def test_nothing_is_submitted(self) -> None:
        self.jobs.preview(self.spec())
        assert list(self.jobs.list_jobs()) == []

    def test_a_job_that_was_previewed_runs(self) -> None:
        spec = self.spec()
        self.jobs.preview(spec)
        assert self.ended(self.submit_spec(spec).job_id).exit_code == 0

    def test_the_code_that_would_be_sent_is_counted(self, tmp_path: Path) -> None:
        code = tmp_path / "code"
        for path, text in {"a.py": "x" * 100, "data/b.csv": "y" * 5000, ".bridgeignore": "data/\n"}.items():
            (code / path).parent.mkdir(parents=True, exist_ok=True)
            (code / path).write_text(text, encoding="utf-8")
        preview = self.jobs.preview(self.spec(code_dir=str(code)))
        if preview.files == 0:  # it runs where the code is
            assert preview.file_bytes == 0
            return
        assert (preview.files, preview.file_bytes) == (2, 106)
        assert preview.ignored == ("data/",)

    def test_a_time_limit_bounds_what_can_be_billed(self) -> None:
        preview = self.jobs.preview(self.spec(time_limit_s=7200))
        if preview.billed_to:
            assert preview.hours_max is not None
            assert 2.0 <= preview.hours_max <= 3.0

    @requires(Feature.JOBS_SPOT)
    def test_spot_capacity_is_shown(self) -> None:
        assert self.jobs.preview(self.spec(compute=Compute(spot=True))).is_spot
        assert not self.jobs.preview(self.spec()).is_spot
