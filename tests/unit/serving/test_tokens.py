"""Bearer tokens in a file: compared, read again, never let through when the file is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from trackbridge.errors import ConfigError
from trackbridge.serving.tokens import TokenFile


def test_only_the_token_is_let_in(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("s3cret\n", encoding="utf-8")
    tokens = TokenFile(path)
    assert tokens.accepts(b"Bearer s3cret")
    assert tokens.accepts(b"bearer s3cret ")
    for wrong in (
        None,
        b"",
        b"s3cret",
        b"Bearer",
        b"Bearer ",
        b"Bearer s3cre",
        b"Bearer s3crets",
        b"Basic s3cret",
        b"Bearer \xff",
    ):
        assert not tokens.accepts(wrong)


def test_a_new_token_counts_at_once(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("old", encoding="utf-8")
    tokens = TokenFile(path)
    path.write_text("renewed", encoding="utf-8")
    assert not tokens.accepts(b"Bearer old")
    assert tokens.accepts(b"Bearer renewed")
    path.unlink()
    assert not tokens.accepts(b"Bearer renewed")
    assert not tokens.accepts(b"Bearer ")
    path.write_text("back", encoding="utf-8")
    assert tokens.accepts(b"Bearer back")


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_without_a_token_no_server_begins(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "token").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match="holds no token"):
        TokenFile(tmp_path / "token")
