"""The tables themselves: whole, as the files say, and with all that the adapters' code can call."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from trackbridge.testing.emulators.sagemaker.protocol import service_model
from trackbridge.testing.permissions import aws, azure
from trackbridge.testing.permissions.__main__ import FILES, main
from trackbridge.testing.permissions.tables import VERBS, Need, Table, shown

REPOSITORY = Path(__file__).parents[2]
ADAPTERS = REPOSITORY / "adapters" / "trackbridge_adapters"
TABLES = {"aws": aws.TABLE, "azure": azure.TABLE}
CHECKS = frozenset({"fits", "check", "check_limits", "limit_of"})
"""Functions that look an operation's limits up, and call nothing."""


@pytest.mark.parametrize("name", TABLES)
def test_every_call_has_its_needs_and_every_need_a_call(name: str) -> None:
    table = TABLES[name]
    called = frozenset().union(*table.calls.values())
    assert set(table.calls) == set(VERBS)
    assert called - set(table.needs) == set()
    assert set(table.needs) - called == set(table.outside)
    needs = {need for call in called for need in table.needs[call]}
    assert {need.scope for need in needs} == set(table.scopes)
    assert {need.kind for need in needs} <= {"", "action", "data_action"}


def test_the_files_of_the_modules_are_what_the_tables_say() -> None:
    assert main(["--terraform", str(REPOSITORY / "terraform")]) == 0


def test_a_file_that_is_not_is_seen_and_written(tmp_path: Path) -> None:
    assert main(["--terraform", str(tmp_path)]) == 1
    assert main(["--terraform", str(tmp_path), "--write"]) == 0
    assert main(["--terraform", str(tmp_path)]) == 0
    (tmp_path / next(iter(FILES))).write_text("{}", encoding="utf-8")
    assert main(["--terraform", str(tmp_path)]) == 1


def test_a_table_is_written_by_permission_with_its_calls() -> None:
    need = Need("s3:PutObject", "objects")
    calls = {verb: frozenset[str]() for verb in VERBS} | {
        "tracking": frozenset({"s3:PutObject", "s3:UploadPart@x"})
    }
    table = Table(
        {"objects": ""}, {"s3:PutObject": frozenset({need}), "s3:UploadPart@x": frozenset({need})}, calls
    )
    assert table.permissions("tracking") == {need: ["s3:PutObject", "s3:UploadPart"]}
    assert '"registry": []' in table.text()


# What the code can call.


def _trees(folder: str) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ADAPTERS / folder).glob("*.py")):
        yield path.name, ast.parse(path.read_text(encoding="utf-8"))


def _name_of(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _texts(tree: ast.Module) -> set[str]:
    """Return the texts of a module that are not for a look at limits, with the kinds of jobs filled in."""
    limits = {
        id(inner)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and _name_of(call) in CHECKS
        for inner in ast.walk(call)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in limits:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        elif isinstance(node, ast.JoinedStr):
            found |= {"".join(_text(part) or word for part in node.values) for word in JOBS}
    return found


JOBS = ("Training", "Processing")


def _text(part: ast.expr) -> str:
    return str(part.value) if isinstance(part, ast.Constant) else ""


def test_every_operation_in_the_code_of_sagemaker_is_in_the_table() -> None:
    texts = set().union(*(_texts(tree) for _, tree in _trees("sagemaker")))
    known = {
        f"{service}:{name}"
        for service in ("sagemaker", "sagemaker-metrics", "sagemaker-runtime", *OTHER_SERVICES)
        for name in service_model(service).operation_names
    }
    used = {call for call in known if {call.partition(":")[2], _in_words(call.partition(":")[2])} & texts}
    table = {shown(call) for call in aws.NEEDS if not call.startswith("mlflow:")}
    assert sorted(used - table - NOT_CALLED) == []
    by_obstore = {call for call in table if call.startswith("s3:")}
    assert sorted(table - used - by_obstore) == []


def _in_words(operation: str) -> str:
    """Return what boto3 calls a method of an operation."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()


OTHER_SERVICES = (
    "application-autoscaling",
    "cloudwatch",
    "ecr",
    "iam",
    "logs",
    "s3",
    "secretsmanager",
    "service-quotas",
    "ssm",
    "sts",
)
NOT_CALLED = frozenset({"sagemaker:ListJobs"})
"""Operations whose names the code holds for something else: ``list_jobs`` is a capability of ours."""

METHODS = {"get": "GET", "find": "GET", "pages": "GET", "put": "PUT", "post": "POST", "delete": "DELETE"}


def _arm_calls() -> Iterator[tuple[str, str, str]]:
    """Yield file, method and kind of each request to Resource Manager whose kind the code names."""
    from trackbridge_adapters.azureml.arm import API_VERSIONS

    for file, tree in _trees("azureml"):
        constants = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and _name_of(call) in METHODS:
                for argument in call.args[1:2]:
                    kind = constants.get(argument.id) if isinstance(argument, ast.Name) else None
                    kind = argument.value if isinstance(argument, ast.Constant) else kind
                    if isinstance(kind, str) and kind in API_VERSIONS:
                        yield file, METHODS[_name_of(call)], kind


def test_every_request_in_the_code_of_azureml_is_in_the_table() -> None:
    named = list(_arm_calls())
    assert len(named) > 30
    roots = {
        (call.partition(" ")[0], part) for call in azure.NEEDS for part in call.partition(" ")[2].split("/")
    }
    lacking = {
        f"{file}: {method} {kind}"
        for file, method, kind in named
        if kind not in OF_A_REGION and kind != "registries"
        for part in kind.split("/")
        if (method, part) not in roots
    }
    assert sorted(lacking) == []


OF_A_REGION = frozenset({"computes"})
"""Kinds that also have routes of the region: sizes and quotas of machines."""


def test_every_route_of_mlflow_in_the_code_is_in_both_tables() -> None:
    routes = set()
    for _, tree in _trees("_mlflow_rest"):
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and "wire" in ast.unparse(call.func) and call.args:
                method = {"post_encoded": "POST"}.get(_name_of(call), _name_of(call).upper())
                route = _text(call.args[0])
                if method in ("GET", "POST", "PATCH", "DELETE") and "/" in route:
                    routes.add(f"{method} {route}")
    assert len(routes) > 30
    routes -= NEWER
    assert sorted(route for route in routes if f"mlflow:{route}" not in aws.NEEDS) == []
    methods = {f"{method} mlflow/{kind}" for method, _, kind in (route.partition(" ") for route in routes)}
    assert sorted(methods - set(azure.NEEDS) - {"DELETE mlflow/registered-models/delete"}) == [], (
        "models of Azure's are deleted by Resource Manager"
    )


NEWER = frozenset({"POST runs/outputs", "POST traces/search", "GET traces/get", "POST traces/delete-traces"})
"""Of MLflow 3: the emulators of both clouds answer 404, as Azure ML does."""
