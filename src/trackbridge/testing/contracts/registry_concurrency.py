"""The registry contract: every method may be called from any thread."""

from __future__ import annotations

import itertools

from trackbridge.domain.models import Approval, ModelVersion
from trackbridge.errors import Conflict
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.base import requires
from trackbridge.testing.contracts.registry_base import DIGEST, RegistryTests, own, told
from trackbridge.testing.contracts.samples import digest_of
from trackbridge.testing.contracts.tracking_concurrency import THREADS, at_once, flatten

ROUNDS = 3


class RegistryConcurrencyTests(RegistryTests):
    """Threads that do the same, or different things, at the same time."""

    def create_version(self, key: str, *, digest: str = DIGEST) -> ModelVersion:
        return self.registry.create_version(self.spec(digest=digest), key=key)

    def test_the_same_model_ensured_by_all_is_one(self) -> None:
        found = at_once(lambda number: self.registry.ensure_model("wine", description=str(number)))
        assert len({model.description for model in found}) == 1, "one of them made it"
        assert self.names() == ["wine"]

    def test_models_ensured_by_each_are_all_there(self) -> None:
        names = at_once(lambda number: self.ensure(f"model-{number}"))
        assert self.names() == sorted(names)

    def test_versions_created_with_one_key_are_one(self) -> None:
        self.ensure()

        def create(_: int) -> list[str]:
            return [self.create_version(f"key {number}").version for number in range(ROUNDS)]

        created = at_once(create)
        assert all(versions == created[0] for versions in created)
        assert self.versions() == [str(number) for number in range(ROUNDS, 0, -1)]

    def test_versions_created_with_different_keys_have_different_numbers(self) -> None:
        self.ensure()

        def create(thread: int) -> list[str]:
            return [self.create_version(f"{thread} {number}").version for number in range(ROUNDS)]

        created = flatten(at_once(create))
        assert len(set(created)) == THREADS * ROUNDS
        assert self.versions() == [str(number) for number in range(THREADS * ROUNDS, 0, -1)]

    def test_of_different_contents_with_one_key_one_wins(self) -> None:
        self.ensure()

        def create(number: int) -> str | None:
            try:
                return self.create_version("k", digest=digest_of(str(number).encode())).digest
            except Conflict:
                return None

        won = [digest for digest in at_once(create) if digest is not None]
        assert len(won) == 1
        assert [item.digest for item in self.registry.list_versions("wine")] == won

    @requires(Feature.REGISTRY_ALIAS)
    def test_an_alias_moved_by_all_points_at_one_of_their_versions(self) -> None:
        for _ in range(THREADS):
            self.create()

        def move(number: int) -> None:
            for _ in range(ROUNDS):
                self.registry.set_alias("wine", "champion", version=str(number + 1))

        at_once(move)
        pointed = [item.version for item in self.registry.list_versions("wine") if "champion" in item.aliases]
        assert [self.model().aliases["champion"]] == pointed

    @requires(Feature.REGISTRY_ALIAS, Feature.REGISTRY_HISTORY)
    def test_the_history_of_an_alias_moved_by_all_has_no_gap(self) -> None:
        for _ in range(THREADS):
            self.create()
        at_once(lambda number: self.registry.set_alias("wine", "champion", version=str(number + 1)))
        moves = [told(change)[2:] for change in self.changes() if change.what == "alias:champion"][::-1]
        places = [None, *dict.fromkeys(after for _, after in moves)]
        assert set(moves) == set(itertools.pairwise(places))
        assert self.model().aliases == {"champion": places[-1]}

    def test_tags_set_by_each_are_all_there(self) -> None:
        self.create()
        at_once(
            lambda number: self.registry.set_tags(
                "wine", "1", tags={f"t{number}": str(number), "shared": str(number)}
            )
        )
        tags = own(self.version().tags)
        assert all(tags[f"t{number}"] == str(number) for number in range(THREADS))
        assert tags["shared"] in map(str, range(THREADS))

    @requires(Feature.REGISTRY_STAGE, Feature.REGISTRY_APPROVAL)
    def test_changes_of_different_kinds_at_once_are_all_there(self) -> None:
        self.create()

        def change(number: int) -> None:
            if number % 3 == 0:
                self.registry.set_stage("wine", "1", stage="Staging")
            elif number % 3 == 1:
                self.registry.set_approval("wine", "1", approval=Approval.APPROVED)
            else:
                self.registry.set_tags("wine", "1", tags={"a": "1"})

        at_once(change)
        found = self.version()
        assert (found.stage, found.approval, own(found.tags)) == ("Staging", Approval.APPROVED, {"a": "1"})

    @requires(Feature.REGISTRY_DELETE)
    def test_a_version_deleted_by_all_while_others_are_created(self) -> None:
        self.create()

        def work(number: int) -> str | None:
            if number % 2:
                return self.create_version(str(number)).version
            self.registry.delete_version("wine", "1")
            return None

        created = [version for version in at_once(work) if version is not None]
        assert sorted(self.versions()) == sorted(created)
        assert "1" not in created

    def test_reading_while_writing_sees_whole_versions(self) -> None:
        self.create(tags={"a": "0", "b": "0"})

        def work(number: int) -> None:
            if number % 2:
                for value in map(str, range(ROUNDS)):
                    self.registry.set_tags("wine", "1", tags={"a": value, "b": value})
                return
            for _ in range(ROUNDS):
                tags = own(self.version().tags)
                if self.capabilities.supports(Feature.REGISTRY_ATOMIC_TAGS):
                    assert tags["a"] == tags["b"], "all tags of one call or none"
                assert self.versions() == ["1"]

        at_once(work)
