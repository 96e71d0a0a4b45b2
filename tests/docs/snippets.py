"""The fenced blocks of our pages: what a comment says of each, and what is seen without running it.

A comment on a line of its own, directly before the fence, invisible in what readers see:

``<!-- runs -->``              run in the page's folder; ``<!-- runs: exits 4 -->``: it ends with that code
``<!-- file: train.py -->``    written to that file in the page's folder
``<!-- prints -->``            what the block before it printed
``<!-- linted: REASON -->``    cannot be run here: its commands, options, names and syntax are looked at
``<!-- shown: REASON -->``     nothing of it can be checked here
``<!-- tested: FILE -->``      run by that test, which names the page

Blocks of toml, json, yaml, hcl and mermaid need no comment: they are parsed. For a whole page, before its
first block: ``<!-- emulators: azureml, sagemaker -->``, and ``<!-- prepared: wine -->`` for a script of
``prepared/`` that runs first.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

import trackbridge
from tests.docs.shell_lines import shell_problems

ROOT = Path(__file__).resolve().parents[2]
GENERATED = frozenset({"docs/cli.md"})
"""Pages that are made from the code: their examples are looked at where they are written."""
KINDS = ("runs", "file", "prints", "linted", "shown", "tested")
PAGE_KINDS = ("emulators", "prepared")
EMULATORS = ("azureml", "sagemaker")
PARSED = frozenset({"toml", "json", "yaml", "yml", "hcl", "mermaid"})
SHELLS = frozenset({"", "bash", "sh", "shell", "console"})
DIAGRAMS = ("flowchart", "sequenceDiagram", "stateDiagram-v2", "graph")
_COMMENT = re.compile(rf"\s*<!-- ({'|'.join(KINDS + PAGE_KINDS)})(?:: (.*?))? -->\s*")
_FENCE = re.compile(r"( *)(`{3,})([\w-]*)(.*)")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: where it begins, its language, its text, and what the comment before it says."""

    page: str
    line: int
    language: str
    text: str
    kind: str = ""
    said: str = ""

    @property
    def place(self) -> str:
        """Page and line, as an editor opens it."""
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> str:
        """What of it one types: all, or the lines behind the prompts of a console."""
        if self.language != "console":
            return self.text
        return "\n".join(line[2:] for line in self.text.splitlines() if line.startswith(("$ ", "> ")))


@dataclass(frozen=True, slots=True)
class Page:
    """The blocks of a page, the emulators that they run beside, and what is prepared in its folder."""

    name: str
    blocks: tuple[Block, ...]
    emulators: tuple[str, ...] = ()
    prepared: tuple[str, ...] = ()


def page_names() -> list[str]:
    """Return every page whose blocks are looked at, as paths of the repository."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    for folder in ("docs", "adapters", "examples", "terraform"):
        found += [path for path in (ROOT / folder).rglob("*.md") if "node_modules" not in path.parts]
    return sorted(name for path in found if (name := path.relative_to(ROOT).as_posix()) not in GENERATED)


def read_page(name: str) -> Page:
    """Return a page of the repository."""
    return parse_page(name, (ROOT / name).read_text(encoding="utf-8"))


def parse_page(name: str, text: str) -> Page:
    """Return a page; a fence without an end takes the rest, as in what readers see."""
    blocks: list[Block] = []
    about: dict[str, tuple[str, ...]] = {}
    kind = said = ""
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if comment := _COMMENT.fullmatch(line):
            kind, said = comment[1], comment[2] or ""
            if kind in PAGE_KINDS:
                about[kind] = tuple(part.strip() for part in said.split(","))
                kind = said = ""
        elif fence := _FENCE.fullmatch(line):
            within = []
            for _, inner in lines:
                if inner.strip() == fence[2]:
                    break
                within.append(inner)
            body = textwrap.dedent("\n".join(within)) + "\n"
            blocks.append(Block(name, number, fence[3], body, kind, said))
            kind = said = ""
        elif line.strip():
            kind = said = ""
    return Page(name, tuple(blocks), about.get("emulators", ()), about.get("prepared", ()))


def problems(block: Block) -> list[str]:
    """Return what is wrong with a block and its comment, without running anything."""
    if not block.kind:
        if block.language not in PARSED:
            return ["it is neither run nor declared: see tests/docs/snippets.py for the comments"]
        return parse_problems(block)
    if block.kind in ("linted", "shown"):
        reason = [] if len(block.said.split()) > 1 else ["say why it is not run"]
        return reason if block.kind == "shown" else [*reason, *lint(block)]
    if block.kind == "tested":
        test = ROOT / block.said
        named = test.is_file() and Path(block.page).name in test.read_text(encoding="utf-8")
        return [] if named else [f"{block.said} is no test that names this page"]
    if block.kind == "runs":
        is_known = block.language in SHELLS | {"python"} and re.fullmatch(r"|exits \d+", block.said)
        return lint(block) if is_known else [f"nothing runs {block.language!r} with {block.said!r}"]
    if block.kind == "file":
        is_inside = block.said and not Path(block.said).is_absolute() and ".." not in Path(block.said).parts
        return parse_problems(block) if is_inside else ["name a file within the page's folder"]
    return []


def lint(block: Block) -> list[str]:
    """Return what is wrong with a block that is seen, not run."""
    if block.language in SHELLS:
        return shell_problems(block.commands)
    if block.language == "python":
        return python_problems(block.text)
    return parse_problems(block) if block.language in PARSED else [f"nothing looks at {block.language!r}"]


def parse_problems(block: Block) -> list[str]:
    """Return why a block is none of its language, or of the language that its file's name says."""
    ending = Path(block.said).suffix.removeprefix(".") if block.kind == "file" else block.language
    language = {"yml": "yaml", "tf": "hcl", "py": "python", "sh": "bash"}.get(ending, ending)
    try:
        if language == "python":
            return python_problems(block.text)
        if language == "bash":
            return shell_problems(block.text)
        _parse(language, block.text)
    except Exception as error:
        return [f"it is no {language}: {error}"]
    return []


def _parse(language: str, text: str) -> None:
    if language == "json":
        json.loads(text)
    elif language == "toml":
        import tomlkit

        tomlkit.parse(text)
    elif language == "yaml":
        import yaml

        list(yaml.safe_load_all(text))
    elif language == "hcl":
        import hcl2

        hcl2.loads(text)
    elif language == "mermaid" and not text.strip().startswith(DIAGRAMS):
        raise ValueError(f"begin with one of {', '.join(DIAGRAMS)}")


def python_problems(text: str) -> list[str]:
    """Return what cannot be compiled, and the names of trackbridge that do not exist."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        return [f"line {error.lineno}: {error.msg}"]
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0].startswith("trackbridge"):
            found += [name for alias in node.names if (name := _missing(node.module or "", alias.name))]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "tb":
            found += [f"tb.{node.attr}"] if node.attr not in trackbridge.__all__ else []
    return [f"there is no {name}" for name in found]


def _missing(module: str, name: str) -> str:
    """Return what cannot be imported, or nothing."""
    try:
        if hasattr(importlib.import_module(module), name):
            return ""
        importlib.import_module(f"{module}.{name}")
    except ImportError:
        return f"{module}.{name}"
    return ""
