"""bandit finds nothing in what is installed, but for what is argued here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.support.builds import ROOT

SOURCES = ("src", "adapters")
LEFT_OUT = {
    "B101": "an assert tells mypy what is known; what comes from outside is checked by raising",
    "B105": "takes any text beside a name with token, secret or pass_ for a password",
    "B106": "the same, for arguments",
    "B404": "importing subprocess is no use of it",
    "B406": "xml.sax.saxutils.escape writes XML; it reads none",
    "B603": "jobs, Spark, git and servers are programs: started from lists of words, never by a shell",
    "B607": "git, ps and the like are found on the PATH, as a user's shell finds them",
    "B608": "the SQL that is put together consists of our own constants; values are always bound",
}
"""Kinds of findings that are left out, and why."""
ARGUED = {
    ("B104", "src/trackbridge/gateway/server.py"): (1, "compares with the address, to show another one"),
    ("B104", "src/trackbridge/serving/container.py"): (1, "in a container, the platform is outside"),
    ("B108", "adapters/trackbridge_adapters/local/endpoint_folders.py"): (
        1,
        "sockets need a short path; the folder there is of this user alone, and refused otherwise",
    ),
    ("B108", "src/trackbridge/testing/contracts/jobs_data.py"): (
        5,
        "a path in a specification that is refused",
    ),
    ("B108", "src/trackbridge/testing/contracts/jobs_refusals.py"): (3, "the same"),
    ("B113", "adapters/trackbridge_adapters/azureml/deployments_state.py"): (
        2,
        "a dictionary that is called requests, not the package",
    ),
    ("B202", "adapters/trackbridge_adapters/_jobs/bootstrap.py"): (
        1,
        "our own archive of the user's code, with Python's data filter where there is one",
    ),
    ("B310", "adapters/trackbridge_adapters/azureml/jobs_hooks.py"): (
        1,
        "the addresses are the platform's own",
    ),
    ("B310", "adapters/trackbridge_adapters/sagemaker/platform_hooks.py"): (
        2,
        "the addresses are the platform's own endpoints of keys and secrets",
    ),
    ("B311", "src/trackbridge/testing/emulators/fault_proxy.py"): (1, "faults by chance, not secrets"),
    ("B311", "src/trackbridge/testing/faults.py"): (2, "the same"),
    ("B314", "src/trackbridge/testing/emulators/azureml/storage.py"): (
        2,
        "written by Azurite, on this machine",
    ),
    ("B314", "src/trackbridge/testing/emulators/databricks_storage.py"): (1, "written by a test"),
    ("B405", "src/trackbridge/testing/emulators/azureml/storage.py"): (1, "see B314"),
    ("B405", "src/trackbridge/testing/emulators/databricks_storage.py"): (1, "see B314"),
    ("B506", "src/trackbridge/operations/job_sources/documents.py"): (1, "its loader is a SafeLoader"),
    ("B606", "src/trackbridge/operations/preflight/program.py"): (1, "this Python again, without a shell"),
    ("B704", "src/trackbridge/gateway/pages/markdown.py"): (
        1,
        "markdown-it escapes HTML in what it renders; tests of the pages try to inject some",
    ),
}
"""(kind, file): (how many, why it is all right)."""


def findings(*folders: Path | str) -> list[dict[str, str]]:
    command = [sys.executable, "-m", "bandit", "--quiet", "--recursive", "--format", "json"]
    done = subprocess.run(
        [*command, "--skip", ",".join(LEFT_OUT), *map(str, folders)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    told = json.loads(done.stdout)
    assert told["errors"] == [], "every file is read"
    found: list[dict[str, str]] = told["results"]
    return found


def test_bandit_finds_nothing_that_is_not_argued() -> None:
    found = findings(*SOURCES)
    counted = Counter((item["test_id"], item["filename"]) for item in found)
    argued = {place: count for place, (count, _) in ARGUED.items()}
    assert counted == argued, [
        f"{item['filename']}:{item['line_number']} {item['test_id']}" for item in found
    ]


def test_no_comment_silences_it() -> None:
    """What is all right stands here, with its reason."""
    silenced = [
        str(path.relative_to(ROOT))
        for folder in SOURCES
        for path in (ROOT / folder).rglob("*.py")
        if "# nosec" in path.read_text()
    ]
    assert silenced == []


def test_bandit_sees_what_it_is_for(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import subprocess\nsubprocess.run('rm -r ' + name, shell=True)\n")
    assert [item["test_id"] for item in findings(tmp_path)] == ["B602"]
