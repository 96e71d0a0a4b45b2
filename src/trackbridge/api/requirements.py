"""Which packages an object needs, read off its classes and its code, in the versions that are installed."""

from __future__ import annotations

import dis
import functools
import re
import sys
import types
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from typing import Any

OBJECTS_MAX = 2000
"""How many objects of a model are looked at."""

_DATA_PACKAGES = ("numpy", "pandas", "scipy")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]*")
_ATOMS = (str, bytes, int, float, complex, bool, type(None))


def packages_of(model: Any) -> set[str]:
    """Return the top packages of a model's classes and code, and numpy, pandas and scipy where loaded."""
    found = {name for name in _DATA_PACKAGES if name in sys.modules}
    for item in _reachable(model):
        found |= {_top_package(kind) for kind in _classes(item)}
        for code_owner in _functions(item):
            found |= _packages_of_code(code_owner, set())
    return found - set(sys.stdlib_module_names) - {"__main__", "builtins", "trackbridge"}


def installed_versions(packages: Iterable[str], *, known: Sequence[str] = ()) -> list[str]:
    """Return ``known`` and a line ``name==version`` for every package that is not named there.

    Packages that are no installed distribution (one's own modules) are left out. Of a version its local part
    (``2.13.0+cpu``) is left out, too, because no index serves it.
    """
    lines = {_canonical(line): line for line in known}
    for package in sorted(packages):
        if _canonical(package) in lines:
            continue
        for distribution in _distributions().get(package, ()):
            version = metadata.version(distribution).partition("+")[0]
            lines.setdefault(_canonical(distribution), f"{distribution}=={version}")
    return list(lines.values())


def _canonical(line: str) -> str:
    match = _NAME.match(line)
    return re.sub(r"[-_.]+", "-", match.group() if match else line).lower()


@functools.lru_cache(maxsize=1)
def _distributions() -> dict[str, tuple[str, ...]]:
    """Return the distribution of each top package; where several share one (``google``), none."""
    found: dict[str, set[str]] = {}
    for distribution in metadata.distributions():
        for package in _top_packages(distribution):
            found.setdefault(package, set()).add(distribution.metadata["Name"])
    return {package: tuple(names) for package, names in found.items() if len(names) == 1}


def _top_packages(distribution: metadata.Distribution) -> set[str]:
    """Return what can be imported; ``packages_distributions`` of Python 3.10 misses numpy and pandas."""
    declared = distribution.read_text("top_level.txt")
    if declared:
        return set(declared.split())
    return {file.parts[0].removesuffix(".py") for file in distribution.files or () if file.suffix == ".py"}


def _reachable(model: Any) -> Iterator[Any]:
    """Yield a model and the objects that it holds: estimators of a pipeline, layers, what a wrapper wraps."""
    seen: set[int] = set()
    pending: list[Any] = [model]
    while pending and len(seen) < OBJECTS_MAX:
        item = pending.pop()
        if id(item) in seen or isinstance(item, _ATOMS):
            continue
        seen.add(id(item))
        yield item
        pending.extend(_parts(item))


def _parts(item: Any) -> list[Any]:
    if isinstance(item, dict):
        return list(item.values())[:OBJECTS_MAX]
    if isinstance(item, list | tuple | set | frozenset):
        return list(item)[:OBJECTS_MAX]
    if isinstance(item, type | types.ModuleType | types.FunctionType):
        return []
    return list(getattr(item, "__dict__", {}).values())


def _top_package(item: type | types.FunctionType) -> str:
    return str(item.__module__).partition(".")[0]  # which anybody may set to None


def _classes(item: Any) -> Iterable[type]:
    return (item if isinstance(item, type) else type(item)).__mro__


def _functions(item: Any) -> Iterator[types.FunctionType]:
    """Yield a function, or the methods of a class that is no installed package's."""
    if isinstance(item, types.FunctionType):
        yield item
        return
    for kind in _classes(item):
        if _top_package(kind) not in _distributions():
            yield from (member for member in vars(kind).values() if isinstance(member, types.FunctionType))


def _packages_of_code(function: types.FunctionType, seen: set[types.CodeType]) -> set[str]:
    """Return what a function imports or refers to, itself or by functions of one's own modules."""
    found: set[str] = set()
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        if code in seen:
            continue
        seen.add(code)
        codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
        found |= {
            str(step.argval).partition(".")[0]
            for step in dis.get_instructions(code)
            if step.opname == "IMPORT_NAME"
        }
        for name in code.co_names:
            value = function.__globals__.get(name)
            if isinstance(value, types.ModuleType):
                found.add(value.__name__.partition(".")[0])
            elif isinstance(value, types.FunctionType | type):
                found.add(_top_package(value))
                is_own = _top_package(value) not in _distributions()
                if isinstance(value, types.FunctionType) and is_own:
                    found |= _packages_of_code(value, seen)
    return found
