"""The answers that are compared: one set for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gateway.asking import Answers


@pytest.fixture(scope="session")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answers]:
    """What servers answer; each is started and asked when a test first wants to know."""
    asking = Answers(tmp_path_factory.mktemp("answers"))
    yield asking
    asking.close()
