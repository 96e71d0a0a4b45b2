"""Tags of a run that are more than its store takes: which stay there, and that all of them come back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trackbridge.delivery.fitting import fit
from trackbridge.delivery.spills import Spill, SpilledTag, decode_spills, shows_spills, unspill_data
from trackbridge.delivery.tag_room import EXTRA_TAGS_PATH, TagRoom, encode_extra
from trackbridge.domain.batches import Batch, Setting
from trackbridge.domain.runs import RunData
from trackbridge.ports.capabilities import Limits

LIMITS = Limits(tags_per_run_max=5, key_chars_max=60, key_pattern=r"[\w. ]+", tag_value_chars_max=100)
KEYS = st.text(alphabet="ab@ [", min_size=1, max_size=6)
TAGS = st.dictionaries(KEYS, st.text(max_size=120), max_size=12)


def batch_of(tags: dict[str, str | None]) -> Batch:
    settings = [Setting(key, value, number) for number, (key, value) in enumerate(tags.items(), 1)]
    return Batch(run_id="run", tags=settings)


def written(room: TagRoom, tags: dict[str, str | None]) -> tuple[dict[str, str], list[Spill]]:
    """Return what a store has of tags, and what the side-car has, as a copy of a run writes them."""
    native: dict[str, str] = {}
    spills: list[Spill] = []
    for part in fit(room.without_extra(batch_of(tags)), LIMITS, now_ms=0):
        part = room.without_extra_names(part)
        spills += part.spills
        for tag in part.batch.tags:
            if tag.value is None:
                native.pop(tag.key, None)
            else:
                native[tag.key] = tag.value
    return native, [*spills, *decode_spills(encode_extra(room.extra))]


@given(TAGS)
def test_what_there_is_no_room_for_comes_back(tags: dict[str, str]) -> None:
    native, spills = written(TagRoom(LIMITS, set()), dict(tags))
    assert len(native) <= 5
    assert unspill_data(RunData(tags=native), spills, histories={}).tags == tags


def test_a_store_without_a_limit_gets_all() -> None:
    batch = batch_of({f"t{number}": "v" for number in range(200)})
    room = TagRoom(Limits(), set())
    assert room.without_extra(batch) is batch
    assert room.fits(10_000)


def test_what_stores_show_comes_first() -> None:
    room = TagRoom(LIMITS, {"bridge.src.uri"})
    tags = {**{f"a{number}": "v" for number in range(6)}, "mlflow.runName": "name", "mlflow.user": "me"}
    kept = room.without_extra(batch_of(dict(tags)))
    assert [tag.key for tag in kept.tags] == ["a0", "a1", "mlflow.runName", "mlflow.user"]
    assert set(room.extra) == {"a2", "a3", "a4", "a5"}


def test_a_tag_stays_where_it_is_and_its_newest_value_counts() -> None:
    held = {f"t{number}" for number in range(5)}
    room = TagRoom(LIMITS, set(held), {"old": "1", "gone": "2"})
    kept = room.without_extra(batch_of({"t3": "new", "old": "3", "gone": None}))
    assert [(tag.key, tag.value) for tag in kept.tags] == [("t3", "new"), ("gone", None)]
    assert room.extra == {"old": "3"}


def test_a_tag_for_which_there_is_room_again_leaves_the_side_car() -> None:
    room = TagRoom(LIMITS, {"a", "b", "c", "d", "e"}, {"x": "1"})
    kept = room.without_extra(batch_of({"a": None, "x": "2"}))
    assert [(tag.key, tag.value) for tag in kept.tags] == [("a", None), ("x", "2")]
    assert room.extra == {}


def test_a_name_is_told_once_however_many_batches_use_it() -> None:
    room = TagRoom(LIMITS, {"1", "2", "3", "4", "5"})
    batch = Batch(run_id="run", params=[Setting("acc@5", "1", 1)])
    told = [
        spill for _ in range(3) for spill in room.without_extra_names(fit(batch, LIMITS, now_ms=0)[0]).spills
    ]
    assert [type(spill).__name__ for spill in told] == ["SpilledKey"]


def test_a_native_value_is_not_replaced_by_one_that_was_extra() -> None:
    data = RunData(tags={"kind": ""})
    spill = SpilledTag(key="kind", placeholder="", value="old", sequence=0)
    assert unspill_data(data, [spill], histories={}).tags == {"kind": ""}


def test_a_listing_shows_names_that_stand_for_others() -> None:
    assert shows_spills(RunData(metrics={"acc_5_0123456789abcdef": 1.0}))
    assert not shows_spills(RunData(metrics={"acc_5": 1.0}, params={"lr": "1"}, tags={"a": "b"}))


def test_the_file_of_no_extra_tags_is_read_as_none() -> None:
    assert EXTRA_TAGS_PATH == "bridge/spill/tags.jsonl"
    assert decode_spills(encode_extra({})) == ()
