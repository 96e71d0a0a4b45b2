"""The distributions of this tree, built once for all tests of a process."""

from __future__ import annotations

import pytest

from tests.support.builds import Built, build


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """An sdist of this tree, and a wheel made from that sdist."""
    return build(tmp_path_factory.mktemp("dist"))
