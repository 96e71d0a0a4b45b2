"""Logs in pieces: whatever the bytes, the pieces are the text of the whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackbridge_adapters.local import job_log
from trackbridge_adapters.local.job_log import read_piece


def pieces(path: Path) -> list[str]:
    texts, start = [], 0
    while True:
        piece = read_piece(str(path), start, is_final=True)
        assert piece is not None
        texts.append(piece.text)
        if piece.is_last:
            return texts
        assert piece.end > start, "every piece goes further"
        start = piece.end


@given(content=st.lists(st.one_of(st.binary(max_size=6), st.text(max_size=4).map(str.encode))).map(b"".join))
def test_pieces_are_the_text_of_the_whole(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job_log, "PIECE_BYTES", 5)
        assert "".join(pieces(path)) == content.decode("utf-8", "replace")


def test_a_character_that_is_not_whole_yet_stays_for_later(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a" + "漢".encode()[:2])
    piece = read_piece(str(path), 0, is_final=False)
    assert piece is not None
    assert (piece.text, piece.end, piece.is_last) == ("a", 1, False)
    piece = read_piece(str(path), 1, is_final=True)
    assert piece is not None
    assert (piece.text, piece.end, piece.is_last) == ("\ufffd", 3, True)


@pytest.mark.parametrize("start", [-1, 4, 2**62])
def test_there_is_nothing_outside_the_log(tmp_path: Path, start: int) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"abc")
    assert read_piece(str(path), start, is_final=True) is None
    assert read_piece(str(tmp_path / "none"), start, is_final=True) is None


def test_a_log_that_was_never_begun_is_empty(tmp_path: Path) -> None:
    piece = read_piece(str(tmp_path / "none"), 0, is_final=True)
    assert piece is not None
    assert (piece.text, piece.end, piece.is_last) == ("", 0, True)
