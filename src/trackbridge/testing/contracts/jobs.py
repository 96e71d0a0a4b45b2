"""The contract of a job backend: every sentence of ``trackbridge.ports.jobs``."""

from __future__ import annotations

from trackbridge.testing.contracts.jobs_data import DataTests, KeptTests
from trackbridge.testing.contracts.jobs_launchers import LauncherTests
from trackbridge.testing.contracts.jobs_life import CancelTests, FinalTests, KeyTests, LifeTests, LimitTests
from trackbridge.testing.contracts.jobs_listing import ListTests, ReopenedTests
from trackbridge.testing.contracts.jobs_logs import LogTests
from trackbridge.testing.contracts.jobs_preview import PreviewTests
from trackbridge.testing.contracts.jobs_program import (
    ConcurrencyTests,
    ConflictTests,
    HostileTests,
    ProcessTests,
    ProgramTests,
    SecretTests,
)
from trackbridge.testing.contracts.jobs_refusals import RefusalTests


class JobContract(
    LifeTests,
    CancelTests,
    FinalTests,
    LimitTests,
    KeyTests,
    ConflictTests,
    ConcurrencyTests,
    ProgramTests,
    HostileTests,
    SecretTests,
    ProcessTests,
    LogTests,
    ListTests,
    ReopenedTests,
    RefusalTests,
    PreviewTests,
    DataTests,
    KeptTests,
    LauncherTests,
):
    """Bind it with a fixture ``adapter`` and a method ``reopened``; ``JobTests`` tells of the other hooks.

    ::

        class TestMyJobs(JobContract):
            patience_s = 600

            @pytest.fixture
            def adapter(self, tmp_path):
                self.place = "mine://" + str(tmp_path)
                return open_adapter(self.place, context=...)

            def reopened(self):
                return open_adapter(self.place, context=...)
    """
