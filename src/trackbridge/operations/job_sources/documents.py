"""YAML documents, read with the line of what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from trackbridge.errors import ConfigError, MissingExtra, NotFound
from trackbridge.resolve.config import close_match

BYTES_MAX = 1_000_000
MERGE = "tag:yaml.org,2002:merge"
TEXT = "tag:yaml.org,2002:str"


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A mapping that was read from a file, and the lines that its keys stand in, from 1."""

    path: str
    content: dict[str, Any]
    lines: dict[str, int]
    operation: str = "submit"

    def place(self, key: str) -> str:
        """Return where a key stands: ``FILE:LINE``."""
        return f"{self.path}:{self.lines[key]}" if key in self.lines else self.path

    def wrong(self, key: str, message: str, hint: str) -> ConfigError:
        """Return the error that says that something below a key is wrong."""
        return ConfigError(message, operation=self.operation, resource=self.place(key), hint=hint)

    def refuse_unknown(self, known: Iterable[str]) -> None:
        """Refuse keys that mean nothing, with the nearest that does.

        Raises:
            ConfigError: There is one.
        """
        known = tuple(known)
        for key in self.content:
            if key not in known:
                raise self.wrong(
                    key,
                    f"{key[:80]!r} is no field{close_match(key, known)}",
                    f"the fields are {', '.join(sorted(known))}",
                )

    def mapping(self, key: str) -> dict[str, Any]:
        """Return the mapping below a key, empty where there is none.

        Raises:
            ConfigError: It is no mapping.
        """
        value = self.content.get(key)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise self.wrong(key, f"{key} is no mapping", f"write {key}: with NAME: VALUE below it")
        return {str(name): item for name, item in value.items()}

    def text(self, key: str) -> str | None:
        """Return the text below a key, None where there is none.

        Raises:
            ConfigError: It is no text.
        """
        value = self.content.get(key)
        if value is not None and not isinstance(value, str):
            raise self.wrong(key, f"{key} is {value!r}, which is no text", f'write it in quotes: "{value}"')
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return the list of texts below a key, empty where there is none.

        Raises:
            ConfigError: It is no list of texts.
        """
        value = self.content.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(key, f"{key} is no list of texts", f"write {key}: with lines - TEXT below it")
        return tuple(value)


def read_document(path: Path, *, operation: str = "submit") -> Document:
    """Read a YAML file whose content is a mapping; an empty file is an empty one.

    Args:
        path: The file.
        operation: What it is read for, for the errors.

    Raises:
        NotFound: There is no such file.
        ConfigError: It cannot be read, is no YAML, no mapping, or has a key twice.
        MissingExtra: PyYAML is not installed.
    """
    text = _read(path)
    try:
        import yaml
    except ImportError as error:
        raise MissingExtra(
            f"reading {path.name} needs PyYAML, which cannot be imported ({error})",
            operation=operation,
            hint="pip install 'trackbridge[jobs]'",
        ) from error

    class Loader(yaml.SafeLoader):
        """Takes keys as the texts that they are: to YAML, ``on`` is true, and ``1`` a number."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.tag != MERGE:
                    key.tag = TEXT
            return super().construct_mapping(node, deep)

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.load(text, Loader=Loader)  # a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(
            f"this is no valid YAML: {problem}",
            operation=operation,
            resource=f"{path}:{mark.line + 1}" if mark is not None else str(path),
            hint="mind the indentation, and quote texts that hold ': ', '#' or braces",
        ) from error
    if node is None or content is None:
        return Document(path=str(path), content={}, lines={}, operation=operation)
    if not isinstance(content, dict):
        raise ConfigError(
            f"the content is a {type(content).__name__}, and has to be a mapping",
            operation=operation,
            resource=f"{path}:1",
            hint="write lines of the form NAME: VALUE",
        )
    return Document(
        path=str(path),
        content={str(key): value for key, value in content.items()},
        lines=_all_lines(node, path),
        operation=operation,
    )


def _all_lines(node: Any, path: Path) -> dict[str, int]:
    """Return the lines of a file's keys; those of the mappings below them may not stand twice, either."""
    for _, value in node.value:
        if value.id == "mapping":
            _lines(value.value, path)
    return _lines(node.value, path)


def _lines(pairs: Iterable[tuple[Any, Any]], path: Path) -> dict[str, int]:
    """Return the lines of the keys of a mapping node; YAML itself lets the last of two win."""
    found: dict[str, int] = {}
    for key, _ in pairs:
        name, line = str(key.value), key.start_mark.line + 1
        if name in found:
            raise ConfigError(
                f"{name!r} stands there twice, first in line {found[name]}",
                operation="submit",
                resource=f"{path}:{line}",
                hint="remove one of them",
            )
        found[name] = line
    return found


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > BYTES_MAX:
            raise ConfigError(
                f"the file is larger than {BYTES_MAX:,} bytes", operation="submit", resource=str(path)
            )
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFound(
            f"there is no file {path.name!r} in {path.parent}",
            operation="submit",
            hint="name it as it is seen from the folder that names it",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the file cannot be read: {error}", operation="submit", resource=str(path)
        ) from error
