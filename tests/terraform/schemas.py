"""What providers of Terraform take: schemas of the types that we use, taken from generated packages.

``python tests/terraform/schemas.py --write`` fetches the packages that are pinned below (100 MB; pip), and
writes ``schemas/PROVIDER.json``. The classes in them are made of ``terraform providers schema``: an argument
of a constructor is one of the type's, required where it has no default; the documentation of a nested block
says that it is one. What is younger than the packages is in ``schemas/later.json``, each with its source.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("schemas")
LATER = FOLDER / "later.json"
META = frozenset({"connection", "count", "depends_on", "for_each", "lifecycle", "provider", "provisioners"})
_PARAMETER = re.compile(r"^:param (?P<python>\w+): (?P<text>.*?)(?=^:param |\Z)", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"\{@link \S+#(\w+) ")
_VERSION = re.compile(r"registry\.terraform\.io/providers/(\w+/\w+)/([\d.]+)/docs")

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Package:
    """A generated package: of PyPI, with one module for each type of a provider."""

    name: str
    version: str

    @property
    def module(self) -> str:
        """Its top module."""
        return self.name.replace("-", "_")


PACKAGES: Mapping[str, Package] = {
    "aws": Package("cdktf-cdktf-provider-aws", "21.22.1"),
    "azurerm": Package("cdktf-cdktf-provider-azurerm", "14.23.1"),
    "azuread": Package("cdktf-cdktf-provider-azuread", "14.3.1"),
}


def schema_in(source: str) -> Schema:
    """Return the schema of the type that a module of a package is about."""
    tree = ast.parse(source)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    config = next(name for name in classes if name.endswith("Config") and _is_config(classes[name]))
    found = _arguments(classes, config)
    resource = classes[config.removesuffix("Config")]
    read = {
        item.name
        for item in resource.body
        if isinstance(item, ast.FunctionDef) and not item.name.endswith("_input") and _is_property(item)
    }
    known = {*found["arguments"], *found["blocks"]}
    return {**found, "attributes": sorted(read - known | {"id"})}


def _is_config(node: ast.ClassDef) -> bool:
    return any(
        isinstance(base, ast.Attribute) and base.attr == "TerraformMetaArguments" for base in node.bases
    )


def _is_property(item: ast.FunctionDef) -> bool:
    return any(isinstance(mark, ast.Attribute) and mark.attr == "property" for mark in item.decorator_list)


def _arguments(classes: Mapping[str, ast.ClassDef], name: str) -> Schema:
    """Return the arguments and blocks that the constructor of a class takes."""
    made = next(
        item for item in classes[name].body if isinstance(item, ast.FunctionDef) and item.name == "__init__"
    )
    told = {found["python"]: found["text"] for found in _PARAMETER.finditer(ast.get_docstring(made) or "")}
    arguments: dict[str, bool] = {}
    blocks: Schema = {}
    for argument, default in zip(made.args.kwonlyargs, made.args.kw_defaults, strict=True):
        named = _NAME.search(told.get(argument.arg, ""))
        if argument.arg in META or named is None:
            continue
        terraform, is_required = named[1], default is None
        kind = ast.unparse(argument.annotation) if argument.annotation else ""
        if f"{terraform} block." not in told[argument.arg]:
            arguments[terraform] = is_required
            continue
        inner = next(named for named in re.findall(r"\w+", kind) if named in classes)
        blocks[terraform] = {
            "required": is_required,
            "many": "Sequence" in kind,
            **_arguments(classes, inner),
        }
    return {"arguments": arguments, "blocks": blocks}


def types_of(provider: str, used: Mapping[str, set[str]]) -> dict[str, dict[str, str]]:
    """Return, by ``resource`` and ``data``, the types that are a provider's, with the module each is in."""
    found: dict[str, dict[str, str]] = {}
    for kind in ("resource", "data"):
        own = sorted(name for name in used[kind] if name.partition("_")[0] == provider)
        prefix = "data_" if kind == "data" else ""
        found[kind] = {
            name: f"data_{name}" if prefix else name.partition("_")[2]
            for name in own
            if name not in _new_types()
        }
    return found


def _new_types() -> set[str]:
    """Return the types that the packages do not have at all."""
    later = json.loads(LATER.read_text(encoding="utf-8"))
    return {entry["type"] for entry in later if "schema" in entry}


def snapshot(provider: str, wheel: Path, used: Mapping[str, set[str]]) -> Schema:
    """Return the snapshot of a provider: where it is from, and the schemas of the types that are used."""
    package, documented = PACKAGES[provider], ""
    found: dict[str, Schema] = {"resource": {}, "data": {}}
    with zipfile.ZipFile(wheel) as packed:
        for kind, modules in types_of(provider, used).items():
            for name, module in modules.items():
                source = packed.read(f"{package.module}/{module}/__init__.py").decode()
                documented = documented or " ".join(_VERSION.search(source).groups())  # type: ignore[union-attr]
                found[kind][name] = schema_in(source)
    return {
        "package": package.name,
        "version": package.version,
        "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "provider": documented,
        **found,
    }


def write(used: Mapping[str, set[str]], wheels: Path | None = None) -> None:
    """Fetch the packages, unless a folder has them, and write the snapshots."""
    with tempfile.TemporaryDirectory() as folder:
        place = wheels or Path(folder)
        for provider, package in PACKAGES.items():
            pattern = f"{package.module}-{package.version}-*.whl"
            if not any(place.glob(pattern)):
                pinned = f"{package.name}=={package.version}"
                subprocess.run(
                    [
                        sys.executable,
                        "-m",
                        "pip",
                        "download",
                        "--quiet",
                        "--no-deps",
                        "--dest",
                        str(place),
                        pinned,
                    ],
                    check=True,
                )
            (wheel,) = place.glob(pattern)
            content = json.dumps(snapshot(provider, wheel, used), indent=1, sort_keys=True) + "\n"
            (FOLDER / f"{provider}.json").write_text(content, encoding="utf-8")


def main() -> None:
    """Write the snapshots of what is in ``terraform/``."""
    from tests.terraform.modules import ROOT, modules, used_types

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", required=True)
    parser.add_argument("--wheels", type=Path, help="a folder that has the packages")
    write(used_types(modules(ROOT)), parser.parse_args().wheels)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
