"""The contract of a tracking store: every sentence of ``trackbridge.ports.tracking``."""

from __future__ import annotations

from trackbridge.testing.contracts.tracking_concurrency import ConcurrencyTests
from trackbridge.testing.contracts.tracking_experiments import ExperimentTests
from trackbridge.testing.contracts.tracking_hostile import HostileTests
from trackbridge.testing.contracts.tracking_metrics import MetricTests
from trackbridge.testing.contracts.tracking_runs import RunTests
from trackbridge.testing.contracts.tracking_search import SearchTests
from trackbridge.testing.contracts.tracking_settings import SettingTests
from trackbridge.testing.contracts.tracking_traces import LoggedModelTests, TraceTests


class TrackingContract(
    ExperimentTests,
    RunTests,
    SettingTests,
    MetricTests,
    HostileTests,
    SearchTests,
    ConcurrencyTests,
    LoggedModelTests,
    TraceTests,
):
    """Bind it with a fixture ``adapter`` that returns an opened, empty adapter with a tracking port."""
