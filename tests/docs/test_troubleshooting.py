"""docs/troubleshooting.md: every message that it quotes is one that the code can say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.messages import can_be_raised, messages, texts_of
from tests.docs.shell_lines import shell_problems

PAGE = (Path(__file__).resolve().parents[2] / "docs/troubleshooting.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)


def test_every_message_is_one_of_the_code() -> None:
    assert len(ROWS) > 35
    assert [message for message, _, _ in ROWS if not can_be_raised(message, messages())] == []


def test_every_row_has_a_cause_and_a_cure_and_none_is_there_twice() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| it says")]
    assert len(rows) == len(ROWS)
    assert all(cause.strip() and cure.strip() for _, cause, cure in ROWS)
    assert len({message for message, _, _ in ROWS}) == len(ROWS)


def test_commands_that_it_names_exist() -> None:
    named = [text for text in re.findall(r"`(bridge [^`]+)`", PAGE) if "…" not in text]
    assert len(named) > 10
    without = {"bridge models approve", "bridge sync drop"}  # named without what they are for
    assert [told for text in set(named) - without for told in shell_problems(text)] == []


@pytest.mark.parametrize("quoted", ["the journal is made of …", "… run …", "is no setting … tracking URI"])
def test_a_message_that_nobody_says_is_seen(quoted: str) -> None:
    assert not can_be_raised(quoted, messages())


def test_texts_are_joined_as_people_read_them() -> None:
    source = 'def f():\n    """Said nowhere at all."""\n    raise E("one "\n        f"two {three!r} four")\n'
    assert "one two … four" in texts_of(source)
    assert not any("Said nowhere" in text for text in texts_of(source))
