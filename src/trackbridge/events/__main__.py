"""The dispatcher of one program, ``python -m trackbridge.events``: its events come by standard input."""

from __future__ import annotations

import os
import signal
import socket

from trackbridge.events.dispatcher import Dispatcher
from trackbridge.events.store import EventStore, events_folder
from trackbridge.events.subscribers import read_subscribers
from trackbridge.resolve.config import Settings


def main(arguments: list[str]) -> int:
    """Deliver events until the program ends, and what is left after that."""
    connection = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # what is started from here is not to hold the socket
    settings = Settings()
    subscribers = tuple(item for item in read_subscribers(settings) if item.problem is None)
    dispatcher = Dispatcher(connection, subscribers, EventStore(events_folder(settings.around)))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the program; we outlive it
    signal.signal(signal.SIGTERM, lambda *_: dispatcher.hurry())
    dispatcher.run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main([]))
