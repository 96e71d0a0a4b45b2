"""The local registry: sources, users, a full disk, and listings that stay quick."""

from __future__ import annotations

import getpass
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import pytest

from tests.unit.adapters.local.conftest import OpenStore
from trackbridge.domain.artifacts import artifact_uri
from trackbridge.domain.file_uris import file_uri
from trackbridge.domain.ids import mint_id
from trackbridge.domain.models import ChangeReason, ModelVersion, ModelVersionSpec
from trackbridge.errors import ConfigError, InvalidInput, NotFound, Unavailable
from trackbridge.testing.contracts.samples import digest_of, file_of
from trackbridge_adapters.local import registry_rows
from trackbridge_adapters.local.adapter import LocalAdapter

ELSEWHERE = "s3://bucket/model"


def create(
    adapter: LocalAdapter, key: str, *, name: str = "wine", source: str = ELSEWHERE, **fields: object
) -> ModelVersion:
    """Ensure a model and create a version."""
    adapter.registry.ensure_model(name)
    spec = ModelVersionSpec(name=name, source=source, digest="sha256:1", **fields)  # type: ignore[arg-type]
    return adapter.registry.create_version(spec, key=key)


@contextmanager
def statements(adapter: LocalAdapter) -> Iterator[list[str]]:
    """Collect the statements that the calls within make on an idle connection."""
    with adapter._database.reading("test"):
        pass
    connection, seen = adapter._database._idle[-1][0], []
    connection.set_trace_callback(seen.append)
    yield seen
    connection.set_trace_callback(None)


def test_reading_an_absent_store_finds_nothing_and_creates_nothing(
    adapter: LocalAdapter, folder: Path
) -> None:
    registry = adapter.registry
    assert len(registry.list_models()) == 0
    assert len(registry.list_versions("wine")) == 0
    assert len(registry.list_changes("wine")) == 0
    registry.delete_version("wine", "1")
    registry.delete_model("wine")
    reads: list[Callable[[], object]] = [
        lambda: registry.get_model("wine"),
        lambda: registry.get_version("wine", "1"),
        lambda: registry.set_tags("wine", None, tags={"a": "1"}),
        lambda: registry.set_stage("wine", "1", stage="Staging"),
        lambda: registry.create_version(ModelVersionSpec(name="wine", source=ELSEWHERE, digest="d"), key="k"),
    ]
    for read in reads:
        with pytest.raises(NotFound):
            read()
    assert not folder.exists()


# Sources.


def test_a_file_or_folder_of_this_machine_can_be_a_source(adapter: LocalAdapter, tmp_path: Path) -> None:
    payload = tmp_path / "my model, 100% mine?#"
    payload.mkdir()
    sources = [str(payload), file_uri(payload), f"file://{file_uri(payload).removeprefix('file:')}"]
    for number, source in enumerate(sources, start=1):
        created = create(adapter, source, source=source)
        assert (created.version, created.source) == (str(number), source)


@pytest.mark.parametrize(
    "source",
    ["/nowhere/at/all", "file:/nowhere/at/all", "", "nul\0", "file:/a%00b", "x" * 5000, "/\udcff"],
)
def test_a_path_where_nothing_is_cannot_be_a_source(adapter: LocalAdapter, source: str) -> None:
    with pytest.raises(NotFound, match="nothing lies at"):
        create(adapter, "k", source=source)
    assert len(adapter.registry.list_versions("wine")) == 0


@pytest.mark.parametrize(
    "source", ["s3://bucket/key", "azureml://x/paths/y", "https://example.org/model", "models:/other/3"]
)
def test_what_lies_elsewhere_is_taken_unseen(adapter: LocalAdapter, source: str) -> None:
    assert create(adapter, "k", source=source).source == source


def test_a_source_in_the_store_is_a_file_a_folder_or_all_of_a_run(
    adapter: LocalAdapter, tmp_path: Path
) -> None:
    run_id, file = mint_id(), file_of(tmp_path, b"weights")
    adapter.artifacts.put(run_id, "a b/model/w.bin", file, digest=digest_of(b"weights"), size=7)
    for path in ("a b/model/w.bin", "a b/model", "a b", ""):
        assert create(adapter, path or "root", source=artifact_uri(run_id, path))
    for path in ("a b/model/w", "a b/mod", "b", "a b/model/w.bin/x"):
        with pytest.raises(NotFound):
            create(adapter, path, source=artifact_uri(run_id, path))
    with pytest.raises(NotFound):
        create(adapter, "k", source=artifact_uri(mint_id()))


@pytest.mark.parametrize("path", ["../../store.db", "..", "a/../../..", "a//b", "/etc/passwd"])
def test_a_source_cannot_climb_out_of_the_run(adapter: LocalAdapter, path: str) -> None:
    with pytest.raises(InvalidInput):
        create(adapter, "k", source=f"bridge-artifacts:/{mint_id()}/{path}")
    assert len(adapter.registry.list_versions("wine")) == 0


def test_a_repetition_succeeds_after_the_payload_was_deleted(adapter: LocalAdapter, tmp_path: Path) -> None:
    run_id, file = mint_id(), file_of(tmp_path, b"weights")
    adapter.artifacts.put(run_id, "model", file, digest=digest_of(b"weights"), size=7)
    created = create(adapter, "k", source=artifact_uri(run_id, "model"))
    adapter.artifacts.delete(run_id, "model")
    assert create(adapter, "k", source=artifact_uri(run_id, "model")) == created


def test_a_missing_source_is_told_without_its_secrets(adapter: LocalAdapter) -> None:
    with pytest.raises(NotFound) as caught:
        create(adapter, "k", source="/nowhere?api_key=hunter2hunter2")
    assert "hunter2" not in f"{caught.value} {caught.value.hint} {caught.value.resource}"
    assert "log the model" in (caught.value.hint or "")


# Who.


def test_the_login_name_is_noted_where_nobody_is_named(
    adapter: LocalAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(getpass, "getuser", Mock(return_value="zoe"))
    assert create(adapter, "k").user == "zoe"
    adapter.registry.set_tags("wine", "1", tags={"a": "1"}, reason=ChangeReason(user="ann"))
    assert [change.user for change in adapter.registry.list_changes("wine")] == ["ann", "zoe", "zoe"]


@pytest.mark.parametrize("error", [OSError("no"), KeyError("uid not found"), ImportError("pwd")])
def test_a_user_without_a_name_can_register(
    adapter: LocalAdapter, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(getpass, "getuser", Mock(side_effect=error))
    assert create(adapter, "k").user == "unknown"


def test_times_come_from_the_clock(adapter: LocalAdapter) -> None:
    created = create(adapter, "k")
    assert (created.creation_time, created.last_update_time) == (1000, 1000)
    assert {change.time for change in adapter.registry.list_changes("wine")} == {1000}


# Faults.


def test_everything_is_there_when_the_store_is_opened_again(open_store: OpenStore) -> None:
    first = open_store()
    create(first, "k", tags={"a": "1"})
    first.registry.set_alias("wine", "champion", version="1", reason=ChangeReason(user="ann", why="good"))
    first.close()
    second = open_store()
    assert second.registry.get_version("wine", "1").aliases == ("champion",)
    assert second.registry.list_changes("wine").items[0].why == "good"
    assert create(second, "k").version == "1"


def test_a_full_disk_is_unavailable_and_changes_nothing(adapter: LocalAdapter) -> None:
    create(adapter, "k")
    with adapter._database.reading("test"):
        pass
    limited = adapter._database._idle[-1][0]
    pages = limited.execute("PRAGMA page_count").fetchone()[0]
    limited.execute(f"PRAGMA max_page_count = {pages}")
    before = adapter.registry.list_versions("wine"), adapter.registry.list_changes("wine")
    big = {f"tag {number}": "x" * 100_000 for number in range(10)}
    writes: list[Callable[[], object]] = [
        lambda: create(adapter, "another", tags=big),
        lambda: adapter.registry.set_tags("wine", "1", tags=big),
        lambda: adapter.registry.set_description("wine", "1", description="x" * 1_000_000),
    ]
    for write in writes:
        with pytest.raises(Unavailable, match="disk") as caught:
            write()
        assert "space" in (caught.value.hint or "")
    assert (adapter.registry.list_versions("wine"), adapter.registry.list_changes("wine")) == before
    limited.execute("PRAGMA max_page_count = 1000000")
    assert create(adapter, "another", tags=big).version == "2"


def test_damaged_tables_are_told(adapter: LocalAdapter, folder: Path) -> None:
    create(adapter, "k")
    adapter.close()
    path = folder / "store.db"
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="damaged"):
        adapter.registry.list_models()


# Size.


def fill(adapter: LocalAdapter, count: int) -> None:
    """Add so many models, and as many versions of wine, each with tags, an alias and a change."""
    create(adapter, "first")
    numbers = [(number,) for number in range(2, count + 1)]
    with adapter._database.writing("test") as connection:
        connection.executemany(
            "INSERT INTO registered_model (name, description, creation_time, last_update_time) "
            "VALUES (printf('model %06d', ?), 'd', 1, 1)",
            numbers,
        )
        connection.executemany(
            "INSERT INTO model_version (model, number, key, source, digest, origin, datasets, description, "
            "stage, approval, user, creation_time, last_update_time) "
            "VALUES (1, ?1, ?1, 's', 'd', 'null', '[]', '', 'None', 'pending', 'u', 1, 1)",
            numbers,
        )
        connection.execute("INSERT INTO registered_model_tag SELECT row, 'tag', name FROM registered_model")
        connection.execute("INSERT INTO model_version_tag SELECT row, 'tag', number FROM model_version")
        connection.execute("INSERT INTO model_alias SELECT 1, 'alias-' || number, number FROM model_version")
        connection.execute(
            "INSERT INTO registry_change (model, number, what, user, time, why) "
            "SELECT 1, number, 'created', 'u', 1, '' FROM model_version"
        )


def test_a_page_takes_as_many_statements_however_long_it_is(adapter: LocalAdapter) -> None:
    fill(adapter, 10_000)
    registry = adapter.registry
    listings: list[Callable[[int], object]] = [
        lambda size: registry.list_models(max_results=size),
        lambda size: registry.list_versions("wine", max_results=size),
        lambda size: registry.list_changes("wine", max_results=size),
    ]
    for listing in listings:
        counts = []
        for size in (1, 10_000):
            with statements(adapter) as seen:
                assert len(listing(size).items) == size  # type: ignore[attr-defined]
            counts.append(len(seen))
        assert counts[0] == counts[1] <= 6
    first = registry.list_models(max_results=10_000).items[0]
    assert (first.name, first.tags) == ("model 000002", {"tag": "model 000002"})
    version = registry.list_versions("wine", max_results=10_000).items[-2]
    assert (version.version, version.tags, version.aliases) == ("2", {"tag": "2"}, ("alias-2",))


def test_listings_are_read_by_an_index(adapter: LocalAdapter) -> None:
    fill(adapter, 100)
    with statements(adapter) as seen:
        adapter.registry.list_models(max_results=5)
        adapter.registry.list_versions("wine", max_results=5)
        adapter.registry.list_changes("wine", max_results=5)
        adapter.registry.list_changes("wine", "50", max_results=5)
        adapter.registry.get_version("wine", "50")
        adapter.registry.get_model("wine")
    with adapter._database.reading("test") as connection:
        assert connection is not None
        plans = [plan for statement in seen for plan in plan_of(connection, statement)]
    assert len(plans) > 10
    assert [plan for plan in plans if "SCAN" in plan or "FOR ORDER BY" in plan] == []


def plan_of(connection: sqlite3.Connection, statement: str) -> list[str]:
    """Return how SQLite reads, without the sorting of the few rows of one page."""
    if not statement.startswith("SELECT"):
        return []
    plan = [str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
    is_side_table = "_tag t" in statement or "FROM model_alias" in statement or "model_alias a" in statement
    return [line for line in plan if not (is_side_table and "FOR ORDER BY" in line)]


@pytest.mark.parametrize("text", ["", "0", "-1", "1.0", "01", "١", "１", "²", "9" * 18 + "9", "1\0"])
def test_what_is_no_number_is_no_version(text: str) -> None:
    assert registry_rows.number_of(text) is None


def test_the_greatest_number_is_a_version() -> None:
    assert registry_rows.number_of("9" * 18) == 10**18 - 1
