"""docs/migration.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import click

from trackbridge.cli.main import bridge
from trackbridge.domain import migration

PAGE = (Path(__file__).resolve().parents[2] / "docs/migration.md").read_text(encoding="utf-8")


def test_every_treatment_and_symbol_has_its_row() -> None:
    rows = set(re.findall(r"^\| ([a-z]+) \| ", PAGE, re.MULTILINE))
    assert rows == {treatment.value for treatment in migration.Treatment}
    assert re.findall(r"^\| `(.)` \| ", PAGE, re.MULTILINE) == [symbol.value for symbol in migration.Symbol]


def test_every_option_that_it_names_is_there() -> None:
    names: set[str] = set()
    models = bridge.get_command(click.Context(bridge), "models")
    assert isinstance(models, click.Group)
    commands = [bridge.get_command(click.Context(bridge), name) for name in ("migrate", "check", "apply")]
    commands += [models.get_command(click.Context(models), name) for name in ("sync", "diff", "where")]
    for found in commands:
        assert found is not None
        names |= {name for option in found.params for name in (*option.opts, *option.secondary_opts)}
    of_tar = {"--dereference", "--hard-dereference"}
    assert set(re.findall(r"--[a-z][a-z-]+", PAGE)) <= names | of_tar


def test_every_tag_that_it_names_is_ours() -> None:
    ours = {value for name, value in vars(migration).items() if name.startswith("TAG_")}
    assert set(re.findall(r"`(bridge\.src\.\w+)`", PAGE)) == ours
