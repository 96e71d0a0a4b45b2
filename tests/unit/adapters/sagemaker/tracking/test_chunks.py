"""Histories of many writes: small chunks are merged, and nothing is lost meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from tests.unit.adapters.sagemaker.tracking.rig import (
    Fuse,
    described,
    now_ms,
    opened,
    summary_of,
)
from trackbridge.errors import Unavailable
from trackbridge.testing.contracts.samples import batch_of
from trackbridge_adapters.sagemaker import run_records, run_store
from trackbridge_adapters.sagemaker.backend import Backend
from trackbridge_adapters.sagemaker.tracking import SageMakerTracking


def chunks_of(backend: Backend, run_id: str) -> list[str]:
    return list(backend.bucket.list(run_records.metrics_prefix(run_id)))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_store, "RECENT_CHUNKS_MAX", 8)
    monkeypatch.setattr(run_store, "MERGED_CHUNKS", 4)


@pytest.mark.usefixtures("few")
def test_many_small_chunks_become_few(place: Callable[..., Backend], sagemaker: Any) -> None:
    backend = place()
    store = SageMakerTracking(backend)
    run_id, now = opened(store), now_ms()
    batches = [batch_of(run_id, metrics=[("m", step / 3, step, now + step)]) for step in range(30)]
    for batch in batches:
        store.write(batch)
        assert len(chunks_of(backend, run_id)) < 16
    history = store.metric_history(run_id, "m")
    assert list(history.steps) == list(range(30))
    assert list(history.values) == [step / 3 for step in range(30)]
    assert len(chunks_of(backend, run_id)) == 6 + 6, "of 30, six times four were merged"
    # The last ones are still known by their names: written again, they are not sent again.
    for batch in batches[-4:]:
        store.write(batch)
    assert summary_of(described(sagemaker, run_id), "m")["Count"] == 30
    # Older ones come back as they were.
    store.write(batches[0])
    assert len(store.metric_history(run_id, "m")) == 30


@pytest.mark.usefixtures("few")
def test_a_break_while_chunks_are_merged_loses_nothing(place: Callable[..., Backend]) -> None:
    now, backend = now_ms(), place()
    for calls in range(1, 30):
        store = SageMakerTracking(backend)
        run_id = opened(store)
        batches = [batch_of(run_id, metrics=[("m", float(step), step, now)]) for step in range(9)]
        for batch in batches[:7]:
            store.write(batch)
        with Fuse(backend, calls, after=True) as fuse, contextlib.suppress(Unavailable):
            store.write(batches[7])
        assert set(store.metric_history(run_id, "m").steps) >= set(range(7))
        store.write(batches[7])
        store.write(batches[8])
        assert list(store.metric_history(run_id, "m").steps) == list(range(9))
        if not fuse.is_blown:
            break
    assert 8 < calls < 29


@pytest.mark.usefixtures("few")
def test_reading_while_chunks_are_merged_sees_all(place: Callable[..., Backend]) -> None:
    writer, reader = place(), place()
    store = SageMakerTracking(writer)
    run_id, now = opened(store), now_ms()
    for step in range(7):
        store.write(batch_of(run_id, metrics=[("m", float(step), step, now)]))
    get_many = reader.bucket.get_many
    reads = 0

    def get_late(keys: Iterable[str]) -> Iterator[Any]:
        nonlocal reads
        reads += 1
        listed = list(keys)
        if reads == 1:  # between the listing and the reading
            store.write(batch_of(run_id, metrics=[("m", 7.0, 7, now)]))
        return get_many(listed)

    reader.bucket.get_many = get_late  # type: ignore[method-assign]
    assert list(SageMakerTracking(reader).metric_history(run_id, "m").steps) == list(range(8))
    assert reads == 2
