"""What holds for every test."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import urllib.request
from collections.abc import Generator, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")
MEMORY_BYTES_MIN = 6 << 30
"""What is to be free there at the beginning."""


def pytest_configure(config: pytest.Config) -> None:
    """Keep programs outside of projects away from the user's own journals, and servers here from a proxy."""
    if "TMPDIR" not in os.environ and _has_memory():
        files = tempfile.TemporaryDirectory(prefix="tb-", dir=MEMORY, ignore_cleanup_errors=True)
        os.chmod(files.name, 0o711)  # as /tmp, open to the other users whom some tests become
        os.environ["TMPDIR"] = tempfile.tempdir = files.name
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)  # there, what a failed test wrote is kept
        config.add_cleanup(files.cleanup)
    for name in ("NO_PROXY", "no_proxy"):
        if urllib.request.getproxies_environment():
            os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1", "localhost")))
    main = sys.modules["__main__"]
    if main.__spec__ is None and not hasattr(main, "__file__"):
        # One of several test processes. pyspark, which mlflow imports where it is installed, takes a program
        # without either for its doctests and ends it.
        main.__spec__ = ModuleSpec("__main__", None)
    state = tempfile.TemporaryDirectory(prefix="trackbridge-tests-", ignore_cleanup_errors=True)
    os.environ["XDG_STATE_HOME"] = state.name
    config.add_cleanup(state.cleanup)


def _has_memory() -> bool:
    """Tell whether files can lie in memory: on a disk, tests of the local store mostly wait (fsync)."""
    if not MEMORY.is_dir() or not os.access(MEMORY, os.W_OK):
        return False
    place = os.statvfs(MEMORY)
    told = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = min(place.f_bavail * place.f_frsize, int(told["MemAvailable"].split()[0]) * 1024)
    return free > MEMORY_BYTES_MIN and not place.f_flag & os.ST_NOEXEC  # tests run programs there


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With CI=true a test that is skipped has failed: what it needs is to be there."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped although CI=true: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Let no test find the client, the URI or the active run of one before it, nor Ctrl-C ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    fluent = sys.modules.get("trackbridge.api.fluent")
    session = sys.modules.get("trackbridge.api.session")
    is_used = fluent is not None and (fluent._client or fluent.Client.default_uri or fluent.active.current())
    if is_used or (session is not None and session.all_sessions()):
        from tests.support.program_state import forget

        forget()


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name long bytes by their length: gzip puts the time into its own, and workers must collect the same."""
    return f"{argname} of {len(val)} bytes" if isinstance(val, bytes) and len(val) > 8 else None
