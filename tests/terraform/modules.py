"""Modules of Terraform as they are written: blocks, and what their expressions refer to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import hcl2

ROOT = Path(__file__).parents[2] / "terraform"
_TRAVERSAL = re.compile(
    r"(?<![\w.\]\"])([A-Za-z_][\w-]*)((?:\.[A-Za-z_*][\w-]*|\[[^\[\]]*\]|\.\d+)*)(?!\w*\s*\()"
)
_LOOP = re.compile(r"\bfor\s+(\w+)(?:\s*,\s*(\w+))?\s+in\b")

Body = Mapping[str, Any]


@dataclass
class Module:
    """A folder of ``.tf`` files."""

    folder: Path
    variables: dict[str, Body] = field(default_factory=dict)
    outputs: dict[str, Body] = field(default_factory=dict)
    locals: dict[str, Any] = field(default_factory=dict)
    resources: dict[tuple[str, str], Body] = field(default_factory=dict)
    data: dict[tuple[str, str], Body] = field(default_factory=dict)
    calls: dict[str, Body] = field(default_factory=dict)
    settings: list[Body] = field(default_factory=list)
    others: list[tuple[str, Body]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """How problems name it."""
        return self.folder.relative_to(ROOT).as_posix() if self.folder.is_relative_to(ROOT) else "module"

    def references(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield where something is referred to, and the parts of its name."""
        named: list[tuple[str, Any]] = [
            *((f"variable {name}", body.get("validation", [])) for name, body in self.variables.items()),
            *((f"output {name}", body) for name, body in self.outputs.items()),
            *((f"local {name}", value) for name, value in self.locals.items()),
            *((f"resource {'.'.join(key)}", body) for key, body in self.resources.items()),
            *((f"data {'.'.join(key)}", body) for key, body in self.data.items()),
            *((f"module {name}", body) for name, body in self.calls.items()),
            *self.others,
        ]
        for where, value in named:
            for text in _texts(value):
                for parts in traversals(code_of(text)):
                    yield where, parts


def modules(root: Path) -> list[Module]:
    """Return every folder below one that has ``.tf`` files."""
    return [
        module_in(folder) for folder in sorted({path.parent for path in root.rglob("*.tf")} - _hidden(root))
    ]


def _hidden(root: Path) -> set[Path]:
    return {path.parent for path in root.rglob("*.tf") if ".terraform" in path.parts}


@lru_cache
def module_in(folder: Path) -> Module:
    """Return the module of a folder.

    Raises:
        ValueError: A name is there twice.
    """
    found = Module(folder)
    for path in sorted(folder.glob("*.tf")):
        _add(found, hcl2.loads(path.read_text(encoding="utf-8")), path.name)
    return found


def _add(module: Module, content: Body, file: str) -> None:
    for kind, blocks in plain(content).items():
        for block in blocks:
            _add_block(module, kind, block, file)


def _add_block(module: Module, kind: str, block: Body, file: str) -> None:
    named: dict[str, dict[str, Any]] = {
        "variable": module.variables,
        "output": module.outputs,
        "module": module.calls,
        "locals": module.locals,
    }
    typed = {"resource": module.resources, "data": module.data}
    if kind in named:
        for name, body in plain(block).items():
            _put(named[kind], name, body, f"{file}: {kind}")
    elif kind in typed:
        for type_, inner in plain(block).items():
            for name, body in plain(inner).items():
                _put(typed[kind], (type_, name), body, f"{file}: {kind}")
    elif kind == "terraform":
        module.settings.append(block)
    else:
        module.others.append((f"{kind} in {file}", block))


def _put(place: dict[Any, Any], name: Any, body: Any, where: str) -> None:
    if name in place:
        raise ValueError(f"{where} {name} is there twice")
    place[name] = body


def plain(body: Body) -> dict[str, Any]:
    """Return a body without the parser's own marks, and names without quotes."""
    return {key.strip('"'): value for key, value in body.items() if not key.startswith("__")}


def text_of(value: Any) -> str:
    """Return a literal text without its quotes."""
    return str(value).removeprefix('"').removesuffix('"')


def is_block(value: Any) -> bool:
    """Tell whether a member of a body is of nested blocks, and no argument."""
    return (
        isinstance(value, list) and bool(value) and isinstance(value[0], dict) and "__is_block__" in value[0]
    )


def used_types(found: Iterable[Module]) -> dict[str, set[str]]:
    """Return the types of resources and data that modules have."""
    listed = list(found)
    return {
        "resource": {type_ for module in listed for type_, _ in module.resources},
        "data": {type_ for module in listed for type_, _ in module.data},
    }


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if key not in ("__comments__", "ignore_changes"):  # its names are those of its own arguments
                yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def code_of(text: str) -> str:
    """Return the code of a value as the parser gives it: its texts empty but for what they interpolate."""
    if text.startswith('"<<'):
        return _scanned(text.strip('"'), at=0, is_text=True, ends=False)[0]
    if text.startswith("${") and text.endswith("}"):
        text = text[2:-1]
    return _scanned(text, at=0, is_text=False, ends=False)[0]


def _scanned(text: str, *, at: int, is_text: bool, ends: bool) -> tuple[str, int]:
    """Return the code from a place on, and where the text or the interpolation that began there ends."""
    found, depth = "", 0
    while at < len(text):
        here = text[at]
        if is_text:
            if here == "\\":
                at += 2
                continue
            if here == '"' and ends:
                return found, at + 1
            if text[at : at + 3] in ("$${", "%%{"):
                at += 3
                continue
            if text[at : at + 2] in ("${", "%{"):
                inner, at = _scanned(text, at=at + 2, is_text=False, ends=True)
                found += f" {inner} "
                continue
        elif here == '"':
            inner, at = _scanned(text, at=at + 1, is_text=True, ends=True)
            found += f'"" {inner} ' if inner.strip() else '""'
            continue
        elif here == "}" and not depth and ends:
            return found, at + 1
        else:
            depth += {"{": 1, "}": -1}.get(here, 0)
            found += here
        at += 1
    return found, at


def traversals(code: str, outer: frozenset[str] = frozenset()) -> Iterator[tuple[str, ...]]:
    """Yield the names with dots in code, without indexes and splats; not those that loops bind."""
    bound = outer | {name for pair in _LOOP.findall(code) for name in pair if name}
    for root, rest in _TRAVERSAL.findall(code):
        parts = tuple(re.findall(r"\.([A-Za-z_][\w-]*)", re.sub(r"\[[^\[\]]*\]", "", rest)))
        if parts and root not in bound:
            yield (root, *parts)
        for inner in re.findall(r"\[([^\[\]]*)\]", rest):
            yield from traversals(inner, bound)
