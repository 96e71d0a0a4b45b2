"""Everything that keeps tracking from working, with its fix: what ``bridge doctor`` and the page show."""

from __future__ import annotations

import platform
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from trackbridge.domain.file_systems import NETWORK_FILE_SYSTEMS, file_system_of
from trackbridge.ports.findings import Finding
from trackbridge.resolve.config import Settings
from trackbridge.resolve.destinations import Destination

FREE_BYTES_MIN = 1000**3
LOG_LINES_MAX = 8
LOG_TAIL_BYTES = 8192
CLOCK_AHEAD_MS_MAX = 60_000
MOUNTS = Path("/proc/mounts")
OUTAGE_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC: ")
"""How ``delivery.circuit`` begins what it tells."""
EXTRA_PACKAGES = {
    "system": ("psutil",),
    "frames": ("pandas", "polars"),
    "images": ("PIL", "numpy"),
    "buckets": ("obstore",),
}
"""Extras of the core, and the packages that they bring."""

Check = Callable[[], Iterable[Finding]]


def examine(uri: str | None, *, write: bool) -> Iterator[Finding]:
    """Yield one finding for each thing looked at; a check that fails is itself a finding."""
    from trackbridge.resolve.destinations import journal_folders, resolve_destinations

    yield from _versions()
    settings = Settings()
    yield from _safely("settings", lambda: _settings(settings))
    destinations: list[Destination] = []
    yield from _safely(
        "tracking URI",
        lambda: _resolved(destinations, resolve_destinations(uri, settings=settings)),
    )
    for destination in destinations:
        yield from _safely("backend", lambda: _backend(destination, settings, write=write))  # noqa: B023
    if uri is None:
        yield from _safely("remotes", lambda: _further_remotes(destinations, settings))
    for root in journal_folders(destinations, settings=settings, everywhere=uri is None):
        yield from _safely("journals", lambda: _journals(root, settings))  # noqa: B023
    yield from _clock()
    yield from _safely("adapters", _adapters)
    yield from _safely("events", lambda: _subscribers(settings))
    yield from _extras(settings)


def _safely(subject: str, check: Check) -> Iterator[Finding]:
    from trackbridge.errors import AuthError, BridgeError
    from trackbridge.ports.findings import CREDENTIALS

    try:
        yield from list(check())
    except AuthError as error:
        yield _error(CREDENTIALS, str(error), fix=error.hint or "")
    except (BridgeError, OSError) as error:
        yield _error(subject, str(error), fix=getattr(error, "hint", None) or "")


def _ok(subject: str, message: str, *, fix: str = "") -> Finding:
    from trackbridge.ports.findings import Finding, Severity

    return Finding(severity=Severity.OK, subject=subject, message=message, fix=fix)


def _warning(subject: str, message: str, *, fix: str) -> Finding:
    from trackbridge.ports.findings import Finding, Severity

    return Finding(severity=Severity.WARNING, subject=subject, message=message, fix=fix)


def _error(subject: str, message: str, *, fix: str) -> Finding:
    from trackbridge.ports.findings import Finding, Severity

    return Finding(severity=Severity.ERROR, subject=subject, message=message, fix=fix)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


# What is looked at.


def _further_remotes(destinations: Sequence[Destination], settings: Settings) -> Iterator[Finding]:
    """Say which remotes are not looked at: each may be a cloud that takes its time."""
    from trackbridge.operations.opening import remote_uris

    looked_at = {destination.uri.text for destination in destinations}
    names = sorted(name for name, uri in remote_uris(settings).items() if uri not in looked_at)
    if names:
        yield _ok("remotes", f"not looked at: {', '.join(names)}", fix=f"bridge doctor {','.join(names)}")


def _versions() -> Iterator[Finding]:
    from trackbridge._version import __version__

    python = f"Python {platform.python_version()} ({sys.executable})"
    yield _ok("versions", f"trackbridge {__version__}, {python}, {platform.system()} {platform.release()}")


def _settings(settings: Settings) -> Iterator[Finding]:
    from trackbridge.resolve.home import find_project, project_folder

    problems = [line for line in settings.describe() if line.problem]
    for line in problems:
        yield _error("settings", line.problem, fix="correct it; see: bridge config show")
    for name, meant in settings.unknown_variables():
        yield _warning("settings", f"the variable {name} is no setting", fix=f"did you mean {meant}?")
    if not problems:
        home = find_project(settings.around)
        where = str(home) if home else f"{project_folder(settings.around)} (made at the first run)"
        yield _ok("home", where)


def _resolved(found: list[Destination], resolved: Sequence[Destination]) -> Iterator[Finding]:
    found.extend(resolved)
    yield _ok("tracking URI", ", ".join(destination.uri.text for destination in resolved))


def _backend(destination: Destination, settings: Settings, *, write: bool) -> Iterator[Finding]:
    from trackbridge.delivery.connect import open_uri

    adapter = open_uri(destination.uri, settings=settings)
    try:
        yield from adapter.check(write=write)
    finally:
        adapter.close()


def _journals(root: Path, settings: Settings) -> Iterator[Finding]:
    yield from _disk(root, settings)
    yield from _file_system(root)
    if not root.is_dir():
        yield _ok("journals", f"none in {root}")
        return
    from trackbridge.delivery.status import journal_status

    journals = journal_status(root)
    now_ms = time.time_ns() // 1_000_000
    left_behind = [
        journal for journal in journals if not journal.writer_lives and not journal.is_being_delivered
    ]
    for journal in journals:
        if journal.problem:
            yield _error("journals", f"journal {journal.journal_id[:12]}: {journal.problem}", fix="")
        for lane in journal.lanes:
            if lane.problem:
                yield _warning("delivery", f"{lane.destination}: {lane.problem}", fix="bridge sync run")
        if journal.last_written_ms > now_ms + CLOCK_AHEAD_MS_MAX:
            message = f"journal {journal.journal_id[:12]} was written in the future"
            yield _warning("clock", message, fix="set the clock; see that the file server's clock agrees")
    if left_behind:
        pending = sum(journal.pending for journal in left_behind)
        message = f"{_counted(len(left_behind), 'journal')} left behind, with {_counted(pending, 'record')}"
        yield _warning("journals", message, fix="bridge sync run")
    else:
        yield _ok("journals", f"{len(journals)} in {root}, none left behind")
    yield from _dead_letters(root)
    for journal in journals:
        yield from _log(journal.path / "delivery.log", settings)


def _disk(root: Path, settings: Settings) -> Iterator[Finding]:
    from trackbridge.journal.writer import BYTES_MAX, FREE_SHARE_MAX

    free = shutil.disk_usage(_nearest(root)).free
    bound = settings.value("journal_bytes_max") or min(BYTES_MAX, int(free * FREE_SHARE_MAX))
    message = f"{free / 1e9:.1f} GB free under {root}; a journal may grow to {bound / 1e9:.2f} GB"
    if free < FREE_BYTES_MIN:
        yield _warning(
            "journal disk", message, fix="free some space, or set BRIDGE_HOME to a folder on another disk"
        )
    else:
        yield _ok("journal disk", message)


def _file_system(root: Path) -> Iterator[Finding]:
    if not MOUNTS.exists():
        return
    kind = file_system_of(_nearest(root).resolve(), MOUNTS.read_text("utf-8", "surrogateescape"))
    if kind in NETWORK_FILE_SYSTEMS:
        yield _warning(
            "journal file system",
            f"the journals in {root} lie on {kind}, whose locks may not show whether a writer lives",
            fix="set BRIDGE_HOME to a folder on a local disk",
        )


def _nearest(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def _dead_letters(root: Path) -> Iterator[Finding]:
    from trackbridge.delivery.dead_letters import DeadLetters

    store = DeadLetters(root)
    for destination, count in store.count().items():
        message = f"{_counted(count, 'record')} rejected by {destination}"
        yield _warning("dead letters", message, fix="bridge sync dead-letters, then bridge sync replay --all")
    damages = store.damages()
    if damages:
        lost = sum(damage.records_max for damage in damages)
        message = (
            f"{_counted(len(damages), 'damaged place')} in journals; at most {_counted(lost, 'record')} lost"
        )
        yield _warning("damage", message, fix="look at the disk and at: bridge sync status")


def _log(path: Path, settings: Settings) -> Iterator[Finding]:
    """Show why a delivery child crashed; what it tells of a destination that is away is a finding anyhow."""
    from trackbridge.operations.scrubber import scrubber_of

    if not path.exists() or not path.stat().st_size:
        return
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
        written = file.read().decode("utf-8", "replace").splitlines()
    lines = [line for line in written if not OUTAGE_LINE.match(line)][-LOG_LINES_MAX:]
    if not lines:
        return
    scrub = scrubber_of(settings)
    told = " | ".join(scrub("\n".join(lines)).splitlines())
    message = f"a delivery process reported in {path}: {told}"
    yield _warning("delivery", message, fix=f"bridge sync run shows whether it goes on; then delete {path}")


def _clock() -> Iterator[Finding]:
    import trackbridge

    installed_s = Path(trackbridge.__file__).stat().st_mtime
    now_s = time.time()
    if now_s < installed_s:
        message = "the clock is behind the time at which trackbridge was installed"
        yield _error("clock", message, fix="set the clock: times of runs and points would be wrong")
    else:
        yield _ok("clock", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now_s)))


def _adapters() -> Iterator[Finding]:
    from trackbridge.resolve.entry_points import SCHEME_EXTRAS, entry_point_name, installed_names

    installed = installed_names()
    yield _ok("adapters", ", ".join(sorted(installed)) or "none")
    missing = sorted({entry_point_name(scheme) for scheme in SCHEME_EXTRAS} - installed)
    if missing:
        message = f"of trackbridge's own adapters these are not registered: {', '.join(missing)}"
        yield _warning("adapters", message, fix="pip install --force-reinstall --no-deps trackbridge")


def _subscribers(settings: Settings) -> Iterator[Finding]:
    from trackbridge.events.health import subscriber_findings

    yield from subscriber_findings(settings)


def _extras(settings: Settings) -> Iterator[Finding]:
    from trackbridge.resolve.entry_points import install_command

    for extra, packages in EXTRA_PACKAGES.items():
        missing = [package for package in packages if find_spec(package) is None]
        if missing:
            yield _ok("extras", f"{extra}: without {', '.join(missing)}", fix=install_command(extra))
    if find_spec("psutil") is None and _wants_system_metrics(settings):
        message = "system_metrics is on, and psutil is not installed"
        yield _error("extras", message, fix=install_command("system"))


def _wants_system_metrics(settings: Settings) -> bool:
    from trackbridge.errors import ConfigError

    try:
        return bool(settings.value("system_metrics"))
    except ConfigError:  # a finding of its own
        return False
