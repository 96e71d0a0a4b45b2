"""The child process that delivers one program's journal: ``python -m trackbridge.delivery JOURNAL``."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from trackbridge.delivery.connect import connect
from trackbridge.delivery.service import DeliveryService
from trackbridge.journal.folder import JournalFolder


def main(arguments: list[str]) -> int:
    """Deliver the journal, and those left behind beside it; return once there is nothing left."""
    if len(arguments) != 1:
        print("usage: python -m trackbridge.delivery JOURNAL", file=sys.stderr)  # noqa: T201
        return 2
    folder = JournalFolder(Path(arguments[0]))
    service = DeliveryService(folder.path.parent, own=folder, open_backend=connect)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the program; we outlive it
    signal.signal(signal.SIGTERM, lambda *_: service.hurry())
    service.run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
