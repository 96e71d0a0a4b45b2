"""The tracking contract: names and values that break stores are kept exactly or refused, never changed."""

from __future__ import annotations

import re

from trackbridge.domain.runs import TAG_NAME, DatasetInput
from trackbridge.errors import Rejected
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.base import each, requires
from trackbridge.testing.contracts.samples import HOSTILE_TEXTS, batch_of, bits_of, run_spec
from trackbridge.testing.contracts.tracking_base import TrackingTests


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

    @each("name", HOSTILE_TEXTS)
    def test_a_hostile_value_of_a_param(self, name: str) -> None:
        text, run_id = HOSTILE_TEXTS[name], self.open_run()
        batch = batch_of(run_id, params=[("p", text)])
        accepted = self.is_accepted(batch)
        assert self.is_accepted(batch) == accepted, "a repetition changes nothing"
        assert self.store.get_run(run_id).data.params == ({"p": text} if accepted else {})

    @each("name", HOSTILE_TEXTS)
    def test_a_hostile_value_of_a_tag(self, name: str) -> None:
        text, run_id = HOSTILE_TEXTS[name], self.open_run()
        accepted = self.is_accepted(batch_of(run_id, tags=[("t", text)]))
        assert self.store.get_run(run_id).data.tags.get("t") == (text if accepted else None)

    @each("name", HOSTILE_TEXTS)
    def test_a_hostile_key(self, name: str) -> None:
        text, run_id, now = HOSTILE_TEXTS[name], self.open_run(), self.now
        metric = self.is_accepted(batch_of(run_id, metrics=[(text, 1.5, 0, now)]))
        param = self.is_accepted(batch_of(run_id, params=[(text, "1")]))
        tag = self.is_accepted(batch_of(run_id, tags=[(text, "1")]))
        data = self.store.get_run(run_id).data
        assert data.metrics == ({text: 1.5} if metric else {})
        assert data.params == ({text: "1"} if param else {})
        assert data.tags.get(text) == ("1" if tag else None)
        if metric and self.capabilities.supports(Feature.TRACKING_METRIC_HISTORY):
            assert self.history(run_id, text) == [(0, now, bits_of(1.5))]
        if tag:
            self.write_all(batch_of(run_id, tags=[(text, None)]))
            assert text not in self.store.get_run(run_id).data.tags
        refused = not (metric and param and tag)
        assert not (refused and self.must_hold_key(text)), "a key within the declared limits is refused"

    def must_hold_key(self, key: str) -> bool:
        """Tell whether the declared limits promise that a key is taken; NUL and surrogates never are."""
        if "\0" in key or "\ud800" in key:
            return False
        pattern, most = self.limits.key_pattern, self.limits.key_chars_max
        return (most is None or len(key) <= most) and (pattern is None or bool(re.fullmatch(pattern, key)))

    @each("name", HOSTILE_TEXTS)
    def test_a_hostile_name_of_a_run(self, name: str) -> None:
        text = HOSTILE_TEXTS[name]
        spec = run_spec(text, experiment=name)
        try:
            opened = self.store.open_run(spec)
        except Rejected:
            assert self.listed(spec.experiment_id) == []
            return
        run = self.store.get_run(opened.info.run_id)
        assert opened.info.run_name == run.info.run_name == run.data.tags[TAG_NAME] == text

    @each("name", HOSTILE_TEXTS)
    def test_a_hostile_tag_of_a_new_run(self, name: str) -> None:
        text = HOSTILE_TEXTS[name]
        spec = run_spec(tags={"t": text, "k " + text: "1"}, experiment=name)
        try:
            self.store.open_run(spec)
        except Rejected:
            assert self.listed(spec.experiment_id) == []
            return
        tags = self.store.get_run(spec.run_id).data.tags
        assert (tags["t"], tags["k " + text]) == (text, "1")

    @requires(Feature.TRACKING_DATASETS)
    @each("name", HOSTILE_TEXTS)
    def test_a_hostile_data_set(self, name: str) -> None:
        text, run_id = HOSTILE_TEXTS[name], self.open_run()
        dataset = DatasetInput(
            name=text, digest="1", source_type=text, source=text, schema=text, profile=text, tags={text: text}
        )
        accepted = self.is_accepted(batch_of(run_id, inputs=[dataset]))
        assert self.store.get_run(run_id).inputs.dataset_inputs == ((dataset,) if accepted else ())

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
