"""An input comes whole, or not at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from trackbridge.errors import Unavailable
from trackbridge.operations import job_inputs
from trackbridge.operations.job_inputs import bring


class CutOff:
    """Files of which fewer bytes come than were listed."""

    address = "s3://bucket/data/"

    def listed(self) -> dict[str, int]:
        return {"a.csv": 10}

    def open(self, path: str) -> Any:
        return io.BytesIO(b"12345")


def test_a_file_that_ends_early_is_not_taken_for_the_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_inputs, "open_files", lambda *_: CutOff())
    with pytest.raises(Unavailable, match="ended after 5 of 10 bytes"):
        bring("s3://bucket/data", tmp_path)
    assert not (tmp_path / "a.csv").exists()
