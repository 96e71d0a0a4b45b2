"""Every fenced block of every page is run, linted or declared with a reason; see snippets.py for how."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs import snippet_bridge, snippet_pip, snippets
from tests.docs.shell_lines import commands, named_problems, shell_problems
from tests.docs.snippet_runs import Place, WentWrong, is_alike, run_page
from tests.docs.snippets import Block, parse_page, problems, python_problems, read_page
from trackbridge.cli.reference import commands as all_commands

PAGES = snippets.page_names()


@pytest.mark.parametrize("name", PAGES)
def test_every_block_is_run_or_declared(name: str) -> None:
    page = read_page(name)
    assert [f"{block.place}: {told}" for block in page.blocks for told in problems(block)] == []
    assert set(page.emulators) <= set(snippets.EMULATORS)


@pytest.mark.parametrize("name", PAGES)
def test_commands_that_its_text_names_exist(name: str) -> None:
    assert named_problems((snippets.ROOT / name).read_text(encoding="utf-8")) == []


def test_examples_of_commands_parse() -> None:
    epilogs = {words: command.epilog for words, command, _ in all_commands() if command.epilog}
    assert len(epilogs) > 50
    lines = [line.strip() for text in epilogs.values() for line in text.splitlines() if line.startswith("  ")]
    assert [told for line in lines for told in shell_problems(line)] == []


# What the tests above would see.


def block(text: str, language: str = "", kind: str = "", said: str = "") -> Block:
    return Block("docs/jobs.md", 1, language, text, kind, said)


@pytest.mark.parametrize(
    "bad",
    [
        block("bridge runs list\n"),
        block("x = 1\n", "python"),
        block("{", "json"),
        block("a = [", "toml"),
        block("a: [", "yaml"),
        block("resource {", "hcl"),
        block("pie\n", "mermaid"),
        block("bridge runs list\n", kind="linted"),
        block("anything\n", kind="shown"),
        block("bridge runs lost\n", kind="linted", said="no such command"),
        block("bridge runs list --lost\n", kind="runs"),
        block("bridge runs list\n", kind="runs", said="exits badly"),
        block("library(x)\n", "r", kind="runs"),
        block("", kind="tested", said="tests/docs/test_gateway.py"),
        block("", kind="tested", said="tests/docs/test_missing.py"),
        block("x\n", kind="file", said="../train.py"),
        block("x = = 1\n", kind="file", said="train.py"),
    ],
)
def test_what_is_wrong_is_told(bad: Block) -> None:
    assert problems(bad)


@pytest.mark.parametrize(
    "line",
    [
        "bridge runs",
        "bridge run train.py --on",
        "bridge sweep train.py -P lr=1,2 --metric loss --mode best",
        "bridge models alias wine/1",
        "echo 'a' | bridge runs list --no",
        "x=1 bridge nothing",
        "sh -ec 'cd x; bridge sync lost'",
        "echo $(bridge runs lost)",
        "make nothing-of-the-kind",
        "pip install 'trackbridge[nothing]'",
        "for x in 1; do bridge runs lost; done",
        "if true; then",
    ],
)
def test_wrong_lines_are_told(line: str) -> None:
    assert shell_problems(line)


@pytest.mark.parametrize(
    "text",
    [
        'bridge runs list --filter "metrics.acc > 0.9" | head # bridge lost',
        "bridge deploy models:/wine@champion --endpoint wine \\\n    --traffic 10",
        "bridge sweep train.py -P lr=1,2 --metric loss",
        "bridge deploy -f not-there.yaml --plan",
        "bridge runs list --json > runs.json",
        "cat > a.py <<'EOF'\nbridge lost\nEOF\nbridge doctor",
        "bridge --help",
        "make test PYTEST_FLAGS='-k journal'",
    ],
)
def test_right_lines_are_not(text: str) -> None:
    assert shell_problems(text) == []


def test_commands_are_found_where_they_stand() -> None:
    text = "A=1 bridge init && bridge emulate azureml -- sh -ec 'python a.py; bridge runs list'\n"
    assert [words[:3] for words in commands(text) if words[0] == "bridge"] == [
        ["bridge", "init"],
        ["bridge", "emulate", "azureml"],
        ["bridge", "runs", "list"],
    ]


def test_commands_in_a_text_that_do_not_exist_are_told() -> None:
    text = (
        "`bridge runs list --all` `bridge sweep a.py` `bridge -h` `make test` `bridge runs lost` `make lost`"
    )
    assert named_problems(text) == [
        "bridge runs lost: there is no such command",
        "make lost: there is no such target",
    ]


def test_names_that_do_not_exist_are_told() -> None:
    text = "import trackbridge as tb\nfrom trackbridge.errors import Lost\ntb.log_metrik('a', 1)\n"
    assert python_problems(text) == ["there is no trackbridge.errors.Lost", "there is no tb.log_metrik"]


PAGE = """
<!-- file: a.py -->
```python
print("one")
```

<!-- runs -->
```bash
export B=2
python a.py; mkdir -p c; cd c
```

<!-- prints -->
```
one
```

<!-- runs -->
```python
import os
b = os.environ["B"]
print("three", b)
```

1. In a list:

   <!-- runs -->
   ```python
   print(b, os.getcwd()[-2:], "01a200efad0c", 7, "y"); print("four")
   ```

<!-- prints -->
```
2 /c 01a1fc994335 … y
[…]
```

<!-- runs: exits 3 -->
```console
$ echo no >&2; exit 3
ignored
```

<!-- prints -->
```text
no
```
"""


def test_a_page_goes_on_where_the_block_before_ended(tmp_path: Path) -> None:
    place = Place(tmp_path, {})
    try:
        assert run_page(parse_page("page.md", PAGE), place) == 4
    finally:
        place.close()


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("one\n```", "two\n```"), ("exits 3", "exits 4"), ("python a.py", "python b.py"), ("(b, os", "(c, os")],
)
def test_a_page_that_says_something_else_fails(right: str, wrong: str, tmp_path: Path) -> None:
    assert PAGE.count(right) == 1
    place = Place(tmp_path, {})
    try:
        with pytest.raises(WentWrong, match=r"page\.md:\d+"):
            run_page(parse_page("page.md", PAGE.replace(right, wrong)), place)
    finally:
        place.close()


def test_elisions_stand_for_any_lines_but_for_no_order() -> None:
    assert is_alike(["a", "…", "d"], ["a", "b", "c", "d"])
    assert is_alike(["a … d"], ["a b c d"])
    assert not is_alike(["d", "…", "a"], ["a", "b", "d"])


def test_bridge_confirms_only_where_it_is_asked() -> None:
    assert snippet_bridge.confirmed(["runs", "list"]) == ["runs", "list"]
    assert snippet_bridge.confirmed(["deploy", "models:/a/1"]) == ["deploy", "models:/a/1", "--yes"]
    assert "--yes" not in snippet_bridge.confirmed(["deploy", "models:/a/1", "--plan"])


def test_pip_wants_what_is_there() -> None:
    assert snippet_pip.missing(["trackbridge[aws]", "click", "--quiet", "/a/clone[mlflow]"]) == []
    assert len(snippet_pip.missing(["trackbridge[lost]", "certainly-not-installed>=1"])) == 2
