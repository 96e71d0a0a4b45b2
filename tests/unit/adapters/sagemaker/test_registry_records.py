"""Records of models in S3: changes noted and dated, long histories cut, damage told."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from trackbridge.domain.models import Approval, ModelVersionSpec
from trackbridge.errors import Conflict, Rejected, Unavailable
from trackbridge_adapters.sagemaker import registry_records
from trackbridge_adapters.sagemaker.registry_edits import Edit
from trackbridge_adapters.sagemaker.registry_groups import Groups
from trackbridge_adapters.sagemaker.registry_projection import creation, group_tags, metadata
from trackbridge_adapters.sagemaker.registry_records import (
    CHANGES_MAX,
    ModelRecord,
    Records,
    VersionRecord,
    version_record,
)

SPEC = ModelVersionSpec(name="wine", source="s3://b/m/", digest="sha256:1", tags={"a": "1"})
ADDRESS = "s3://bucket/trackbridge/registry/wine/model.json"


class Objects:
    """A bucket in memory."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[bytes, str]] = {}
        self._versions = itertools.count(1)

    def address(self, key: str) -> str:
        return f"s3://bucket/trackbridge/{key}"

    def get(self, key: str) -> tuple[bytes, str] | None:
        return self.held.get(key)

    def get_many(self, keys: list[str]) -> Iterator[tuple[str, tuple[bytes, str] | None]]:
        return ((key, self.get(key)) for key in keys)

    def put(self, key: str, data: bytes, *, match: str | None = None, absent: bool = False) -> str:
        found = self.held.get(key)
        if (absent and found) or (match is not None and (found is None or found[1] != match)):
            raise Conflict("the object has changed")
        self.held[key] = data, f"v{next(self._versions)}"
        return self.held[key][1]


@pytest.fixture
def objects() -> Objects:
    return Objects()


@pytest.fixture
def records(objects: Objects) -> Records:
    bucket: Any = objects
    return Records(bucket)


def edit(record: ModelRecord, now: int = 1000, user: str = "ann") -> Edit:
    return Edit(record, user, "", now)


def made(versions: int = 1) -> ModelRecord:
    record = ModelRecord(name="wine")
    edit(record).create_model("", {}, 500)
    for number in range(1, versions + 1):
        edit(record).create_version(number, f"arn:wine/{number}", SPEC, f"key {number}")
    return record


class TestEdits:
    def test_times_never_go_back(self) -> None:
        record = made()
        edit(record, now=5000).set_tags(None, {"a": "1"})
        edit(record, now=4000).set_tags(None, {"a": "2"})
        assert [change.time for change in record.changes] == [1000, 1000, 5000, 5000]
        assert record.changed == 5000

    def test_what_changes_nothing_leaves_no_trace(self) -> None:
        record = made()
        edit(record).point("champion", 1)
        before = msgspec.json.encode(record)
        again = edit(record, now=9000, user="bob")
        again.set_tags(1, {"a": "1", "absent": None})
        again.set_tags(None, {})
        again.describe(1, "")
        again.point("champion", 1)
        again.point("absent", None)
        again.set_stage(1, "None")
        again.set_approval(1, Approval.PENDING)
        assert msgspec.json.encode(record) == before

    def test_an_alias_that_moves_is_noted_at_both_versions(self) -> None:
        record = made(versions=2)
        edit(record).point("champion", 1)
        edit(record).point("champion", 2)
        moves = [(change.version, change.before, change.after) for change in record.changes[-2:]]
        assert moves == [(1, "1", "2"), (2, "1", "2")]

    def test_of_a_deleted_version_key_source_and_digest_are_kept(self) -> None:
        record = made(versions=2)
        edit(record).point("champion", 2)
        edit(record).delete_version(2)
        kept = record.versions[2]
        assert (kept.key, kept.source, kept.digest, kept.is_deleted) == (
            "key 2",
            "s3://b/m/",
            "sha256:1",
            True,
        )
        assert (record.aliases, kept.tags, record.last_number, list(record.living())) == ({}, {}, 2, [1])
        assert [change.what for change in record.changes[-2:]] == ["alias:champion", "deleted"]

    def test_a_model_made_again_goes_on(self) -> None:
        record = made(versions=2)
        edit(record).delete_model()
        assert (record.is_deleted, record.living()) == (True, {})
        edit(record, now=2000).create_model("new", {"b": "2"}, 1500)
        assert (record.is_deleted, record.description, record.tags) == (False, "new", {"b": "2"})
        assert (record.last_number, record.group_created, record.created) == (2, 1500, 2000)


class TestRecords:
    def test_a_record_comes_back(self, records: Records) -> None:
        record = made(versions=2)
        assert records.write("wine", record, None)
        found = records.read("wine")
        assert found is not None
        assert found[0] == record

    def test_nothing_is_there_at_first(self, records: Records) -> None:
        assert records.read("wine") is None
        assert list(records.read_many(["wine", "beer"])) == [("wine", None), ("beer", None)]

    def test_who_is_slower_is_told(self, records: Records) -> None:
        records.write("wine", made(), None)
        assert not records.write("wine", made(), None)
        held = records.read("wine")
        assert held is not None
        assert records.write("wine", held[0], held[1])
        assert not records.write("wine", held[0], held[1])

    @pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
    def test_half_a_character_is_refused(self, records: Records, text: str) -> None:
        record = made()
        with pytest.raises(Rejected, match="half a character"):
            records.encoded(record, beside=(text,))
        edit(record).set_tags(None, {"t": text})
        with pytest.raises(Rejected, match="half a character"):
            records.encoded(record)

    def test_a_record_that_grows_too_large_is_refused(
        self, records: Records, objects: Objects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(registry_records, "RECORD_BYTES_MAX", 10_000)
        record = made()
        edit(record).set_tags(None, {"t": "v" * 10_000})
        with pytest.raises(Rejected, match="more than 10,000"):
            records.write("wine", record, None)
        assert objects.held == {}

    @pytest.mark.parametrize(
        "data", [b"", b"{", b"[]", b'{"name": 1}', b"\xff", b'{"name": "wine", "versions": {"a": 1}}']
    )
    def test_a_damaged_record_is_told(self, records: Records, objects: Objects, data: bytes) -> None:
        objects.put("registry/wine/model.json", data)
        with pytest.raises(Unavailable, match="damaged") as caught:
            records.read("wine")
        assert "registry/wine/model.json" in str(caught.value)

    def test_a_record_of_a_newer_program_is_left_alone(self, records: Records, objects: Objects) -> None:
        objects.put("registry/wine/model.json", b'{"format": 2, "name": "wine", "more": {}}')
        with pytest.raises(Unavailable, match="newer trackbridge"):
            records.read("wine")

    def test_what_a_newer_program_of_this_format_adds_is_passed_over(
        self, records: Records, objects: Objects
    ) -> None:
        objects.put("registry/wine/model.json", b'{"name": "wine", "more": {}}')
        found = records.read("wine")
        assert found is not None
        assert found[0].name == "wine"


class TestLongHistories:
    def grown(self, records: Records, changes: int) -> ModelRecord:
        record, match = made(), None
        for number in range(changes):
            edit(record).set_tags(1, {"t": str(number)})
            if number % 250 == 249 or number == changes - 1:
                assert records.write("wine", record, match)
                held = records.read("wine")
                assert held is not None
                record, match = held
        return record

    def test_the_oldest_changes_are_moved_out_and_read_back(self, records: Records, objects: Objects) -> None:
        record = self.grown(records, 3000)
        assert len(record.changes) <= CHANGES_MAX
        assert len(record.moved) > 1
        sequences = [change.sequence for change in records.changes(record)]
        assert sequences == list(range(3002, 0, -1))
        assert len(objects.held) == 1 + len(record.moved)

    def test_a_part_that_is_missing_is_told(self, records: Records, objects: Objects) -> None:
        record = self.grown(records, 1200)
        del objects.held[record.moved[0]]
        with pytest.raises(Unavailable, match="part of the history is missing"):
            list(records.changes(record))


class TestProjection:
    def test_an_alias_of_a_deleted_version_is_not_told(self) -> None:
        record, group = made(), Groups("", {}).of("wine")
        record.aliases = {"champion": 1, "gone": 7}
        assert group_tags(record, group, ADDRESS) == {"trackbridge:record": ADDRESS, "alias:champion": "1"}

    def test_tags_of_a_user_cannot_stand_for_ours(self) -> None:
        record, group = made(), Groups("", {}).of("wine")
        record.tags = {"trackbridge:record": "x", "alias:champion": "7", "aws:a": "1", "plain": "2"}
        assert group_tags(record, group, ADDRESS) == {"trackbridge:record": ADDRESS, "plain": "2"}
        item = VersionRecord(package="", source="s3://b/m/", tags={"trackbridge.record": "x", "plain": "2"})
        told = metadata(item, ADDRESS)
        assert (told["trackbridge.record"], told["plain"]) == (ADDRESS, "2")

    def test_an_alias_is_told_by_the_number_that_sagemaker_gave(self) -> None:
        record, group = made(), Groups("", {}).of("wine")
        record.versions[5] = VersionRecord(package="arn:wine/2", source="s3://b/m/")
        record.aliases = {"champion": 5}
        assert group_tags(record, group, ADDRESS)["alias:champion"] == "2"

    def test_a_token_stands_for_one_request_in_one_group(self) -> None:
        group = Groups("", {}).of("wine")

        def token(key: str = "k", made: int = 1, address: str = ADDRESS, **payload: Any) -> str:
            request = creation(group, version_record(SPEC, key), address=address, made=made, payload=payload)
            return str(request["ClientToken"])

        others = [token(key="l"), token(made=2), token(address="s3://other"), token(SourceUri="s3://b/n")]
        assert token() == token()
        assert len({token(), *others}) == 5
        assert len(token()) <= 36
