"""Every module of Terraform against its providers' schemas and itself, and what a user pastes from it."""

from __future__ import annotations

import json
import re
import runpy
import shlex
from collections.abc import Callable
from pathlib import Path
from string import Template

import pytest
from click.testing import CliRunner

from tests.terraform.checks import later, problems, schemas
from tests.terraform.modules import ROOT, Module, modules, plain, text_of, used_types
from tests.terraform.schemas import FOLDER, PACKAGES, schema_in
from trackbridge.cli.main import bridge
from trackbridge.resolve.config import resolve_setting
from trackbridge.resolve.home import Surroundings
from trackbridge.resolve.remotes import list_remotes

ALL = modules(ROOT)
TEMPLATES = {
    "azureml": {
        "remote_name": "azure",
        "tracking_uri": "azureml://00000000-0000-0000-0000-000000000000/group/space",
        "artifacts": "account",
    },
    "sagemaker": {
        "remote_name": "aws",
        "uri": "sagemaker://eu-west-1",
        "bucket": "data-of-ours",
        "job_role": "arn:aws:iam::123456789012:role/jobs",
        "more": "",
    },
}
"""By module, what its template of ``.bridge/config.toml`` may be filled with."""


@pytest.mark.parametrize("module", ALL, ids=lambda module: module.name)
def test_a_module_is_right(module: Module) -> None:
    assert problems(module) == []


def test_the_modules_and_examples_are_there() -> None:
    named = {module.name for module in ALL}
    assert {"modules/azureml", "modules/sagemaker"} <= named
    assert {"examples/azureml", "examples/sagemaker", "examples/both"} <= named


# Snapshots.


def test_snapshots_are_of_the_pinned_packages_and_of_what_is_used() -> None:
    used = used_types(ALL)
    new = {entry["type"] for entry in later() if "schema" in entry}
    held: dict[str, set[str]] = {"resource": set(), "data": set()}
    for provider, package in PACKAGES.items():
        snapshot = json.loads((FOLDER / f"{provider}.json").read_text(encoding="utf-8"))
        assert (snapshot["package"], snapshot["version"]) == (package.name, package.version)
        assert re.fullmatch(r"[0-9a-f]{64}", snapshot["sha256"])
        for kind, types in held.items():
            types |= set(snapshot[kind])
    for kind, types in used.items():
        assert types - new - {"terraform_data"} == held[kind], "python tests/terraform/schemas.py --write"


def test_what_is_younger_than_the_packages_is_argued_used_and_pinned() -> None:
    for entry in later():
        assert entry["why"]
        users = [module for module in ALL if entry["type"] in used_types([module])[entry["kind"]]]
        assert users, f"nothing uses {entry['type']}"
        provider = entry["type"].partition("_")[0]
        since = tuple(int(part) for part in entry["since"].split("."))
        for module in users:
            (pinned,) = [
                text_of(plain(block)[provider]["version"])
                for settings in module.settings
                for block in settings["required_providers"]
            ]
            assert tuple(int(part) for part in pinned.removeprefix("~> ").split(".")) >= since


DOCS = "Docs at Terraform Registry: {@link https://registry.terraform.io/x/docs/resources/b#"
CLASSES = '''
class Bucket(cdktf.TerraformResource):
    @builtins.property
    def arn(self): ...
    @builtins.property
    def name(self): ...
    @builtins.property
    def name_input(self): ...
class BucketRule:
    def __init__(self, *, days: int, kind: str = None):
        """
        :param days: DOCSdays B#days}.
        :param kind: DOCSkind B#kind}.
        """
class BucketConfig(_cdktf.TerraformMetaArguments):
    def __init__(self, *, count: int = None, name: str, rule: typing.Sequence["BucketRule"] = None):
        """
        :param count:
        :param name: DOCSname B#name}.
        :param rule: rule block. DOCSrule B#rule}.
        """
'''


def test_a_schema_is_read_from_a_generated_class() -> None:
    assert schema_in(CLASSES.replace("DOCS", DOCS)) == {
        "arguments": {"name": True},
        "blocks": {
            "rule": {
                "required": False,
                "many": True,
                "arguments": {"days": True, "kind": False},
                "blocks": {},
            }
        },
        "attributes": ["arn", "id"],
    }


# Planted mistakes.

VERSIONS = """
terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.40"
    }
  }
}
"""
RIGHT = """
variable "name" {
  description = "Name."
  type        = string
}

locals {
  tags = { for key in ["a"] : key => "${var.name}-${key}" }
}

resource "aws_s3_bucket" "this" {
  bucket = var.name
  tags   = local.tags
}

resource "aws_s3_bucket_versioning" "this" {
  bucket = aws_s3_bucket.this.id
  versioning_configuration {
    status = "Enabled"
  }
}

output "arn" {
  description = "ARN."
  value       = aws_s3_bucket.this.arn
}
"""


def _planted(
    folder: Path, content: str, *, versions: str = VERSIONS, readme: str = "`name` `arn`"
) -> list[str]:
    from tests.terraform.modules import module_in

    place = folder / "modules" / "planted"
    place.mkdir(parents=True)
    (place / "README.md").write_text(readme, encoding="utf-8")
    (place / "versions.tf").write_text(versions, encoding="utf-8")
    (place / "main.tf").write_text(content, encoding="utf-8")
    return problems(module_in(place))


def test_a_right_module_has_no_problems(tmp_path: Path) -> None:
    assert _planted(tmp_path, RIGHT) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("bucket = var.name", "bucket = var.nam", "there is no such variable"),
        ("local.tags", "local.tag", "there is no such local"),
        ("  bucket = var.name\n", "  bucket = var.name\n  colour = 1\n", "there is no argument colour"),
        ("  bucket = aws_s3_bucket.this.id\n", "", "the argument bucket is required"),
        ('    status = "Enabled"\n', "", "the argument status is required"),
        ('    status = "Enabled"\n', '    status = "Enabled"\n    on = 1\n', "there is no argument on"),
        ("aws_s3_bucket.this.id", "aws_s3_bucket.that.id", "there is no such resource"),
        ("aws_s3_bucket.this.arn", "aws_s3_bucket.this.arm", "has no attribute arm"),
        ("aws_s3_bucket.this.arn", "data.aws_region.x.name", "there is no such data"),
        ("aws_s3_bucket.this.arn", "each.key == self.x ? nothing.at : 1", "nothing is called so"),
        ('"aws_s3_bucket" "this"', '"aws_s3_bukket" "this"', "is not in the snapshots"),
        ("  tags   = local.tags\n", "", "takes tags, and has none"),
        ("  type        = string\n", "", "variable name has no type"),
        ('  description = "Name."\n', "", "variable name has no description"),
        ('  description = "ARN."\n', "", "output arn has no description"),
        ("${var.name}-", "", ""),
        ("versioning_configuration {", "versioning_configuration = {", "is a block, and not an argument"),
        (
            "output",
            'variable "idle" {\n  type = string\n  description = "x"\n}\noutput',
            "variable idle is not used",
        ),
        ("locals {", "locals {\n  idle = 1", "local idle is not used"),
        ("output", 'module "m" {\n  source = "./none"\n}\noutput', "its source is not a folder here"),
    ],
)
def test_a_planted_mistake_is_seen(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in RIGHT
    found = _planted(tmp_path, RIGHT.replace(old, new, 1))
    assert any(told in line for line in found) if told else found == []


@pytest.mark.parametrize(
    ("versions", "readme", "told"),
    [
        (VERSIONS.replace("~> 6.40", ">= 6"), "`name` `arn`", "is not pinned"),
        (VERSIONS.replace("aws = {", "azurerm = {"), "`name` `arn`", "aws is not in required_providers"),
        (
            VERSIONS.replace('  required_version = ">= 1.9"\n', ""),
            "`name` `arn`",
            "required_version is missing",
        ),
        (VERSIONS + 'provider "aws" {}\n', "`name` `arn`", "must not configure a provider"),
        (VERSIONS, "`arn`", "README.md does not name the variable name"),
        (VERSIONS, "`name`", "README.md does not name the output arn"),
    ],
)
def test_a_planted_mistake_beside_resources_is_seen(
    tmp_path: Path, versions: str, readme: str, told: str
) -> None:
    assert any(told in line for line in _planted(tmp_path, RIGHT, versions=versions, readme=readme))


def test_a_call_of_a_module_is_held_against_its_variables(tmp_path: Path) -> None:
    from tests.terraform.modules import module_in

    _planted(tmp_path, RIGHT)
    caller = tmp_path / "examples"
    caller.mkdir()
    (caller / "README.md").write_text("", encoding="utf-8")
    (caller / "main.tf").write_text(
        VERSIONS + 'module "m" {\n  source = "../modules/planted"\n  nam = 1\n}\n'
        'output "x" {\n  description = "x"\n  value = module.m.none\n}\n',
        encoding="utf-8",
    )
    found = "\n".join(problems(module_in(caller)))
    assert "there is no variable nam" in found
    assert "the variable name is required" in found
    assert "the module has no output none" in found


# What a user pastes.


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_config_that_a_module_prints_is_read_by_bridge(name: str, tmp_path: Path) -> None:
    template = (ROOT / "modules" / name / "config.toml.tftpl").read_text(encoding="utf-8")
    text = Template(template).substitute(TEMPLATES[name])
    (tmp_path / ".bridge").mkdir()
    (tmp_path / ".bridge" / "config.toml").write_text(text, encoding="utf-8")
    around = Surroundings(tmp_path, {"HOME": str(tmp_path / "home")})
    given = TEMPLATES[name]
    (remote,) = list_remotes(around=around)
    assert (remote.name, remote.uri.text) == (given["remote_name"], given.get("uri") or given["tracking_uri"])
    (used,) = resolve_setting("tracking_uri", around=around).value
    assert used.text == given["remote_name"]


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_lines_that_a_module_prints_are_commands_of_bridge(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    values = {**TEMPLATES[name], "mlflow_name": "aws-mlflow", "remote_name": TEMPLATES[name]["remote_name"]}
    lines = _printed(name, lambda inner: str(values.get(inner.rpartition(".")[2], inner.rpartition(".")[2])))
    assert lines
    for line in lines:
        words = shlex.split(line)
        assert words[:3] == ["bridge", "remotes", "add"]
        done = CliRunner().invoke(bridge, words[1:])
        assert done.exit_code == 0, f"{line}: {done.output}"


def _printed(name: str, value: Callable[[str], str]) -> list[str]:
    """Return the lines that begin with ``bridge remotes add`` in a module's code, filled in."""
    files = sorted((ROOT / "modules" / name).rglob("*.tf"))
    found = [
        line
        for path in files
        for line in re.findall(r'"(bridge remotes add \$[^"]*)"', path.read_text(encoding="utf-8"))
    ]
    return [re.sub(r"\$\{([^}]*)\}", lambda match: value(match[1]), line) for line in found]


def test_every_scope_of_the_permissions_has_a_place_in_the_module() -> None:
    for module in ALL:
        path = module.folder / "permissions.json"
        if not path.is_file():
            continue
        code = "\n".join(file.read_text(encoding="utf-8") for file in module.folder.rglob("*.tf"))
        scopes = {
            entry["scope"]
            for entries in json.loads(path.read_text(encoding="utf-8")).values()
            for entry in entries
        }
        assert (
            sorted(scope for scope in scopes if not re.search(rf"^\s*{scope}\s*=", code, re.MULTILINE)) == []
        )


def test_the_schemas_that_are_younger_are_taken_in() -> None:
    for entry in later():
        assert entry["type"] in schemas()[entry["kind"]]


def test_every_exception_of_checkov_is_argued() -> None:
    bare = [
        f"{path.name}: {line.strip()}"
        for path in ROOT.rglob("*.tf")
        for line in path.read_text(encoding="utf-8").splitlines()
        if "checkov:skip" in line and not re.search(r"checkov:skip=CKV2?_[A-Z]+_\d+: ?\S+( \S+){2}", line)
    ]
    assert bare == []


def test_what_runs_terraform_is_not_collected_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(__file__).parent
    running = {
        path.name
        for path in folder.glob("test_*.py")
        if "tests.terraform.test_terraform import" in path.read_text(encoding="utf-8")
        and path != Path(__file__)
    }
    assert len(running) > 1
    monkeypatch.setenv("PATH", "")
    left_out = set(runpy.run_path(str(folder / "conftest.py"))["collect_ignore"])
    assert running | {"test_terraform.py"} <= left_out
