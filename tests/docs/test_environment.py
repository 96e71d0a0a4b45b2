"""docs/reference/environment.md: every variable that the code reads has a row, every row is one it reads."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from trackbridge.cli.reference import settings_table
from trackbridge.resolve.config import SETTINGS

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (ROOT / "src/trackbridge", ROOT / "adapters/trackbridge_adapters")
PAGE = (ROOT / "docs/reference/environment.md").read_text(encoding="utf-8")
NAMES = re.compile(
    r"_?(BRIDGE|TRACKBRIDGE|MLFLOW|AWS|AZURE|AZUREML|SAGEMAKER|DATABRICKS|OTEL|XDG|UV|SPARK|PYSPARK|IDENTITY|MSI"
    r"|APPLICATIONINSIGHTS|REQUESTS|CURL|OMPI_COMM|PMIX?)_[A-Z0-9_]+"
)
"""How texts look that are names of variables, wherever they stand."""
OTHERS = {
    "AWS_PRESIGNED_URL": "Databricks' word for a kind of address",
    "AZURE_ADLS_GEN2_SAS_URI": "the same",
    "AZURE_SAS_URI": "the same",
    "MLFLOW_EXPERIMENT": "mlflow's word for the place of a trace",
    "BRIDGE_CONTRACT_": "what the contract suite of jobs looks for in a log",
    "BRIDGE_SERVING_": "how the variables of a server begin",
    "AWS_ENDPOINT_URL_": "those of single services; each has its row",
    "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow's own, set by its server",
    "_MLFLOW_SERVER_FILE_STORE": "mlflow's own, set by its server",
    "_MLFLOW_SERVER_REGISTRY_STORE": "mlflow's own, set by its server",
    "_MLFLOW_TRACER_PROVIDER_INITIALIZED": "a name within mlflow",
    "MLFLOW_": "how mlflow's variables begin",
    "_MLFLOW_": "how mlflow's variables begin",
    "BRIDGE_": "how ours begin",
    "AZURE_CLIENT_CERTIFICATE_PATH": "azure-identity reads it; 'bridge emulate' tells to unset it",
    "AZURE_CLIENT_ID": "azure-identity reads it; 'bridge emulate' tells to unset it",
    "AZURE_TENANT_ID": "azure-identity reads it; 'bridge emulate' tells to unset it",
    "AZURE_FEDERATED_TOKEN_FILE": "azure-identity reads it; 'bridge emulate' tells to unset it",
}
"""Texts that look like names of variables, and are none that we read."""
PUT_TOGETHER = {
    "DATABRICKS_TOKEN": '"token"',
    "DATABRICKS_CLIENT_ID": '"client_id"',
    "DATABRICKS_CLIENT_SECRET": '"client_secret"',
    "AWS_ENDPOINT_URL_SSM": '"SSM"',
    "AWS_ENDPOINT_URL_SECRETS_MANAGER": '"SECRETS_MANAGER"',
}
"""Names that the code puts together, and the part that stands in it."""


def rows(text: str = PAGE) -> Iterator[tuple[str, str]]:
    """Iterate over the variables of the tables, each with the file that is said to read it."""
    for line in text.splitlines():
        cells = re.split(r" *\| *", line.strip().strip("|").strip())
        if line.startswith("| `") and (where := re.fullmatch(r"`([\w/]+\.py)`", cells[-1])):
            yield from ((name, where[1]) for name in re.findall(r"`(_?[A-Z][A-Z0-9_]*\*?)`", cells[0]))


@cache
def constants() -> Mapping[str, frozenset[str]]:
    """Return the texts in each file of the code that could be names of variables."""
    found = {}
    for folder in FOLDERS:
        for path in folder.rglob("*.py"):
            nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
            texts = [node.value for node in nodes if isinstance(node, ast.Constant)]
            found[path.relative_to(folder).as_posix()] = frozenset(
                text for text in texts if isinstance(text, str) and re.fullmatch(r"_?[A-Z][A-Z0-9_]*", text)
            ) | asked_for(nodes)
    return found


def asked_for(nodes: list[ast.AST]) -> frozenset[str]:
    """Return the names that are asked for right where they stand, such as ``os.environ["PATH"]``."""
    found: set[str] = set()
    for node in nodes:
        named: ast.expr | None = None
        if isinstance(node, ast.Subscript) and last_name(node.value).endswith("environ"):
            named = node.slice
        elif isinstance(node, ast.Call):
            owner = node.func.value if isinstance(node.func, ast.Attribute) else None
            called = last_name(node.func)
            if called == "getenv" or (called == "get" and owner and last_name(owner) == "environ"):
                named = node.args[0]
        if isinstance(named, ast.Constant) and isinstance(named.value, str):
            found.add(f"!{named.value}")
    return frozenset(found)


def last_name(node: ast.expr) -> str:
    """Return the last name of a dotted one."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def read_by_the_code() -> set[str]:
    """Return every variable; of those of emulated clouds' own containers only ours."""
    found: set[str] = set()
    for file, texts in constants().items():
        is_emulated = file.startswith("testing/")
        for text in texts:
            name = text.removeprefix("!")
            if (text.startswith("!") or NAMES.fullmatch(text)) and (
                not is_emulated or name.startswith("BRIDGE_")
            ):
                found.add(f"{name}*" if name.endswith("_") and name not in OTHERS else name)
    return found - set(OTHERS)


def test_every_variable_has_a_row() -> None:
    told = {name for name, _ in rows()} | set(re.findall(r"BRIDGE_T(?:LS|OKENS)\b", PAGE))
    told |= {name for setting in SETTINGS.values() for name in (setting.variable, *setting.ecosystem)}
    assert read_by_the_code() - told == set()


def test_every_row_is_read_where_it_says() -> None:
    wrong = []
    for name, file in rows():
        wanted = PUT_TOGETHER.get(name, f'"{name.removesuffix("*")}')
        paths = [folder / file for folder in FOLDERS if (folder / file).is_file()]
        if not any(wanted in path.read_text(encoding="utf-8") for path in paths):
            wrong.append((name, file))
    assert wrong == []


def test_settings_are_current() -> None:
    told = PAGE.partition("<!-- settings:begin -->\n")[2].partition("<!-- settings:end -->")[0]
    assert told == settings_table(), "python -m trackbridge.cli.reference settings"


def test_texts_that_are_no_variables_are_still_there() -> None:
    there = {text.removeprefix("!") for texts in constants().values() for text in texts}
    assert set(OTHERS) - there == set()


def test_a_variable_without_a_row_would_be_seen() -> None:
    text = 'import os\nos.environ["NEW_ONE"]\nenviron.get("ANOTHER")\nos.getenv("THIRD")\nother.get("NONE")\n'
    assert asked_for(list(ast.walk(ast.parse(text)))) == {"!NEW_ONE", "!ANOTHER", "!THIRD"}
    assert list(rows("| `A_B`, `C_*` | x | | `a/b.py` |\n")) == [("A_B", "a/b.py"), ("C_*", "a/b.py")]
