"""Two registries kept in step: no edit is lost silently, and they agree when edits stop."""

from __future__ import annotations

import io
from itertools import count
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from tests.support.memory_adapter import MemoryAdapter
from tests.support.migrations import NOW_MS, pair_of, patient_side
from trackbridge.domain.batches import Batch, Setting
from trackbridge.domain.model_digest import digest_of_members
from trackbridge.domain.models import Approval, ModelVersionSpec, Origin
from trackbridge.domain.runs import RunStatus
from trackbridge.errors import Conflict
from trackbridge.operations.migrate.merging import Policy, merge
from trackbridge.operations.migrate.mirror import (
    MirrorResult,
    apply_mirror,
    model_state,
    plan_mirror,
    version_state,
)
from trackbridge.operations.migrate.mirror_plans import MirrorAsked, plan_to_save
from trackbridge.operations.migrate.pair import Pair
from trackbridge.operations.migrate.registry_plans import find_model, versions_by_origin
from trackbridge.operations.migrate.side import Side
from trackbridge.ports.registry import ModelRegistry
from trackbridge.testing.contracts.samples import digest_of, file_of, run_spec


def sides(folder: Path) -> Pair:
    left, right = (patient_side(MemoryAdapter(), f"memory:{name}") for name in ("left", "right"))
    return pair_of(left, right, folder / "home")


def register(side: Side, folder: Path, name: str, content: bytes) -> str:
    """Register a version of its own run; return its number."""
    spec = run_spec(name, experiment=f"of {side.uri}")
    side.tracking.open_run(spec)
    assert side.artifacts is not None
    assert side.registry is not None
    side.artifacts.put(
        spec.run_id, "model/data", file_of(folder, content), digest=digest_of(content), size=len(content)
    )
    side.tracking.close_run(spec.run_id, status=RunStatus.FINISHED, end_time=spec.start_time + 1)
    side.registry.ensure_model(name)
    digest = digest_of_members([("data", io.BytesIO(content))])
    source = f"bridge-artifacts:/{spec.run_id}/model"
    spec_of = ModelVersionSpec(name=name, source=source, digest=digest, run_id=spec.run_id)
    return side.registry.create_version(spec_of, key=spec.run_id).version


def sync(pair: Pair, policy: Policy = Policy.FAIL) -> MirrorResult:
    return apply_mirror(pair, plan_mirror(pair, two_way=True, policy=policy), user="tester")


def state_of(side: Side) -> dict[str, object]:
    """Return everything that both registries are to agree on, by origins."""
    found: dict[str, object] = {}
    for model in side.models():
        versions = versions_by_origin(side, model.name)
        held = find_model(side, model.name)
        assert held is not None
        found[model.name] = model_state(held, versions)
        for origin, version in versions.items():
            found[f"{model.name} {origin}"] = (version_state(version), version.digest)
    return found


def test_versions_of_either_side_come_to_the_other(tmp_path: Path) -> None:
    pair = sides(tmp_path)
    register(pair.source, tmp_path, "wine", b"left")
    register(pair.target, tmp_path, "wine", b"right")
    register(pair.target, tmp_path, "beer", b"beer")
    result = sync(pair)
    assert result.is_complete
    assert result.copied == 3
    assert state_of(pair.source) == state_of(pair.target)
    assert not plan_mirror(pair, two_way=True).changes_something
    assert [version.version for version in pair.source.versions("wine")] == ["1", "2"]


def test_edits_of_either_side_come_to_the_other(tmp_path: Path) -> None:
    pair = sides(tmp_path)
    register(pair.source, tmp_path, "wine", b"left")
    sync(pair)
    left, right = pair.source.registry, pair.target.registry
    assert left is not None
    assert right is not None
    left.set_stage("wine", "1", stage="Production")
    left.set_alias("wine", "champion", version="1")
    right.set_approval("wine", "1", approval=Approval.APPROVED)
    right.set_tags("wine", None, tags={"owner": "me"})
    right.set_description("wine", "1", description="good")
    assert sync(pair).is_complete
    assert state_of(pair.source) == state_of(pair.target)
    version = left.get_version("wine", "1")
    assert (version.stage, version.approval, version.description) == ("Production", Approval.APPROVED, "good")
    assert left.get_model("wine").tags == {"owner": "me"}
    assert right.get_model("wine").aliases == {"champion": "1"}
    right.set_alias("wine", "champion", version=None)
    right.set_tags("wine", None, tags={"owner": None})
    assert sync(pair).is_complete
    assert left.get_model("wine").aliases == {}
    assert left.get_model("wine").tags == {}
    changes = [change for change in pair.source.changes("wine") if change.what == "alias:champion"]
    assert changes[-1].why == "in step with memory:right"


def test_a_clash_is_shown_with_its_base_and_nothing_is_changed(tmp_path: Path) -> None:
    pair = sides(tmp_path)
    register(pair.source, tmp_path, "wine", b"left")
    sync(pair)
    left, right = pair.source.registry, pair.target.registry
    assert left is not None
    assert right is not None
    left.set_stage("wine", "1", stage="Production")
    right.set_stage("wine", "1", stage="Archived")
    left.set_description("wine", "1", description="good")
    plan = plan_mirror(pair, two_way=True)
    (clash,) = plan.clashes
    assert (clash.what, clash.base, clash.source, clash.target) == ("stage", "None", "Production", "Archived")
    with pytest.raises(Conflict, match="stage was changed on both sides"):
        apply_mirror(pair, plan)
    assert right.get_version("wine", "1").description == ""


@pytest.mark.parametrize(
    ("policy", "stage"),
    [(Policy.SOURCE, "Production"), (Policy.TARGET, "Archived"), (Policy.KEEP_BOTH, "Production")],
)
def test_a_policy_decides_a_clash(tmp_path: Path, policy: Policy, stage: str) -> None:
    pair = sides(tmp_path)
    register(pair.source, tmp_path, "wine", b"left")
    sync(pair)
    for side, chosen in ((pair.source, "Production"), (pair.target, "Archived")):
        assert side.registry is not None
        side.registry.set_stage("wine", "1", stage=chosen)
    assert sync(pair, policy).is_complete
    assert state_of(pair.source) == state_of(pair.target)
    (version,) = pair.target.versions("wine")
    assert version.stage == stage
    kept = {"bridge.conflict.stage": "Archived"} if policy is Policy.KEEP_BOTH else {}
    assert version.tags == kept


def test_the_newer_is_told_field_by_field(tmp_path: Path) -> None:
    ticks = count(NOW_MS)
    left, right = (
        patient_side(MemoryAdapter(clock_ms=lambda: next(ticks)), f"memory:{name}")
        for name in ("left", "right")
    )
    pair = pair_of(left, right, tmp_path / "home")
    register(left, tmp_path, "wine", b"1")
    sync(pair)
    assert left.registry is not None
    assert right.registry is not None
    left.registry.set_stage("wine", "1", stage="Production")
    right.registry.set_stage("wine", "1", stage="Archived")
    right.registry.set_tags("wine", "1", tags={"a": "right"})
    left.registry.set_tags("wine", "1", tags={"a": "left"})
    assert sync(pair, Policy.NEWER).is_complete
    (version,) = left.versions("wine")
    assert (version.stage, version.tags["a"]) == ("Archived", "left")
    assert state_of(left) == state_of(right)


def test_without_any_time_the_newer_is_not_guessed() -> None:
    clash = {"base": {"a": "0"}, "source": {"a": "1"}, "target": {"a": "2"}}
    merged = merge("x", **clash, policy=Policy.NEWER)  # type: ignore[arg-type]
    assert len(merged.clashes) == 1
    assert (merged.to_source, merged.to_target) == ({}, {})


def test_what_looks_like_a_secret_is_in_no_ledger_and_in_no_plan(tmp_path: Path) -> None:
    pair = sides(tmp_path)
    register(pair.source, tmp_path, "wine", b"1")
    left, right = pair.source.registry, pair.target.registry
    assert left is not None
    assert right is not None
    left.set_tags("wine", None, tags={"api_token": "hunter2hunter2"})
    plan = plan_mirror(pair, two_way=True)
    saved = plan_to_save(plan, MirrorAsked(two_way=True), source="a", target="b", time_ms=1)
    assert b"hunter2" not in msgspec.json.encode(saved)
    assert sync(pair).is_complete
    left.set_tags("wine", None, tags={"api_token": "hunter3hunter3"})
    plan = plan_mirror(pair, two_way=True)
    assert b"hunter3" not in msgspec.json.encode([change for _, change in plan.changes()])
    assert sync(pair).is_complete  # what only one side has changed is no conflict
    assert right.get_model("wine").tags["api_token"] == "hunter3hunter3"
    assert b"hunter" not in msgspec.json.encode(pair.ledger.agreed())
    right.set_tags("wine", None, tags={"api_token": "hunter4hunter4"})
    left.set_tags("wine", None, tags={"api_token": "hunter5hunter5"})
    assert [clash.what for clash in plan_mirror(pair, two_way=True).clashes] == ["tag:api_token"]


def test_what_was_deleted_on_one_side_does_not_come_back(tmp_path: Path) -> None:
    pair = sides(tmp_path)
    for content in (b"1", b"2"):
        register(pair.source, tmp_path, "wine", content)
    sync(pair)
    assert pair.target.registry is not None
    pair.target.registry.delete_version("wine", "1")
    plan = plan_mirror(pair, two_way=True)
    assert not plan.changes_something
    assert "was deleted at the target" in plan.notes[0]
    assert apply_mirror(pair, plan).is_complete
    assert [version.version for version in pair.target.versions("wine")] == ["2"]


def test_one_way_leaves_the_source_alone(tmp_path: Path) -> None:
    pair = sides(tmp_path)
    register(pair.source, tmp_path, "wine", b"left")
    register(pair.target, tmp_path, "wine", b"right")
    before = state_of(pair.source)
    assert apply_mirror(pair, plan_mirror(pair, two_way=False)).is_complete
    assert state_of(pair.source) == before
    assert len(pair.target.versions("wine")) == 2


def test_an_edit_between_plan_and_application_is_not_overwritten(tmp_path: Path) -> None:
    pair = sides(tmp_path)
    register(pair.source, tmp_path, "wine", b"left")
    sync(pair)
    left, right = pair.source.registry, pair.target.registry
    assert left is not None
    assert right is not None
    left.set_stage("wine", "1", stage="Production")
    plan = plan_mirror(pair, two_way=True)
    right.set_stage("wine", "1", stage="Archived")
    result = apply_mirror(pair, plan)
    assert [edit.what for edit in result.skipped] == ["stage"]
    assert right.get_version("wine", "1").stage == "Archived"
    assert [clash.what for clash in plan_mirror(pair, two_way=True).clashes] == ["stage"]


@pytest.mark.parametrize("what", ["stage", "alias:champion", "tag:a"])
def test_an_edit_in_the_moment_of_our_own_stands(tmp_path: Path, what: str) -> None:
    """It comes after we have looked and before we write: the history of the registry tells."""
    pair = sides(tmp_path)
    for content in (b"1", b"2"):
        register(pair.source, tmp_path, "wine", content)
    sync(pair)

    def edit(side: Side, number: str, value: str) -> None:
        assert side.registry is not None
        if what == "stage":
            side.registry.set_stage("wine", "1", stage=value)
        elif what == "tag:a":
            side.registry.set_tags("wine", None, tags={"a": value})
        else:
            side.registry.set_alias("wine", "champion", version=number)

    edit(pair.source, "1", "Production")
    plan = plan_mirror(pair, two_way=True)
    points: list[str] = []

    def somebody(name: str) -> None:
        points.append(name)
        if name == "read":
            edit(pair.target, "2", "Archived")

    result = apply_mirror(pair, plan, user="tester", on_point=somebody)
    assert points.count("read") == 1
    assert [edit.what for edit in result.skipped] == [what]
    (clash,) = plan_mirror(pair, two_way=True).clashes
    assert clash.what == what
    assert clash.source != clash.target


def test_a_model_that_was_deleted_on_one_side_does_not_come_back(tmp_path: Path) -> None:
    pair = sides(tmp_path)
    register(pair.source, tmp_path, "wine", b"1")
    sync(pair)
    assert pair.source.registry is not None
    pair.source.registry.delete_model("wine")
    plan = plan_mirror(pair, two_way=True)
    assert not plan.changes_something
    assert any("model wine was deleted at the source" in note for note in plan.notes)
    assert apply_mirror(pair, plan).is_complete
    register(pair.target, tmp_path, "wine", b"2")  # what is registered afterwards is new
    assert sync(pair).is_complete
    assert len(pair.source.versions("wine")) == 1


def test_one_way_takes_away_what_came_along_and_was_taken_away(tmp_path: Path) -> None:
    pair = sides(tmp_path)
    register(pair.source, tmp_path, "wine", b"1")
    left, right = pair.source.registry, pair.target.registry
    assert left is not None
    assert right is not None
    left.set_tags("wine", None, tags={"a": "1", "b": "1"})
    assert apply_mirror(pair, plan_mirror(pair, two_way=False)).is_complete
    right.set_tags("wine", None, tags={"b": "2", "own": "x"})
    left.set_tags("wine", None, tags={"a": None, "b": None})
    assert apply_mirror(pair, plan_mirror(pair, two_way=False)).is_complete
    assert right.get_model("wine").tags == {"b": "2", "own": "x"}
    assert [clash.what for clash in plan_mirror(pair, two_way=True).clashes] == ["tag:b"]


def test_a_copy_that_fails_keeps_no_edit_from_being_agreed_on(tmp_path: Path) -> None:
    pair = sides(tmp_path)
    register(pair.source, tmp_path, "wine", b"1")
    sync(pair)
    left, right = pair.source.registry, pair.target.registry
    assert left is not None
    assert right is not None
    number = register(pair.source, tmp_path, "wine", b"2")
    lost = left.get_version("wine", number).run_id
    left.set_stage("wine", "1", stage="Production")
    plan = plan_mirror(pair, two_way=True)
    left.set_tags("wine", number, tags={"later": "x"})
    result = apply_mirror(pair, plan)
    assert not result.is_complete
    assert any("has changed at the source" in line for line in result.remaining)
    left.set_stage("wine", "1", stage="Archived")  # no clash: Production was agreed on
    assert sync(pair).is_complete
    assert right.get_version("wine", "1").stage == "Archived"
    assert right.get_version("wine", "2").run_id == lost


def test_two_way_leaves_runs_and_experiments_where_they_are_at_home(tmp_path: Path) -> None:
    pair = sides(tmp_path)
    spec = run_spec("going on", experiment="training")
    pair.source.tracking.open_run(spec)
    assert pair.source.registry is not None
    register(pair.source, tmp_path, "wine", b"1")
    source = f"bridge-artifacts:/{spec.run_id}/model"
    assert pair.source.artifacts is not None
    pair.source.artifacts.put(
        spec.run_id, "model/data", file_of(tmp_path, b"2"), digest=digest_of(b"2"), size=1
    )
    digest = digest_of_members([("data", io.BytesIO(b"2"))])
    made = ModelVersionSpec(name="wine", source=source, digest=digest, run_id=spec.run_id)
    pair.source.registry.create_version(made, key="going on")
    assert sync(pair).is_complete
    home = pair.target.tracking.ensure_experiment("training", experiment_id="", tags={"owner": "right"})
    pair.source.tracking.ensure_experiment(
        "training", experiment_id=home.experiment_id, tags={"owner": "left"}
    )
    register(pair.target, tmp_path, "wine", b"3")
    pair.source.tracking.write(Batch(run_id=spec.run_id, tags=[Setting("progress", "5", 1)]))
    plan = plan_mirror(pair, two_way=True)
    written_back = [change.subject for side, change in plan.changes() if side == "source"]
    assert f"run {spec.run_id}" not in written_back
    assert apply_mirror(pair, plan).is_complete
    assert pair.source.tracking.get_run(spec.run_id).data.tags["progress"] == "5"
    owners = [
        next(item.tags["owner"] for item in side.experiments() if item.name == "training")
        for side in (pair.source, pair.target)
    ]
    assert owners == ["left", "right"]


@pytest.mark.parametrize(
    ("base", "source", "target", "to_source", "to_target", "clashes"),
    [
        ({"a": "1"}, {"a": "2"}, {"a": "1"}, {}, {"a": "2"}, 0),
        ({"a": "1"}, {"a": "1"}, {"a": "2"}, {"a": "2"}, {}, 0),
        ({"a": "1"}, {"a": "2"}, {"a": "2"}, {}, {}, 0),
        ({"a": "1"}, {}, {"a": "1"}, {}, {"a": None}, 0),
        ({"a": "1"}, {}, {"a": "2"}, {}, {}, 1),
        ({}, {"a": "1"}, {}, {}, {"a": "1"}, 0),
        (None, {"a": "1"}, {"a": "2"}, {}, {}, 1),
        (None, {"stage": "None"}, {"stage": "Production"}, {"stage": "Production"}, {}, 0),
        ({"stage": "Production"}, {"stage": "None"}, {"stage": "Production"}, {}, {"stage": "None"}, 0),
    ],
)
def test_merging(
    base: dict[str, str | None] | None,
    source: dict[str, str | None],
    target: dict[str, str | None],
    to_source: dict[str, str | None],
    to_target: dict[str, str | None],
    clashes: int,
) -> None:
    merged = merge("x", base, source, target)
    assert (merged.to_source, merged.to_target, len(merged.clashes)) == (to_source, to_target, clashes)


Fields = dict[tuple[str, str], "str | None"]


def fields_of(side: Side) -> Fields:
    """Return every field of a registry by its item and its name; the item of a model is ""."""
    versions = versions_by_origin(side, "m")
    held = find_model(side, "m")
    states = {str(origin): version_state(version) for origin, version in versions.items()}
    states[""] = model_state(held, versions) if held is not None else {}
    return {(item, what): value for item, state in states.items() for what, value in state.items()}


def base_of(pair: Pair) -> Fields:
    """Return what was agreed on last."""
    found: Fields = {}
    for key, state in pair.ledger.agreed().items():
        origin = msgspec.json.decode(key, type=tuple[str, Origin | None])[1]
        found.update({(str(origin) if origin else "", what): value for what, value in state.items()})
    return found


def expected(
    base: Fields, left: Fields, right: Fields, policy: Policy
) -> tuple[Fields, set[tuple[str, str]]]:
    """Return what both sides are to have, worked out here once more, and which fields clash."""
    items = {item for item, _ in left}, {item for item, _ in right}
    result: Fields = {}
    clashes: set[tuple[str, str]] = set()
    for field in {*base, *left, *right}:
        mine, theirs = left.get(field), right.get(field)
        if not (field[0] in items[0] and field[0] in items[1]):  # a version that only one side has
            if field[0] in items[0] or field[0] in items[1]:
                result[field] = mine if field[0] in items[0] else theirs
            continue
        nothing = (None, "", "None", "pending") if field not in base else (base[field],)
        if mine == theirs or mine in nothing:
            result[field] = theirs
        elif theirs in nothing:
            result[field] = mine
        else:
            clashes.add(field)
            result[field] = theirs if policy is Policy.TARGET else mine
    return result, clashes


class TwoRegistries(RuleBasedStateMachine):
    """Random edits on both sides, also between plan and application and during it, and syncs."""

    folder: Path

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    @initialize()
    def begin(self) -> None:
        import tempfile

        self.folder = Path(tempfile.mkdtemp(prefix="trackbridge-mirror-"))
        self.pair = sides(self.folder)
        register(self.pair.source, self.folder, "m", b"first")
        assert sync(self.pair).is_complete

    def side(self, is_left: bool) -> Side:
        return self.pair.source if is_left else self.pair.target

    def registry(self, is_left: bool) -> ModelRegistry:
        found = self.side(is_left).registry
        assert found is not None
        return found

    @rule(is_left=st.booleans())
    def add_version(self, is_left: bool) -> None:
        self.count += 1
        register(self.side(is_left), self.folder, "m", f"{self.count}".encode())

    @rule(is_left=st.booleans(), key=st.sampled_from("ab"), value=st.sampled_from(["1", "2", "3", None]))
    def tag(self, is_left: bool, key: str, value: str | None) -> None:
        self.registry(is_left).set_tags("m", None, tags={key: value})

    @rule(
        is_left=st.booleans(),
        index=st.integers(0, 3),
        stage=st.sampled_from(["None", "Staging", "Production"]),
    )
    def stage(self, is_left: bool, index: int, stage: str) -> None:
        versions = self.side(is_left).versions("m")
        self.registry(is_left).set_stage("m", versions[index % len(versions)].version, stage=stage)

    @rule(is_left=st.booleans(), index=st.integers(0, 3), remove=st.booleans())
    def alias(self, is_left: bool, index: int, remove: bool) -> None:
        versions = self.side(is_left).versions("m")
        number = None if remove else versions[index % len(versions)].version
        self.registry(is_left).set_alias("m", "champion", version=number)

    @rule(is_left=st.booleans(), index=st.integers(-1, 3))
    def new_version_with_the_alias(self, is_left: bool, index: int) -> None:
        """Both sides may have moved the alias, one of them to a version that the other has not."""
        self.add_version(is_left)
        newest = self.side(is_left).versions("m")[-1].version
        self.registry(is_left).set_alias("m", "champion", version=newest)
        if index >= 0:
            self.alias(not is_left, index, remove=False)

    @rule(policy=st.sampled_from([Policy.FAIL, Policy.SOURCE, Policy.TARGET, Policy.KEEP_BOTH]))
    def sync_them(self, policy: Policy) -> None:
        before = fields_of(self.pair.source), fields_of(self.pair.target)
        base = base_of(self.pair)
        wanted, clashes = expected(base, *before, policy)
        plan = plan_mirror(self.pair, two_way=True, policy=policy)
        assert len(plan.clashes) == (len(clashes) if policy is Policy.FAIL else 0)
        if plan.clashes:
            with pytest.raises(Conflict):
                apply_mirror(self.pair, plan)
            assert (fields_of(self.pair.source), fields_of(self.pair.target)) == before
            assert base_of(self.pair) == base
            return
        assert apply_mirror(self.pair, plan).is_complete
        after = fields_of(self.pair.source)
        assert after == fields_of(self.pair.target)
        if policy is Policy.KEEP_BOTH:
            for item, what in clashes:
                assert after[item, f"tag:bridge.conflict.{what}"] == (before[1].get((item, what)) or "")
        for field, value in wanted.items():
            if not field[1].startswith("tag:bridge.conflict."):
                assert after.get(field) == value, field

    @rule(
        key=st.sampled_from("ab"),
        value=st.sampled_from(["4", "5"]),
        is_left=st.booleans(),
        moves_alias=st.booleans(),
        at=st.integers(0, 12),
    )
    def edit_meanwhile(self, key: str, value: str, is_left: bool, moves_alias: bool, at: int) -> None:
        """Somebody edits after the plan or during its application: the edit stands, and is no agreement."""
        plan = plan_mirror(self.pair, two_way=True)
        registry, side, points = self.registry(is_left), self.side(is_left), 0
        chosen = registry.list_versions("m").items[0].version

        def somebody(_: str = "") -> None:
            nonlocal points
            points += 1
            if points != at + 1:
                return
            if moves_alias:
                registry.set_alias("m", "champion", version=chosen)
            else:
                registry.set_tags("m", None, tags={key: value})

        somebody()
        if plan.clashes:
            return
        base = self.pair.ledger.agreed()
        apply_mirror(self.pair, plan, user="tester", on_point=somebody)
        if points <= at:
            return
        what = "alias:champion" if moves_alias else f"tag:{key}"
        if moves_alias:
            assert registry.get_model("m").aliases["champion"] == chosen
        else:
            assert registry.get_model("m").tags[key] == value
        subject = msgspec.json.encode(["m", None]).decode()
        agreed = self.pair.ledger.agreed()[subject].get(what)
        planned = plan.agreed.get(subject, {}).get(what)
        assert agreed in (planned, base.get(subject, {}).get(what))
        assert fields_of(side)["", what] is not None

    def teardown(self) -> None:
        import shutil

        if not hasattr(self, "pair"):
            return
        for _ in range(3):  # edits have stopped: they agree
            sync(self.pair, Policy.SOURCE)
        assert state_of(self.pair.source) == state_of(self.pair.target)
        assert not plan_mirror(self.pair, two_way=True).changes_something
        self.pair.ledger.close()
        shutil.rmtree(self.folder)


def test_random_edits_on_both_sides_are_never_lost_silently() -> None:
    run_state_machine_as_test(
        TwoRegistries,
        settings=settings(
            max_examples=30,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        ),
    )
