"""What is wrong in modules of Terraform, as lines: against the providers' schemas, and against themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from tests.terraform.modules import Body, Module, is_block, module_in, plain, text_of
from tests.terraform.schemas import FOLDER, LATER, PACKAGES

META = frozenset({"count", "for_each", "provider", "depends_on"})
META_BLOCKS = frozenset({"lifecycle", "dynamic"})
ROOTS = frozenset({"each", "count", "path", "self", "terraform"})
BUILT_IN = {"terraform_data": {"arguments": {"input": False, "triggers_replace": False}, "blocks": {}}}
PINNED = re.compile(r"~> \d+\.\d+(\.\d+)?|\d+\.\d+\.\d+")

Schema = Mapping[str, Any]


@lru_cache
def schemas() -> dict[str, dict[str, Schema]]:
    """Return the schemas of resources and of data by type, younger types and arguments among them."""
    found: dict[str, dict[str, Any]] = {"resource": dict(BUILT_IN), "data": {}}
    for provider in PACKAGES:
        held = json.loads((FOLDER / f"{provider}.json").read_text(encoding="utf-8"))
        for kind, types in found.items():
            types.update(held[kind])
    for entry in later():
        types = found[entry["kind"]]
        if "schema" in entry:
            types[entry["type"]] = entry["schema"]
        elif entry["type"] in types:
            arguments = types[entry["type"]]["arguments"]
            arguments.setdefault(entry["argument"], False)
            arguments.update(dict.fromkeys(entry.get("instead_of", ()), False))
    return found


def later() -> list[dict[str, Any]]:
    """Return the types and arguments that are younger than the packages."""
    entries: list[dict[str, Any]] = json.loads(LATER.read_text(encoding="utf-8"))
    return entries


def problems(module: Module) -> list[str]:
    """Return what is wrong with a module."""
    checks: tuple[Callable[[Module], Iterator[str]], ...] = (
        _settings,
        _types,
        _tags,
        _references,
        _calls,
        _described,
        _unused,
        _readme,
    )
    return [f"{module.name}: {found}" for check in checks for found in check(module)]


# Schemas.


def _types(module: Module) -> Iterator[str]:
    for kind, found in (("resource", module.resources), ("data", module.data)):
        for (type_, name), body in found.items():
            schema = schemas()[kind].get(type_)
            if schema is None:
                yield f"{kind} {type_} is not in the snapshots; python tests/terraform/schemas.py --write"
            else:
                yield from _body(f"{kind} {type_}.{name}", body, schema, allowed=META)


def _body(where: str, body: Body, schema: Schema, *, allowed: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield what a body has that its schema has not, and the other way round."""
    given = plain(body)
    blocks = _blocks(given)
    for name, value in given.items():
        if name in META_BLOCKS or name in allowed or name in blocks:
            continue
        if name in schema["blocks"]:
            yield f"{where}: {name} is a block, and not an argument"
        elif name not in schema["arguments"]:
            yield f"{where}: there is no argument {name}"
        elif is_block(value):
            yield f"{where}: {name} is an argument, and not a block"
    for name, bodies in blocks.items():
        inner = schema["blocks"].get(name)
        if inner is None:
            what = "an argument, and not a block" if name in schema["arguments"] else "no block of it"
            yield f"{where}: {name} is {what}"
            continue
        if len(bodies) > 1 and not inner["many"]:
            yield f"{where}: {name} is there {len(bodies)} times; it may be there once"
        for each in bodies:
            yield from _body(f"{where}: {name}", each, inner)
    yield from (
        f"{where}: the argument {name} is required"
        for name, is_required in schema["arguments"].items()
        if is_required and name not in given
    )
    yield from (
        f"{where}: the block {name} is required"
        for name, inner in schema["blocks"].items()
        if inner["required"] and name not in blocks and name not in given
    )


def _blocks(given: Mapping[str, Any]) -> dict[str, list[Body]]:
    """Return the nested blocks of a body, those that are made for each item of a list among them."""
    found = {
        name: list(value) for name, value in given.items() if is_block(value) and name not in META_BLOCKS
    }
    for dynamic in given.get("dynamic", ()):
        for name, body in plain(dynamic).items():
            found.setdefault(name, []).extend(body["content"])
    return found


def _tags(module: Module) -> Iterator[str]:
    for (type_, name), body in module.resources.items():
        schema = schemas()["resource"].get(type_)
        if schema is not None and "tags" in schema["arguments"] and "tags" not in plain(body):
            yield f"resource {type_}.{name} takes tags, and has none"


# A module by itself.


def _settings(module: Module) -> Iterator[str]:
    required: dict[str, Body] = {}
    versions = []
    for settings in module.settings:
        versions += [settings["required_version"]] if "required_version" in settings else []
        for block in settings.get("required_providers", ()):
            required.update(plain(block))
    if not versions:
        yield "required_version is missing"
    for name, told in required.items():
        if not PINNED.fullmatch(text_of(told.get("version", ""))):
            yield f"the provider {name} is not pinned, as ~> 1.2 does"
    used = {type_.partition("_")[0] for type_, _ in (*module.resources, *module.data)} - {"terraform"}
    yield from (f"the provider {name} is not in required_providers" for name in sorted(used - set(required)))
    if module.folder.parent.name == "modules":
        if any(where.startswith("provider ") for where, _ in module.others):
            yield "a module must not configure a provider: who calls it does"
        if idle := set(required) - used:
            yield f"required_providers has {', '.join(sorted(idle))}, which nothing uses"


def _references(module: Module) -> Iterator[str]:
    for where, parts in module.references():
        problem = _reference(module, parts)
        if problem and not _is_dynamic(module, parts):
            yield f"{where}: {'.'.join(parts)}: {problem}"


def _reference(module: Module, parts: tuple[str, ...]) -> str:
    root, name = parts[0], parts[1]
    if root in ROOTS:
        return ""
    if root == "var":
        return "" if name in module.variables else "there is no such variable"
    if root == "local":
        return "" if name in module.locals else "there is no such local"
    if root == "module":
        return _output(module, parts)
    if root == "data":
        return _attribute("data", module.data, parts[1:])
    if root in {type_ for type_, _ in module.resources} or root.partition("_")[0] in PACKAGES:
        return _attribute("resource", module.resources, parts)
    return "nothing is called so"


def _attribute(kind: str, held: Mapping[tuple[str, str], Body], parts: tuple[str, ...]) -> str:
    if parts[:2] not in held:
        return f"there is no such {kind}"
    schema = schemas()[kind].get(parts[0])
    if schema is None or len(parts) < 3:
        return ""
    known = {*schema["arguments"], *schema["blocks"], *schema.get("attributes", ())}
    return "" if parts[2] in known else f"{parts[0]} has no attribute {parts[2]}"


def _is_dynamic(module: Module, parts: tuple[str, ...]) -> bool:
    """Tell whether a name is that of a dynamic block, whose items are called as it is."""
    return parts[1] in ("value", "key") and any(
        parts[0] in _labels(body) for body in (*module.resources.values(), *module.data.values())
    )


def _labels(body: Any) -> set[str]:
    if isinstance(body, list):
        return set().union(*(_labels(item) for item in body)) if body else set()
    if not isinstance(body, dict):
        return set()
    own = {name for dynamic in body.get("dynamic", ()) for name in plain(dynamic)}
    return own.union(*(_labels(value) for value in body.values()))


def _called(module: Module, name: str) -> Module | None:
    source = text_of(plain(module.calls[name]).get("source", ""))
    place = (module.folder / source).resolve()
    return module_in(place) if source.startswith(".") and place.is_dir() else None


def _output(module: Module, parts: tuple[str, ...]) -> str:
    if parts[1] not in module.calls:
        return "there is no such module"
    called = _called(module, parts[1])
    if called is None or len(parts) < 3:
        return ""
    return "" if parts[2] in called.outputs else f"the module has no output {parts[2]}"


def _calls(module: Module) -> Iterator[str]:
    for name, body in module.calls.items():
        called = _called(module, name)
        if called is None:
            yield f"module {name}: its source is not a folder here"
            continue
        given = set(plain(body)) - META - {"source", "version", "providers"}
        yield from (
            f"module {name}: there is no variable {one}" for one in sorted(given - set(called.variables))
        )
        needed = {one for one, told in called.variables.items() if "default" not in told}
        yield from (f"module {name}: the variable {one} is required" for one in sorted(needed - given))


def _described(module: Module) -> Iterator[str]:
    for name, body in module.variables.items():
        yield from (
            f"variable {name} has no {what}" for what in ("type", "description") if not body.get(what)
        )
    for name, body in module.outputs.items():
        if not body.get("description"):
            yield f"output {name} has no description"


def _unused(module: Module) -> Iterator[str]:
    used = {parts[:2] for _, parts in module.references()}
    yield from (f"variable {name} is not used" for name in module.variables if ("var", name) not in used)
    yield from (f"local {name} is not used" for name in module.locals if ("local", name) not in used)
    read = {parts[1:3] for _, parts in module.references() if parts[0] == "data"}
    yield from (f"data {'.'.join(key)} is not used" for key in module.data if key not in read)


def _readme(module: Module) -> Iterator[str]:
    path = module.folder / "README.md"
    if not path.is_file():
        yield "there is no README.md"
        return
    named = set(re.findall(r"`([a-z0-9_]+)`", path.read_text(encoding="utf-8")))
    if module.folder.parent.name == "modules":
        yield from (
            f"README.md does not name the variable {name}" for name in sorted(set(module.variables) - named)
        )
        yield from (
            f"README.md does not name the output {name}" for name in sorted(set(module.outputs) - named)
        )


def files_of(module: Module) -> list[Path]:
    """Return a module's files that Terraform reads."""
    return sorted(module.folder.glob("*.tf"))
