"""What trackbridge keeps for the whole program, which is one for all tests of a worker."""

from __future__ import annotations

from trackbridge.api import active, fluent, session
from trackbridge.api.client import Client


def forget() -> None:
    """End what runs, close what is open, and be as a program that has used nothing yet."""
    while active.current() is not None:
        fluent.end_run()
    for made in session.all_sessions():
        made.close(10)
    session._sessions.clear()
    Client.default_uri = fluent._client = fluent._experiment = None
    for name in list(fluent._inherited):
        fluent._let_inherit(name, None)
