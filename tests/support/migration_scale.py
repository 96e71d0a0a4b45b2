"""A large corpus from one local store to another by ``bridge migrate``, compared with what was written.

As a program it prints how long that took and how much memory it needed::

    python -m tests.support.migration_scale              200 experiments, 10,000 runs
    python -m tests.support.migration_scale 20 500       as many as asked for
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.corpus import Corpus, Size, history_problems, problems, write_corpus
from tests.support.migrations import local_side

EXPERIMENTS, RUNS = 200, 10_000
KIB_PER_MB = 1000 * 1000 / 1024


@dataclass(slots=True, kw_only=True)
class Scaled:
    """What was found; ``memory_mb`` is the most that the command, or a process of it, had at once."""

    runs: int
    written_s: float
    migrated_s: float
    repeated_s: float
    memory_mb: float
    trouble: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.runs:,} runs: written in {self.written_s:.0f} s, migrated and checked in "
            f"{self.migrated_s:.0f} s ({self.runs / self.migrated_s:.0f} runs/s), again in "
            f"{self.repeated_s:.0f} s; {self.memory_mb:.0f} MB; {len(self.trouble)} problems"
        )


def scaled(folder: Path, size: Size) -> Scaled:
    """Write a corpus, migrate it by the command line, and compare.

    Args:
        folder: For both stores.
        size: Of the corpus.
    """
    source = local_side(folder / "a")
    begun = time.monotonic()
    corpus = write_corpus(source.adapter, size)
    written_s = time.monotonic() - begun
    source.close()
    migrated_s, summary = _migrated(folder)
    memory_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / KIB_PER_MB
    repeated_s, _ = _migrated(folder)
    found = Scaled(
        runs=size.runs,
        written_s=written_s,
        migrated_s=migrated_s,
        repeated_s=repeated_s,
        memory_mb=memory_mb,
    )
    found.trouble += _trouble(corpus, folder, summary)
    return found


def _migrated(folder: Path) -> tuple[float, dict[str, object]]:
    command = [sys.executable, "-m", "trackbridge.cli", "migrate", str(folder / "a"), str(folder / "b")]
    begun = time.monotonic()
    done = subprocess.run(
        [*command, "--yes", "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "BRIDGE_HOME": str(folder / "home")},
    )
    taken_s = time.monotonic() - begun
    assert done.returncode in (0, 3), done.stderr[-4000:]
    summary: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return taken_s, summary


def _trouble(corpus: Corpus, folder: Path, summary: dict[str, object]) -> list[str]:
    target, uri = local_side(folder / "b"), local_side(folder / "a").uri
    trouble = [f"{name}: {summary[name]}" for name in ("remaining", "unexplained") if summary.get(name)]
    trouble += problems(corpus, target.adapter, registry_uri=uri, renumbered=True)
    trouble += history_problems(corpus, target.adapter, registry_uri=uri)
    return trouble


def main(experiments: str = str(EXPERIMENTS), runs: str = str(RUNS)) -> int:
    """Run it, write what was found, and return how many problems there are."""
    size = Size(
        experiments=int(experiments),
        runs=int(runs),
        points=10,
        long_points=100_000,
        files=1,
        models=4,
        versions=5,
    )
    with tempfile.TemporaryDirectory(prefix="trackbridge-scale-") as folder:
        found = scaled(Path(folder), size)
    sys.stdout.write("\n    ".join([str(found), *found.trouble[:20]]) + "\n")
    return len(found.trouble)


if __name__ == "__main__":
    sys.exit(min(main(*sys.argv[1:]), 1))
