"""The faulty adapter does what it was asked to, no more and no less; the pipeline gets around it."""

import random
import struct
from collections import Counter

import pytest

from trackbridge.calls import CallPolicy, World, wrap
from trackbridge.domain.batches import Batch, InputAdded, MetricColumns, Receipt, Setting
from trackbridge.domain.runs import DatasetInput
from trackbridge.errors import Exhausted, RateLimited, Rejected, TimedOut, Unavailable
from trackbridge.ports.capabilities import Capabilities
from trackbridge.ports.tracking import TrackingStore
from trackbridge.testing.faults import POISON_REASON, Faults, faulty, faulty_adapter, records_of


class Memory:
    """A store that keeps what was written, by sequence, and counts how often."""

    name = "memory"

    def __init__(self):
        self.seen = Counter()
        self.batches = []

    def write(self, batch):
        self.batches.append(batch)
        self.seen.update(record.sequence for record in records_of(batch))
        return Receipt()

    def get_run(self, run_id):
        return run_id


def make_batch(count=4, first=0):
    columns = MetricColumns()
    for sequence in range(first, first + count):
        columns.append(step=sequence, timestamp=1, value=float(sequence), sequence=sequence)
    return Batch(run_id="r", metrics={"loss": columns})


def outcome(store, number):
    try:
        store.write(make_batch(1, number))
    except TimedOut as error:
        return "ambiguous" if error.ambiguous else "not ambiguous"
    except (Unavailable, RateLimited, Rejected) as error:
        return type(error).__name__
    return "passed"


def outcomes(store, count):
    return Counter(outcome(store, number) for number in range(count))


def test_faults_come_as_often_as_asked_and_are_counted():
    memory = Memory()
    store = faulty(memory, transient=0.3, ambiguous=0.05, rate_limited=0.1, seed=1)
    seen = outcomes(store, 4000)
    counts = store.faults.counts
    assert counts["calls"] == 4000
    assert seen["Unavailable"] == counts["transient"] == pytest.approx(1200, rel=0.1)
    assert seen["RateLimited"] == counts["rate_limited"] == pytest.approx(400, rel=0.2)
    assert seen["ambiguous"] == counts["ambiguous_done"] + counts["ambiguous_not_done"]
    assert counts["ambiguous_done"] == pytest.approx(100, rel=0.3)
    assert counts["ambiguous_not_done"] == pytest.approx(100, rel=0.3)
    assert len(memory.seen) == counts["passed"] + counts["ambiguous_done"]


def test_the_same_seed_gives_the_same_faults():
    first, second, other = (faulty(Memory(), transient=0.5, seed=seed) for seed in (3, 3, 4))
    runs = []
    for store in (first, second, other):
        outcomes(store, 50)
        runs.append(sorted(store.target.seen))
    assert runs[0] == runs[1] != runs[2]


def test_without_faults_everything_passes_and_looks_the_same():
    memory = Memory()
    store = faulty(memory)
    assert outcomes(store, 100) == {"passed": 100}
    assert store.name == "memory"
    assert store.get_run("r") == "r"
    with pytest.raises(AttributeError):
        store.nothing_of_that_name()


def test_probabilities_can_be_changed_and_limited_to_methods():
    store = faulty(Memory(), methods=frozenset({"write"}))
    store.faults.transient = 1.0
    with pytest.raises(Unavailable):
        store.write(make_batch())
    assert store.get_run("r") == "r"
    store.faults.transient = 0.0
    assert store.write(make_batch()) == Receipt()


@pytest.mark.parametrize(
    "options", [{"transient": 0.8, "ambiguous": 0.3}, {"transient": -0.1}, {"partial": 1.5}]
)
def test_impossible_probabilities_are_refused(options):
    with pytest.raises(ValueError, match="add up"):
        Faults(**options)


def test_retry_after_and_latency():
    waits = []
    store = faulty(Memory(), rate_limited=1.0, retry_after_s=7.0, latency_s=0.5, sleep=waits.append)
    with pytest.raises(RateLimited) as caught:
        store.get_run("r")
    assert caught.value.retry_after_s == 7.0
    assert waits == [0.5]


def full_batch():
    batch = make_batch(3)
    batch.params.append(Setting("lr", "0.1", 3))
    batch.tags.append(Setting("note", None, 4))
    batch.inputs.append(InputAdded(DatasetInput(name="iris", digest="d"), 5))
    return batch


def test_a_poison_record_rejects_the_batch_without_saying_which():
    memory = Memory()
    store = faulty(memory, poison=lambda record: record.key == "loss" and record.step == 2)
    with pytest.raises(Rejected) as caught:
        store.write(full_batch())
    assert memory.batches == []
    assert "2" not in str(caught.value)
    assert store.write(make_batch(2)) == Receipt()
    assert store.faults.counts["poison"] == 1


@pytest.mark.parametrize(
    ("kind", "sequences"), [("metric", {0, 1, 2}), ("param", {3}), ("tag", {4}), ("input", {5})]
)
def test_poison_of_any_kind_can_be_told_per_record(kind, sequences):
    memory = Memory()
    store = faulty(memory, poison=lambda record: record.kind == kind, rejects_per_record=True)
    receipt = store.write(full_batch())
    assert {rejection.sequence for rejection in receipt.rejected} == sequences
    assert {rejection.reason for rejection in receipt.rejected} == {POISON_REASON}
    assert set(memory.seen) == {0, 1, 2, 3, 4, 5} - sequences


def test_a_partial_write_keeps_the_first_half():
    memory = Memory()
    store = faulty(memory, partial=1.0)
    with pytest.raises(Unavailable):
        store.write(full_batch())
    assert set(memory.seen) == {0, 1, 2}
    assert store.get_run("r") == "r"


def test_values_pass_bit_for_bit():
    bits = [0x7FF8000000000001, 0x8000000000000000, 0x0000000000000001, 0xFFF0000000000000]
    values = [struct.unpack("<d", struct.pack("<Q", pattern))[0] for pattern in bits]
    columns = MetricColumns()
    for sequence, value in enumerate([*values, 1.0]):
        columns.append(step=2**62, timestamp=-1, value=value, sequence=sequence)
    memory = Memory()
    store = faulty(memory, poison=lambda record: record.sequence == 4, rejects_per_record=True)
    store.write(Batch(run_id="r", metrics={"m": columns}))
    kept = memory.batches[0].metrics["m"]
    assert [struct.unpack("<Q", struct.pack("<d", value))[0] for value in kept.values] == bits
    assert set(kept.steps) == {2**62}


def test_an_adapter_fails_in_all_of_its_ports():
    class Adapter:
        tracking = Memory()
        artifacts = registry = jobs = deployments = None

        def capabilities(self):
            return "capabilities"

    adapter = faulty_adapter(Adapter(), Faults(transient=1.0))
    with pytest.raises(Unavailable):
        adapter.tracking.get_run("r")
    assert adapter.artifacts is None
    assert adapter.capabilities() == "capabilities"


def test_the_pipeline_delivers_every_good_record_around_the_faults():
    now_s = [0.0]
    world = World(
        clock_s=lambda: now_s[0],
        rng=random.Random(5),
        wait=lambda seconds: now_s.__setitem__(0, now_s[0] + seconds),
    )
    memory = Memory()
    store = faulty(
        memory,
        transient=0.3,
        ambiguous=0.05,
        rate_limited=0.05,
        partial=0.05,
        retry_after_s=3.0,
        poison=lambda record: record.sequence % 100 == 7,
        seed=11,
    )
    piped = wrap(
        store,
        TrackingStore,
        capabilities=Capabilities(adapter="fake", features={}),
        world=world,
        policy=CallPolicy(attempts_max=40, elapsed_s_max=1e6),
    )
    rejected = {sequence for sequence in range(1000) if outcome(piped, sequence) == "Rejected"}
    assert rejected == set(range(7, 1000, 100))
    assert set(memory.seen) == set(range(1000)) - rejected
    assert store.faults.counts["transient"] > 200


def test_a_backend_that_stays_down_exhausts_the_pipeline():
    now_s = [0.0]
    world = World(clock_s=lambda: now_s[0], wait=lambda seconds: now_s.__setitem__(0, now_s[0] + seconds))
    store = faulty(Memory(), transient=1.0)
    piped = wrap(
        store,
        TrackingStore,
        capabilities=Capabilities(adapter="fake", features={}),
        world=world,
        policy=CallPolicy(attempts_max=5),
    )
    with pytest.raises(Exhausted, match="5 attempts"):
        piped.get_run("r")
    assert store.faults.counts["calls"] == 5
