"""Lines of a shell: their syntax, and every ``bridge``, ``make`` and ``pip`` in them, without running any."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from importlib.metadata import metadata
from pathlib import Path

import click

from trackbridge.cli.main import bridge

ROOT = Path(__file__).resolve().parents[2]
_SEPARATORS = frozenset([";", "&", "&&", "|", "||", "(", ")", ";;", "|&", "{", "}"])
_BEFORE = frozenset({"then", "do", "else", "if", "while", "!", "time", "exec", "env", "nohup", "sudo"})
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_EXTRAS = re.compile(r"\[([\w, -]+)\]$")


def shell_problems(text: str) -> list[str]:
    """Return what bash, click, make and pip would refuse of a text."""
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        return [done.stderr.strip()]
    return [problem for words in commands(text) for problem in command_problems(words)]


def commands(text: str) -> Iterator[list[str]]:
    """Iterate over the simple commands of a text, those of ``sh -c TEXT`` and ``$(TEXT)`` among them."""
    for line in _lines(text):
        words: list[str] = []
        for word in [*_words(line), ";"]:
            if word not in _SEPARATORS:
                words.append(word)
                continue
            words = _without_beginning(words)
            if words:
                yield words
            yield from _within(words)
            words = []


def _lines(text: str) -> Iterator[str]:
    """Iterate over lines; those that go on are joined, also in quotes; documents of ``<<`` are left out."""
    line, end = "", ""
    for part in text.splitlines():
        if end:
            end = "" if part.strip() == end else end
            continue
        line += part
        if line.endswith("\\"):
            line = line[:-1] + " "
            continue
        try:
            list(_words(line))
        except ValueError:  # a quote is open
            line += "\n"
            continue
        here = re.search(r"<<-?\s*['\"]?(\w+)", line)
        end = here[1] if here else ""
        yield line
        line = ""


def _words(line: str) -> list[str]:
    text = re.sub(r"(^|\s)#.*", "", line) if _has_comment(line) else line
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";&|()")
    lexer.whitespace_split = True
    lexer.commenters = ""
    return list(lexer)


def _has_comment(line: str) -> bool:
    """Tell whether a # begins a comment: an even number of each quote stands before it."""
    found = re.search(r"(^|\s)#", line)
    before = line[: found.start()] if found else ""
    return found is not None and before.count("'") % 2 == 0 and before.count('"') % 2 == 0


def _without_beginning(words: list[str]) -> list[str]:
    while words and (_ASSIGNMENT.fullmatch(words[0]) or words[0] in _BEFORE):
        words = words[1:]
    return words


def _within(words: Sequence[str]) -> Iterator[list[str]]:
    for before, word in itertools.pairwise(words):
        if re.fullmatch(r"-[a-z]*c", before) and {"sh", "bash"} & set(words):
            yield from commands(word)
    for word in words:
        for inner in re.findall(r"\$\(([^()]*)\)", word):
            yield from commands(inner)


def command_problems(words: Sequence[str]) -> list[str]:
    """Return what is wrong with one command, where it is one that we know."""
    program = Path(words[0]).name
    if program in ("bridge", "trackbridge"):
        return bridge_problems(_until_redirection(words[1:]))
    if program == "make":
        return make_problems(words[1:])
    if program == "pip" and "install" in words:
        return extra_problems(words)
    return []


def _until_redirection(words: Sequence[str]) -> list[str]:
    kept = []
    for word in words:
        if re.match(r"\d?[<>]", word):
            break
        kept.append(word)
    return kept


def bridge_problems(words: Sequence[str]) -> list[str]:
    """Return what click says of a command line; files that it names need not be there."""
    shown = f"bridge {shlex.join(words)}"
    if {"-h", "--help", "--version"} & set(words):
        words = [word for word in words if word not in ("-h", "--help", "--version")]
        return [] if _is_command(words) else [f"{shown}: there is no such command"]
    command: click.Command = bridge
    context: click.Context | None = None
    name, rest = "bridge", list(words)
    try:
        while True:
            context = command.make_context(name, rest, parent=context)
            if not isinstance(command, click.Group):
                return []
            left = [*context._protected_args, *context.args]
            if not left:
                return [] if command.invoke_without_command else [f"{shown}: it ends before its command"]
            found, child, rest = command.resolve_command(context, left)
            if found is None or child is None:
                return [f"{shown}: there is no such command"]
            name, command = found, child
    except click.exceptions.NoArgsIsHelpError:
        return [f"{shown}: it ends before its command"]
    except click.BadParameter as error:
        is_file = error.param is not None and isinstance(error.param.type, (click.Path, click.File))
        return (
            []
            if is_file and not isinstance(error, click.MissingParameter)
            else [f"{shown}: {error.format_message()}"]
        )
    except click.ClickException as error:
        return [f"{shown}: {error.format_message()}"]


def _is_command(words: Sequence[str]) -> bool:
    """Tell whether the first words name a command, a group or what one of them begins with by itself."""
    command: click.Command = bridge
    for word in words:
        if not isinstance(command, click.Group) or not re.fullmatch(r"[a-z][a-z-]*", word):
            break
        child = command.get_command(click.Context(command), word)
        if child is None:
            return hasattr(command, "parse_args") and type(command).parse_args is not click.Group.parse_args
        command = child
    return True


def named_problems(text: str) -> list[str]:
    """Return the commands of ``bridge`` and make that a page names within its text, and that do not exist."""
    found = []
    for code in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text):
        words = code.split()
        if words[0] == "make":
            found += make_problems([word for word in words[1:] if re.fullmatch(r"[a-z-]+", word)][:1])
        elif words[0] == "bridge" and not _is_command([word for word in words[1:] if word.islower()]):
            found.append(f"{code}: there is no such command")
    return found


def make_problems(words: Sequence[str]) -> list[str]:
    """Return the targets that the Makefile does not have."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = [word for word in words if not word.startswith("-") and "=" not in word]
    return [f"make {word}: there is no such target" for word in named if word not in targets]


def extra_problems(words: Sequence[str]) -> list[str]:
    """Return the extras of ours that do not exist."""
    known = set(metadata("trackbridge").get_all("Provides-Extra") or ())
    found = []
    for word in words:
        extras = _EXTRAS.search(word)
        if extras and ("trackbridge" in word or "/" in word or word.startswith(".")):
            named = {name.strip() for name in extras[1].split(",")}
            found += [f"{word}: there is no extra {name!r}" for name in sorted(named - known)]
    return found
