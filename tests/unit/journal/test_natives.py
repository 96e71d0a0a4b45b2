"""What a destination calls a run is kept for each destination and run, and losing it is no error."""

from __future__ import annotations

import pytest

from trackbridge.journal.folder import JournalFolder
from trackbridge.journal.natives import Native, find_native, note_native

URI, RUN = "http://one", "0" * 32


@pytest.fixture
def folder(tmp_path):
    folder, lock = JournalFolder.create(tmp_path, (URI, "http://two"))
    yield folder
    lock.release()


def test_what_is_noted_is_found_by_the_program(folder):
    assert find_native(folder, URI, RUN) is None
    note_native(folder, URI, RUN, Native("7", "http://one/7"))
    assert find_native(JournalFolder(folder.path), URI, RUN) == Native("7", "http://one/7")
    note_native(folder, URI, RUN, Native("8"))
    assert find_native(folder, URI, RUN) == Native("8")


def test_each_destination_and_run_has_its_own(folder):
    note_native(folder, URI, RUN, Native("7"))
    assert find_native(folder, "http://two", RUN) is None
    assert find_native(folder, URI, "1" * 32) is None


def test_an_id_with_slashes_stays_in_the_folder(folder, tmp_path):
    note_native(folder, URI, "../../x", Native("7"))
    assert find_native(folder, URI, "../../x") == Native("7")
    assert [path.name for path in tmp_path.iterdir()] == [folder.journal_id]


def test_a_journal_that_is_gone_takes_no_notes(folder):
    folder.remove()
    note_native(folder, URI, RUN, Native("7"))
    assert find_native(folder, URI, RUN) is None
    assert not folder.path.exists()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xff", b"[1, 2]", b'{"native_id": 7}'])
def test_a_damaged_note_is_not_known(folder, content):
    note_native(folder, URI, RUN, Native("7"))
    (note,) = (folder.path / "native").iterdir()
    note.write_bytes(content)
    assert find_native(folder, URI, RUN) is None
