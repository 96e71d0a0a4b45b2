"""A corpus that is written once, and two stores for each test, the first of which has it."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.corpus import Corpus, Size, write_corpus
from tests.support.migrations import local_side, pair_of
from trackbridge.operations.migrate.pair import Pair


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Corpus]:
    """The folder of a store with a corpus, and the truth about it."""
    folder = tmp_path_factory.mktemp("corpus") / "store"
    side = local_side(folder)
    corpus = write_corpus(side.adapter, Size(runs=16))
    side.close()
    return folder, corpus


@pytest.fixture
def corpus(written: tuple[Path, Corpus], tmp_path: Path) -> Corpus:
    """The truth about the source of ``pair``."""
    shutil.copytree(written[0], tmp_path / "a")
    return copy.deepcopy(written[1])


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """A store that has the corpus, where a test asks for that, and one that has nothing."""
    made = pair_of(local_side(tmp_path / "a"), local_side(tmp_path / "b"), tmp_path / "home")
    yield made
    made.source.close()
    made.target.close()
    made.ledger.close()
