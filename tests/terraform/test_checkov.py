"""checkov over the modules, in an environment of its own because of what it pins; collected where that is."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.terraform.modules import ROOT

PROGRAM = ROOT.parent / ".venv-terraform" / "bin" / "checkov"
RUN_S = 600.0
BUCKET = """
resource "aws_security_group" "open" {
  description = "all"
  ingress {
    description = "all"
    from_port   = 22
    to_port     = 22
    protocol    = "tcp"
    cidr_blocks = ["0.0.0.0/0"]
  }
}
"""


def _checked(folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [PROGRAM, "--directory", folder, "--framework", "terraform", "--output", "json", "--skip-download"],
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    told = json.loads(done.stdout)
    found: dict[str, Any] = told[0] if isinstance(told, list) else told
    return found


def test_the_modules_pass_but_for_what_is_argued() -> None:
    told = _checked(ROOT)
    results = told["results"]
    failed = [f"{row['check_id']} {row['resource']} {row['file_path']}" for row in results["failed_checks"]]
    assert failed == []
    assert results["parsing_errors"] == []
    assert told["summary"]["passed"] > 50
    reasons = [row["check_result"].get("suppress_comment", "") for row in results["skipped_checks"]]
    assert [reason for reason in reasons if len(reason.split()) < 3] == []


def test_what_is_wrong_is_seen(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text(BUCKET, encoding="utf-8")
    failed = {row["check_id"] for row in _checked(tmp_path)["results"]["failed_checks"]}
    assert "CKV_AWS_24" in failed
