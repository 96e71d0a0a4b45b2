"""Before a version is promoted: is it a model that loads and answers, from nothing but what it says it needs?

::

    the copy at the target -> is there an MLmodel with python_function? -> no: said, and promoted all the same
        -> its files come here, their digest is compared -> it is tried out, see ``operations.preflight``
        -> passed, or not promoted
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from trackbridge.domain.models import Approval, ModelVersion
from trackbridge.errors import AuthError, BridgeError, Exhausted, Locked, Rejected, Transient
from trackbridge.operations.migrate.side import Side
from trackbridge.operations.model_payloads import at_registry, materialise, mlmodel_at
from trackbridge.operations.preflight.trials import SCORE_S_MAX, Trials, Verdict

STAGES = ("Staging", "Production")
"""Stages that promote; back to ``None`` or into ``Archived`` nothing is put to use."""

_HINT = "mend the model and register it anew, or promote it without a look: --no-preflight"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one version; ``detail`` says it for people."""

    subject: str
    verdict: Verdict
    detail: str

    def __str__(self) -> str:
        return f"{self.subject}: pre-flight {self.verdict.value}: {self.detail}"


class Preflight:
    """Looks at models before they are promoted. Use it in a ``with`` statement, or close it.

    Args:
        home: The project's folder.
        on_report: Told of each version that was looked at.
        score_s_max: How long a model may take to be loaded and to answer.
    """

    def __init__(
        self,
        home: Path,
        *,
        on_report: Callable[[Report], None] = lambda report: None,
        score_s_max: int = SCORE_S_MAX,
    ) -> None:
        self.on_wait: Callable[[], None] = lambda: None
        """Called while a model is waited for; what it raises ends the wait and the model's process."""
        self._on_report = on_report
        self._trials = Trials(home, score_s_max=score_s_max)
        self._reports: dict[tuple[str, str, str], Report] = {}

    def refuse_unfit(self, side: Side, version: ModelVersion) -> None:
        """Look at a version as it lies on one side, once.

        Raises:
            Rejected: It does not load, or does not answer; the message says why.
            Transient: Its files cannot be read now.
        """
        key = (side.uri, version.name, version.version)
        report = self._reports.get(key)
        if report is None:
            report = self._reports[key] = self._report(side, version)
            self._on_report(report)
        if report.verdict is Verdict.FAILED:
            raise Rejected(
                f"it was not promoted, since its pre-flight failed: {report.detail}",
                operation="preflight",
                resource=f"models:/{version.name}/{version.version} at {side.uri}",
                hint=_HINT,
            )

    def close(self) -> None:
        """Release what was opened."""
        self._trials.close()

    def __enter__(self) -> Preflight:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # One version.

    def _report(self, side: Side, version: ModelVersion) -> Report:
        subject = f"version {version.name}/{version.version}"
        try:
            verdict, detail = self._looked_at(side, version)
        except (AuthError, Exhausted, Locked, Transient):
            raise  # nothing was learned of the model
        except BridgeError as error:
            hint = f"; {error.hint}" if error.hint else ""
            verdict, detail = Verdict.FAILED, f"{error}{hint}"
        return Report(subject=subject, verdict=verdict, detail=detail)

    def _looked_at(self, side: Side, version: ModelVersion) -> tuple[Verdict, str]:
        self._trials.on_wait = self.on_wait
        return self._trials.try_out(
            mlmodel_of(side, version),
            version.digest,
            lambda cache: materialise(at_registry(version, side.registry), side.artifacts, cache=cache),
        )


def mlmodel_of(side: Side, version: ModelVersion) -> str | None:
    """Return the ``MLmodel`` of a version, None where its files have none; only this file is read.

    Raises:
        NotFound: There is nothing at its source.
        Unsupported: Its source cannot be read from here.
    """
    return mlmodel_at(at_registry(version, side.registry).source, side.artifacts)


def promotes(what: str, value: str | None) -> bool:
    """Tell whether setting a field puts a version to use: an alias, a stage that serves, an approval."""
    if what.partition(":")[0] == "alias":
        return value is not None
    if what == "stage":
        return value in STAGES
    return what == "approval" and value == Approval.APPROVED.value
