"""A bug report in one zip file: what ``bridge doctor --bundle`` writes.

It holds what is needed to see why tracking does not work, and nothing that was tracked: no param, metric,
tag, artifact or model. Every text goes through a ``Scrubber``. Nothing is asked of the network here.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackbridge.errors import BridgeError, ConfigError, JournalError
from trackbridge.operations.scrubber import scrubber_of

if TYPE_CHECKING:
    from trackbridge.delivery.dead_letters import DeadLetter
    from trackbridge.ports.findings import Finding
    from trackbridge.resolve.config import Settings

JOURNALS_MAX = 1000
LETTERS_MAX = 1000
LOGS_MAX = 20
LOG_TAIL_BYTES = 65_536
LETTER_VALUE_CHARS_MIN = 3
README_NAME = "README.txt"
SAFE_VARIABLES = frozenset(
    {"BRIDGE_DEBUG", "BRIDGE_DELIVERY", "BRIDGE_TRACKING", "CI", "COLUMNS", "LANG", "LC_ALL", "LC_CTYPE"}
    | {"LOCAL_RANK", "NO_COLOR", "OMP_NUM_THREADS", "PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED"}
    | {"PYTHONIOENCODING", "PYTHONUNBUFFERED", "PYTHONUTF8", "RANK", "TERM", "TZ", "WORLD_SIZE"}
)
"""Variables whose values are told; of all others, the names alone."""
_PACKAGE = re.compile(r"[A-Za-z0-9._-]+")
_QUOTED = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"|`[^`\n]*`|‘[^’\n]*’|“[^”\n]*”")


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a bundle: its name, what it is, and its text, without secrets."""

    name: str
    about: str
    text: str


def bundle_members(uri: str | None, findings: Sequence[Finding]) -> list[Member]:
    """Return the files of a bundle, the list of them first.

    Args:
        uri: As for ``doctor.examine``; it says whose journals are looked at.
        findings: What ``doctor.examine`` found.
    """
    from trackbridge.resolve.config import Settings

    settings = Settings()
    scrub = scrubber_of(settings)
    roots = _journal_roots(uri, settings)
    made = [
        ("versions.json", "trackbridge, Python, and the packages that it can use", _versions),
        ("platform.json", "the system, its processors and file systems", lambda: _platform(roots)),
        ("findings.json", "what bridge doctor found", lambda: [_finding(item) for item in findings]),
        ("settings.json", "settings with their origins, remotes, webhooks", lambda: _settings(settings)),
        (
            "environment.json",
            "names of variables; values of a few harmless ones",
            lambda: _variables(settings.around.environ),
        ),
        ("journals.json", "how each journal and each delivery stands", lambda: _journals(roots)),
        ("dead-letters.json", "why records were rejected, without their values", lambda: _letters(roots)),
    ]
    members = [_member(name, about, _json(scrub.content(_safely(make)))) for name, about, make in made]
    members += [
        _member(name, "the end of a log of delivery", scrub(text)) for name, text in _log_tails(roots)
    ]
    return [_readme(members), *members]


def write_bundle(path: Path, members: Sequence[Member]) -> int:
    """Write a bundle that only this user can read; return its size in bytes.

    Raises:
        ConfigError: There is a file already, or it cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise ConfigError(f"{path} is there already", hint="name another file, or remove it") from error
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with (
            os.fdopen(descriptor, "wb") as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            for member in members:
                archive.writestr(zipfile.ZipInfo(member.name), member.text, zipfile.ZIP_DEFLATED)
        return path.stat().st_size
    except OSError as error:
        path.unlink(missing_ok=True)
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{path} cannot be written: {error.strerror}", hint="name a file elsewhere")


def _member(name: str, about: str, text: str) -> Member:
    """Return a file that can be written: names of variables and folders need not be text."""
    return Member(name, about, text.encode("utf-8", "backslashreplace").decode())


def _readme(members: Sequence[Member]) -> Member:
    lines = [
        "A report of `bridge doctor --bundle`. Secrets were taken out, as far as they can be recognised,",
        "and nothing that was tracked is in it. Look through it before you send it.",
        "",
        *(f"{member.name:<24}{member.about}" for member in members),
    ]
    return Member(README_NAME, "this list", "\n".join(lines) + "\n")


def _json(content: object) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _safely(make: Callable[[], object]) -> object:
    """Return what is made, or why it cannot be: a report of something broken must not break."""
    try:
        return make()
    except Exception as error:
        return {"problem": f"{type(error).__name__}: {error}"}


# What is in it.


def _versions() -> dict[str, object]:
    from importlib.metadata import entry_points, requires

    from trackbridge._version import __version__

    required = filter(None, map(_PACKAGE.match, requires("trackbridge") or ()))
    named = {match[0].lower() for match in required}
    providers = {
        entry.dist.name
        for group in ("trackbridge.adapters", "trackbridge.subscribers")
        for entry in entry_points(group=group)
        if entry.dist is not None
    }
    packages = {name: _version_of(name) for name in sorted(named | providers)}
    return {
        "trackbridge": __version__,
        "python": sys.version,
        "implementation": platform.python_implementation(),
        "packages": {name: version for name, version in packages.items() if version},
        "not_installed": [name for name, version in packages.items() if not version],
    }


def _version_of(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _platform(roots: Sequence[Path]) -> dict[str, object]:
    import locale

    return {
        "system": platform.platform(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "libc": " ".join(platform.libc_ver()),
        "encoding": locale.getpreferredencoding(False),
        "is_terminal": sys.stderr.isatty(),
        "journals": [_place(root) for root in roots],
    }


def _place(root: Path) -> dict[str, object]:
    import shutil

    from trackbridge.domain.file_systems import file_system_of

    nearest = next(place for place in (root, *root.parents) if place.exists())
    mounts = Path("/proc/mounts")
    text = mounts.read_text("utf-8", "surrogateescape") if mounts.exists() else ""
    return {
        "folder": str(root),
        "exists": root.is_dir(),
        "file_system": file_system_of(nearest.resolve(), text),
        "free_bytes": shutil.disk_usage(nearest).free,
    }


def _finding(finding: Finding) -> dict[str, str]:
    fields = {name: getattr(finding, name) for name in ("subject", "message", "fix")}
    return {"severity": finding.severity.value, **fields}


def _settings(settings: Settings) -> dict[str, object]:
    lines = settings.describe()
    return {
        "settings": [
            {"name": line.name, "value": line.value, "origin": line.origin, "problem": line.problem}
            for line in lines
        ],
        "unknown_variables": [name for name, _ in settings.unknown_variables()],
        "remotes": _safely(lambda: _remotes(settings)),
        "webhooks": _safely(lambda: _webhooks(settings)),
    }


def _remotes(settings: Settings) -> list[dict[str, object]]:
    from trackbridge.resolve.remotes import remotes_of

    return [
        {"name": name, "uri": remote.uri.text, "options": dict(remote.options), "place": remote.place}
        for name, remote in sorted(remotes_of(settings).items())
    ]


def _webhooks(settings: Settings) -> list[dict[str, object]]:
    """Without their addresses: the path of one is often a secret."""
    from trackbridge.events.subscribers import read_subscribers

    return [
        {
            "name": item.identifier,
            "events": list(item.events),
            "target": item.target,
            "place": item.place,
            "problem": str(item.problem or ""),
        }
        for item in read_subscribers(settings)
    ]


def _variables(environ: Mapping[str, str]) -> dict[str, str | None]:
    return {name: environ[name] if name in SAFE_VARIABLES else None for name in sorted(environ)}


def _journals(roots: Sequence[Path]) -> list[dict[str, object]]:
    import msgspec

    from trackbridge.delivery.dead_letters import DeadLetters
    from trackbridge.delivery.status import journal_status

    return [
        {
            "folder": str(root),
            "journals": [_journal(status) for status in journal_status(root)[-JOURNALS_MAX:]],
            "dead_letters": DeadLetters(root).count(),
            "damages": msgspec.to_builtins(DeadLetters(root).damages()),
        }
        for root in roots
        if root.is_dir()
    ]


def _journal(status: Any) -> dict[str, object]:
    import msgspec

    fields: dict[str, object] = msgspec.to_builtins(status, enc_hook=str)
    return fields


def _letters(roots: Sequence[Path]) -> list[dict[str, object]]:
    from trackbridge.delivery.letter_names import LetterNames

    return [
        {
            "number": name,
            "kind": letter.kind,
            "run_id": letter.run_id,
            "destination": letter.destination,
            "time": letter.time,
            "reason": reason_without_values(letter),
        }
        for name, letter in LetterNames(roots).read(max_results=LETTERS_MAX)
    ]


def reason_without_values(letter: DeadLetter) -> str:
    """Return why a record was rejected, without what it held and without whatever the reason quotes."""
    import msgspec

    try:
        content = msgspec.to_builtins(letter.record)
    except JournalError:
        return "(left out: the record cannot be read, so that its values cannot be taken out)"
    reason = letter.reason
    for text in sorted(set(_texts(content)), key=len, reverse=True):
        if len(text) >= LETTER_VALUE_CHARS_MIN and text != letter.run_id:
            reason = reason.replace(text, "…")
    return _QUOTED.sub("'…'", reason)


def _texts(content: object) -> Iterator[str]:
    """Yield every text in plain values, those that are numbers elsewhere too."""
    if isinstance(content, Mapping):
        content = [part for pair in content.items() for part in pair]
    if isinstance(content, (list, tuple)):
        for part in content:
            yield from _texts(part)
    elif isinstance(content, (str, float)):
        yield str(content)


def _log_tails(roots: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Yield name and end of each journal's log of delivery, and of the dispatcher of events."""
    paths = [path for root in roots for path in (*root.glob("*/delivery.log"), *_dispatcher_logs(root))]
    newest = sorted(dict.fromkeys(paths), key=_written_ns, reverse=True)
    for number, path in enumerate(newest[:LOGS_MAX]):
        if tail := _log_tail(path):
            yield f"logs/{number:02d}-{path.parent.name[:12]}-{path.name}", tail


def _written_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # it went meanwhile, with its journal
        return 0


def _log_tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            begin = max(0, os.fstat(file.fileno()).st_size - LOG_TAIL_BYTES)
            file.seek(begin)
            tail = file.read(LOG_TAIL_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"this log cannot be read: {error.strerror}\n"
    # What marks a secret may have been cut off with the beginning of the line.
    return tail.partition("\n")[2] if begin else tail


def _dispatcher_logs(root: Path) -> Iterator[Path]:
    from trackbridge.events.bus import LOG_NAME

    return root.parent.glob(f"*/{LOG_NAME}")


# Where it comes from.


def _journal_roots(uri: str | None, settings: Settings) -> list[Path]:
    from trackbridge.resolve.destinations import journal_folders, resolve_destinations

    try:
        destinations = resolve_destinations(uri, settings=settings)
        return journal_folders(destinations, settings=settings, everywhere=uri is None)
    except BridgeError:  # a finding of its own; the project's journals are known all the same
        return journal_folders((), settings=settings, everywhere=uri is None)
