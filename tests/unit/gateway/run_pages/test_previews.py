"""What of a file is shown."""

from __future__ import annotations

import io
import json
import tracemalloc
from types import SimpleNamespace
from typing import Any

import pytest

from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.errors import InvalidInput
from trackbridge.gateway.pages import previews
from trackbridge.gateway.pages.markdown import rendered
from trackbridge.gateway.pages.notebooks import CELLS_MAX, cells_of
from trackbridge.gateway.pages.previews import Preview, difference_of, preview_of


def preview(path: str, content: bytes) -> Preview:
    """Look into a file of a client that has only this one."""
    store = SimpleNamespace(
        stat=lambda run_id, path: ArtifactInfo(path=path, file_size=len(content)),
        open=lambda run_id, path: io.BytesIO(content),
    )
    client: Any = SimpleNamespace(reader=SimpleNamespace(artifacts=store))
    return preview_of(client, "a" * 32, path)


def test_a_table_is_cut() -> None:
    lines = "\n".join(",".join(["x"] * 60) for _ in range(500))
    shown = preview("table.csv", lines.encode())
    assert (len(shown.rows), len(shown.header)) == (previews.ROWS_MAX, previews.COLUMNS_MAX)
    assert "100" in shown.note


def test_a_table_of_one_endless_line_is_text() -> None:
    assert preview("table.csv", b"x" * 200_000).kind == "text"


@pytest.mark.parametrize("path", ["rows.csv", "notes.txt", "readme.md", "look.ipynb", "MLmodel"])
def test_an_empty_file_is_said_to_be_empty(path: str) -> None:
    assert preview(path, b"").note == "empty"


def test_text_is_cut_and_bad_bytes_are_shown_as_such() -> None:
    shown = preview("log.txt", b"\xff" + b"y" * (2 * previews.TEXT_BYTES_MAX))
    assert len(shown.text) == previews.TEXT_BYTES_MAX
    assert shown.text.startswith("\ufffdy")
    assert "only the first" in shown.note


@pytest.mark.parametrize("content", [b"{", b'{"a": ' * 100_000, b"[" * 100_000])
def test_json_that_is_none_is_text(content: bytes) -> None:
    assert preview("broken.json", content).kind == "text"


def test_json_too_large_to_be_read_is_text() -> None:
    content = json.dumps(["x" * 1000] * 5000).encode()
    assert len(content) > previews.STRUCTURED_BYTES_MAX
    assert preview("large.json", content).kind == "text"


@pytest.mark.parametrize("notebook", [[], {}, {"cells": 3}, {"cells": ["x", None]}, {"cells": []}])
def test_what_is_no_notebook_is_text(notebook: Any) -> None:
    assert preview("look.ipynb", json.dumps(notebook).encode()).kind == "text"


def test_hostile_cells_are_borne() -> None:
    cells = [
        {"cell_type": "code", "source": {"a": 1}, "outputs": "x"},
        {
            "cell_type": "code",
            "source": ["a", 3],
            "outputs": [3, {"output_type": "error", "traceback": [1, "\x1b[31mno"]}],
        },
        {"cell_type": "code", "outputs": [{"data": {"image/png": 'x" onerror="x', "text/html": "<script>"}}]},
    ] * CELLS_MAX
    found, note = cells_of({"cells": cells})
    assert len(found) == CELLS_MAX
    assert f"the first {CELLS_MAX}" in note
    assert found[1].code == "a"
    assert found[1].outputs == ("no",)
    assert found[2].pictures == found[2].outputs == ()


@pytest.mark.parametrize(
    "text",
    [
        "<script>x</script>",
        "[a](javascript:x)",
        "[a](data:text/html,x)",
        "![a](https://example.org/x.png)",
        "<img src=x onerror=x>",
        "[a](vbscript:x)",
    ],
)
def test_markdown_neither_runs_nor_loads_anything(text: str) -> None:
    html = str(rendered(text))
    for part in ("<script", "<img", 'href="javascript', 'href="data', 'href="vbscript'):
        assert part not in html


def test_headings_of_notes_stand_below_those_of_the_page() -> None:
    assert str(rendered("# a\n\n##### b")) == "<h3>a</h3>\n<h6>b</h6>\n"


def test_texts_are_held_against_each_other() -> None:
    found = difference_of(preview("a.txt", b"one\ntwo\n"), preview("a.txt", b"one\nthree\n"))
    assert found is not None
    assert ("removed", "-two") in found.lines
    assert ("added", "+three") in found.lines
    cut = preview("a.txt", b"x" * (2 * previews.TEXT_BYTES_MAX))
    assert difference_of(cut, cut) is None


@pytest.mark.parametrize("path", ["", "../x", "/x", "a//b", "a\\b"])
def test_a_path_that_no_store_may_hold_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput):
        preview(path, b"")


def test_deep_json_is_not_written_out_in_full() -> None:
    """Two bytes of it take 1,600 with their indents: whole, it would be 300 MB."""
    content = b"[" * 800 + b"1," * 200_000 + b"1" + b"]" * 800
    tracemalloc.start()
    shown = preview("deep.json", content)
    _, bytes_max = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(shown.text) == previews.TEXT_BYTES_MAX
    assert "only the first" in shown.note
    assert bytes_max < 50_000_000


def test_json_too_deep_to_be_written_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_deep(value: object) -> str:
        raise RecursionError

    monkeypatch.setattr(previews, "_indented", too_deep)
    assert preview("deep.json", b"[[1]]").text == "[[1]]"


def test_tables_of_more_cells_than_are_shown_stay_text() -> None:
    heading = "|" + "a|" * 300 + "\n|" + "-|" * 300 + "\n"
    assert "<td>" not in rendered(heading + "|\n" * 300)
    assert "<td>" in rendered("|a|b|\n|-|-|\n|1|2|\n")
