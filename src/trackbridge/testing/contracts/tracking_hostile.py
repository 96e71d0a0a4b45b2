"""The tracking contract: names and values that break stores are kept exactly or refused, never changed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress

from trackbridge.domain.runs import TAG_NAME, DatasetInput, Run, RunSpec
from trackbridge.errors import Rejected
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.base import requires
from trackbridge.testing.contracts.samples import HOSTILE_TEXTS, batch_of, bits_of, run_spec
from trackbridge.testing.contracts.tracking_base import CONTRACT_EXPERIMENT_ID, TrackingTests, same_run


class HostileTests(TrackingTests):
    """Hostile keys and values everywhere."""

    def test_a_plain_value_of_the_greatest_declared_length_is_kept(self) -> None:
        run_id = self.open_run()
        param = "p" * (self.limits.param_value_chars_max or 20_000)
        tag = "t" * (self.limits.tag_value_chars_max or 20_000)
        self.write_all(batch_of(run_id, params=[("k", param)]))
        self.write_all(batch_of(run_id, tags=[("k", tag)]))
        data = self.store.get_run(run_id).data
        assert (data.params["k"], data.tags["k"]) == (param, tag)

    def test_a_value_longer_than_the_limit_is_refused_or_kept(self) -> None:
        run_id = self.open_run()
        param = "p" * ((self.limits.param_value_chars_max or 20_000) + 1)
        tag = "t" * ((self.limits.tag_value_chars_max or 20_000) + 1)
        param_accepted = self.is_accepted(batch_of(run_id, params=[("k", param)]))
        tag_accepted = self.is_accepted(batch_of(run_id, tags=[("k", tag)]))
        data = self.store.get_run(run_id).data
        assert data.params.get("k") == (param if param_accepted else None)
        assert data.tags.get("k") == (tag if tag_accepted else None)
        assert param_accepted or self.limits.param_value_chars_max, "no limit of the length is declared"
        assert tag_accepted or self.limits.tag_value_chars_max, "no limit of the length is declared"

    def test_a_key_of_the_greatest_declared_length_is_kept(self) -> None:
        run_id = self.open_run()
        key = "k" * (self.limits.key_chars_max or 10_000)
        self.write_all(
            batch_of(run_id, metrics=[(key, 1.0, 0, self.now)], params=[(key, "1")], tags=[(key, "1")])
        )
        data = self.store.get_run(run_id).data
        assert (data.metrics, data.params, data.tags[key]) == ({key: 1.0}, {key: "1"}, "1")

    def test_a_hostile_value_of_a_param(self) -> None:
        run_id, kept = self.open_run(), dict[str, str]()
        for name, text in HOSTILE_TEXTS.items():
            batch = batch_of(run_id, params=[(name, text)])
            accepted = self.is_accepted(batch)
            assert self.is_accepted(batch) == accepted, f"a repetition changes nothing: {name}"
            kept |= {name: text} if accepted else {}
        assert self.store.get_run(run_id).data.params == kept

    def test_a_hostile_value_of_a_tag(self) -> None:
        run_id = self.open_run()
        kept = dict(self.store.get_run(run_id).data.tags)
        for name, text in HOSTILE_TEXTS.items():
            accepted = self.is_accepted(batch_of(run_id, tags=[(name, text)]))
            kept |= {name: text} if accepted else {}
        assert self.store.get_run(run_id).data.tags == kept

    def test_a_hostile_key(self) -> None:
        """Each has a value of its own, so that none can be taken for another."""
        run_id, now = self.open_run(), self.now
        tags = dict(self.store.get_run(run_id).data.tags)
        metrics: dict[str, float] = {}
        params: dict[str, str] = {}
        removed: list[tuple[str, None]] = []
        for number, (name, text) in enumerate(HOSTILE_TEXTS.items()):
            metric = self.is_accepted(batch_of(run_id, metrics=[(text, number + 0.5, 0, now)]))
            param = self.is_accepted(batch_of(run_id, params=[(text, name)]))
            tag = self.is_accepted(batch_of(run_id, tags=[(text, name)]))
            metrics |= {text: number + 0.5} if metric else {}
            params |= {text: name} if param else {}
            removed += [(text, None)] if tag else []
            refused = not (metric and param and tag)
            assert not (refused and self.must_hold_key(text)), f"within the declared limits: {name}"
        names = {text: name for name, text in HOSTILE_TEXTS.items()}
        data = self.store.get_run(run_id).data
        assert (data.metrics, data.params) == (metrics, params)
        assert data.tags == tags | {text: names[text] for text, _ in removed}
        if self.capabilities.supports(Feature.TRACKING_METRIC_HISTORY):
            expected = {text: [(0, now, bits_of(value))] for text, value in metrics.items()}
            assert {text: self.history(run_id, text) for text in metrics} == expected
        self.write_all(batch_of(run_id, tags=removed))
        assert self.store.get_run(run_id).data.tags == tags

    def must_hold_key(self, key: str) -> bool:
        """Tell whether the declared limits promise that a key is taken; NUL and surrogates never are."""
        if "\0" in key or "\ud800" in key:
            return False
        pattern, most = self.limits.key_pattern, self.limits.key_chars_max
        return (most is None or len(key) <= most) and (pattern is None or bool(re.fullmatch(pattern, key)))

    def taken_of(self, specs: Iterable[RunSpec]) -> list[tuple[RunSpec, Run]]:
        """Open runs of the contract's experiment; return those that the store took, as it reads them.

        Of those that it refused, there is nothing.
        """
        taken = []
        for spec in specs:
            with suppress(Rejected):
                taken.append((spec, self.store.open_run(spec)))
        assert set(self.listed(CONTRACT_EXPERIMENT_ID)) == {spec.run_id for spec, _ in taken}
        read = [(spec, self.store.get_run(spec.run_id)) for spec, _ in taken]
        assert all(same_run(run, found) for (_, run), (_, found) in zip(taken, read, strict=True))
        return read

    def test_a_hostile_name_of_a_run(self) -> None:
        for spec, run in self.taken_of(run_spec(text) for text in HOSTILE_TEXTS.values()):
            assert run.info.run_name == run.data.tags[TAG_NAME] == spec.name

    def test_a_hostile_tag_of_a_new_run(self) -> None:
        tags = [{"t": text, "k " + text: "1"} for text in HOSTILE_TEXTS.values()]
        for spec, run in self.taken_of(run_spec(tags=given) for given in tags):
            assert {key: run.data.tags.get(key) for key in spec.tags} == spec.tags

    @requires(Feature.TRACKING_DATASETS)
    def test_a_hostile_data_set(self) -> None:
        run_id, kept = self.open_run(), []
        for text in HOSTILE_TEXTS.values():
            dataset = DatasetInput(
                name=text,
                digest="1",
                source_type=text,
                source=text,
                schema=text,
                profile=text,
                tags={text: text},
            )
            if self.is_accepted(batch_of(run_id, inputs=[dataset])):
                kept.append(dataset)
        found = self.store.get_run(run_id).inputs.dataset_inputs
        assert sorted(found, key=repr) == sorted(kept, key=repr)

    def test_texts_that_differ_only_in_form_stay_apart(self) -> None:
        run_id = self.open_run()
        keys = ["kéy", "ke\u0301y"]
        if not all(map(self.must_hold_key, keys)):
            assert self.limits.key_pattern
            return
        self.write_all(batch_of(run_id, params=[(key, str(index)) for index, key in enumerate(keys)]))
        assert self.store.get_run(run_id).data.params == {keys[0]: "0", keys[1]: "1"}

    def test_a_refused_record_does_not_spoil_those_after_it(self) -> None:
        run_id = self.open_run()
        self.is_accepted(batch_of(run_id, params=[("a\0b", "\ud800")]))
        self.write_all(batch_of(run_id, params=[("p", "1")]))
        assert self.store.get_run(run_id).data.params["p"] == "1"
