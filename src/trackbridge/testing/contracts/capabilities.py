"""The contract of an adapter as a whole: what it declares, and its own three methods."""

from __future__ import annotations

import re

import msgspec
import pytest

from trackbridge.domain.search import COMPARISONS
from trackbridge.errors import Unsupported
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.capabilities import Feature, Limits
from trackbridge.ports.deployments import DeploymentTarget
from trackbridge.ports.findings import Finding
from trackbridge.ports.jobs import JobBackend
from trackbridge.ports.registry import ModelRegistry
from trackbridge.ports.tracking import TrackingStore
from trackbridge.testing.contracts.base import Contract, each
from trackbridge.testing.contracts.signatures import signature_differences

PORTS: dict[str, type] = {
    "tracking": TrackingStore,
    "artifacts": ArtifactStore,
    "registry": ModelRegistry,
    "jobs": JobBackend,
    "deployments": DeploymentTarget,
}


class CapabilitiesContract(Contract):
    """An adapter says of every optional part of its ports whether it is there, and if not why."""

    def _present(self) -> list[str]:
        return [name for name in PORTS if getattr(self.opened, name) is not None]

    def test_the_adapter_has_a_name_and_a_port(self) -> None:
        assert self.capabilities.adapter
        assert self._present()

    @each("feature", Feature)
    def test_every_feature_is_declared_or_absent_with_a_reason(self, feature: Feature) -> None:
        capability = self.capabilities.features.get(feature)
        if feature.port not in self._present():
            assert capability is None or not capability.supported, f"there is no port {feature.port}"
            return
        assert capability is not None, f"{feature.value} is neither supported nor declared absent"
        if capability.supported:
            assert capability.absence is None, "a supported feature cannot be absent"
            return
        assert capability.absence is not None, "not yet here, not offered, or never?"
        assert capability.reason, "the user wants to know why"

    @each("feature", Feature)
    def test_an_absent_feature_is_refused_with_its_reason(self, feature: Feature) -> None:
        if self.capabilities.supports(feature):
            self.capabilities.require(feature, operation="contract")
            return
        with pytest.raises(Unsupported) as caught:
            self.capabilities.require(feature, operation="contract")
        capability = self.capabilities.features.get(feature)
        assert capability is None or capability.reason in str(caught.value)

    def test_asking_again_gives_the_same_answer(self) -> None:
        assert self.opened.capabilities() == self.capabilities

    @each("limit", Limits.__struct_fields__)
    def test_a_numeric_limit_is_positive(self, limit: str) -> None:
        value = getattr(self.limits, limit)
        assert not isinstance(value, int) or isinstance(value, bool) or value > 0

    def test_the_key_pattern_can_match(self) -> None:
        pattern = self.limits.key_pattern
        assert pattern is None or re.fullmatch(pattern, "loss"), "the commonest key of all must be possible"

    def test_a_search_declares_what_it_takes(self) -> None:
        assert self.capabilities.search_comparisons <= COMPARISONS
        searches = self.capabilities.supports(Feature.TRACKING_SEARCH)
        assert searches == bool(self.capabilities.search_comparisons)

    def test_what_is_declared_can_be_sent_to_another_process(self) -> None:
        encoded = msgspec.json.encode(self.capabilities)
        assert msgspec.json.decode(encoded)["adapter"] == self.capabilities.adapter

    @each("port", PORTS)
    def test_methods_take_the_parameters_of_the_port(self, port: str) -> None:
        implementation = getattr(self.opened, port)
        assert implementation is None or signature_differences(PORTS[port], implementation) == []

    @pytest.mark.parametrize("write", [False, True])
    def test_check_returns_findings(self, write: bool) -> None:
        findings = self.opened.check(write=write)
        assert isinstance(findings, tuple)
        assert all(isinstance(finding, Finding) and finding.message for finding in findings)

    def test_closing_twice_succeeds(self) -> None:
        self.opened.close()
        self.opened.close()

    def test_a_closed_adapter_still_declares(self) -> None:
        self.opened.close()
        assert self.opened.capabilities() == self.capabilities
