"""Plans as files: private, checked, and refused when they are not what was saved."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from trackbridge.domain.plans import Action, Change, Plan
from trackbridge.errors import ConfigError, InvalidInput, NotFound
from trackbridge.operations.plans import (
    basis_of,
    changes_only,
    find_progress,
    load_plan,
    refuse_secrets,
    save_plan,
)

FIRST = Change(action=Action.CREATE, subject="endpoint wine", after={"endpoint": "wine"})
SECOND = Change(action=Action.UPDATE, subject="traffic wine", before={"v1": 100}, after={"v1": 90, "v2": 10})
KEPT = Change(action=Action.KEEP, subject="deployment wine/v1")
PLAN = Plan(
    operation="deploy",
    basis=basis_of(None),
    changes=(FIRST, KEPT, SECOND),
    created_time=1_700_000_000_000,
    parameters={"target": "file:./store", "goal": {"share": 0.5, "name": "größe \U0001f377"}},
    notes=("look out",),
)


def test_a_plan_comes_back_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "wine.plan"
    save_plan(PLAN, path)
    assert load_plan(path) == PLAN
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [item.name for item in tmp_path.iterdir()] == ["wine.plan"]


def test_a_file_that_is_there_is_replaced_and_becomes_private(tmp_path: Path) -> None:
    path = tmp_path / "wine.plan"
    path.write_text("x" * 100_000)
    path.chmod(0o644)
    save_plan(PLAN, path)
    assert load_plan(path) == PLAN
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written"):
        save_plan(PLAN, tmp_path / "nowhere" / "wine.plan")


def test_no_plan_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as raised:
        load_plan(tmp_path / "wine.plan")
    assert raised.value.hint == "make one with --plan --out FILE"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff\xfe\x00",
        b'{"format": "trackbridge plan"}',
        b'{"format": "terraform", "version": 1, "plan": {}}',
        b'{"format": "trackbridge plan", "version": "1"}',
        b"[" * 100_000,
    ],
)
def test_foreign_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "wine.plan"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        load_plan(path)
    assert raised.value.hint == "make the plan anew with --plan --out FILE"


def test_every_cut_and_every_changed_place_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "wine.plan"
    save_plan(PLAN, path)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 17):
        path.write_bytes(whole[:length])
        with pytest.raises(ConfigError):
            load_plan(path)
    for word, other in (
        (b'"v2": 10', b'"v2": 99'),
        (b"file:./store", b"file:./other"),
        (b"update", b"delete"),
    ):
        assert word in whole
        path.write_bytes(whole.replace(word, other))
        with pytest.raises(ConfigError, match="was changed after it was made"):
            load_plan(path)


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wine.plan"
    save_plan(PLAN, path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "version": 2}))
    with pytest.raises(ConfigError, match="of version 2; this trackbridge reads version 1"):
        load_plan(path)


def test_a_plan_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wine.plan"
    plan = {"operation": "deploy", "changes": "none"}
    content = {"format": "trackbridge plan", "version": 1, "checksum": basis_of(plan), "plan": plan}
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="holds no valid plan"):
        load_plan(path)


def test_an_endless_file_is_not_read_whole() -> None:
    with pytest.raises(ConfigError, match="larger than"):
        load_plan(Path("/dev/zero"))


def test_basis_is_that_of_the_content() -> None:
    assert basis_of({"a": 1, "b": [1, 2]}) == basis_of({"b": (1, 2), "a": 1})
    assert basis_of({"a": 1}) != basis_of({"a": "1"})
    assert basis_of(None) != basis_of({})


def test_progress_is_what_is_no_longer_left() -> None:
    whole = (FIRST, KEPT, SECOND)
    assert changes_only(whole) == (FIRST, SECOND)
    assert find_progress(whole, (FIRST, SECOND)) == 0
    assert find_progress(whole, (SECOND, KEPT)) == 1
    assert find_progress(whole, ()) == 2


def test_other_changes_are_no_progress() -> None:
    other = Change(action=Action.UPDATE, subject="traffic wine", after={"v1": 50, "v2": 50})
    assert find_progress((FIRST, SECOND), (FIRST,)) is None
    assert find_progress((FIRST, SECOND), (other,)) is None
    assert find_progress((FIRST, SECOND), (other, FIRST, SECOND)) is None


@pytest.mark.parametrize(
    "values",
    [{"API_TOKEN": "hunter2"}, {"db.password": "hunter2"}, {"harmless": "AKIAABCDEFGHIJKLMNOP"}],
)
def test_secrets_are_kept_out(values: dict[str, str]) -> None:
    with pytest.raises(InvalidInput) as raised:
        refuse_secrets("the variable", values)
    assert not any(value in str(raised.value) for value in values.values())


def test_names_of_places_are_no_secrets() -> None:
    refuse_secrets("the variable", {"TOKEN_FILE": "/run/token", "key": "a", "MODE": "fast"})
