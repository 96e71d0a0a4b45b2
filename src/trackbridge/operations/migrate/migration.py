"""A migration from what users name: both sides opened, planned, applied, checked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from trackbridge.delivery.connect import remote_options
from trackbridge.delivery.status import journal_status
from trackbridge.domain.events import MIGRATION_ENDED, REGISTRIES_SYNCED
from trackbridge.domain.file_uris import file_path
from trackbridge.domain.migration import OPERATION, Compared, Selection
from trackbridge.domain.plans import Plan
from trackbridge.errors import ConfigError, NotFound
from trackbridge.events import publish
from trackbridge.operations.migrate.applying import Applying, apply_migration
from trackbridge.operations.migrate.bounds import Bounds
from trackbridge.operations.migrate.checking import check
from trackbridge.operations.migrate.ledger import Ledger
from trackbridge.operations.migrate.merging import Policy
from trackbridge.operations.migrate.mirror import MirrorPlan, MirrorResult, apply_mirror, plan_mirror
from trackbridge.operations.migrate.mirror_plans import MirrorAsked, plan_to_save
from trackbridge.operations.migrate.pair import Asked, Pair
from trackbridge.operations.migrate.partitions import Place
from trackbridge.operations.migrate.planning import asked_of, plan_migration
from trackbridge.operations.migrate.preflight import Preflight, Report
from trackbridge.operations.migrate.report import Account
from trackbridge.operations.migrate.side import open_side
from trackbridge.operations.opening import UriArgument, user_name
from trackbridge.operations.plans import save_plan
from trackbridge.resolve.config import Settings
from trackbridge.resolve.destinations import journal_folders, resolve_destinations
from trackbridge.resolve.home import bridge_home
from trackbridge.resolve.uri import parse

if TYPE_CHECKING:
    from trackbridge.operations.migrate.spark import SparkEngine


class Migration:
    """Source and target, opened. Use it in a ``with`` statement, or close it.

    Args:
        source: URI or remote's name of the source.
        target: The same of the target.
        bounds: What the user allows.
        settings: Of the surroundings.

    Raises:
        ConfigError: A URI is wrong, or both mean the same backend.
        MissingExtra: A package is missing.
    """

    def __init__(
        self,
        source: UriArgument,
        target: UriArgument,
        *,
        bounds: Bounds | None = None,
        settings: Settings | None = None,
    ) -> None:
        self._settings = settings or Settings()
        self.bounds = bounds or Bounds()
        sides = [open_side(uri, bounds=self.bounds, settings=self._settings) for uri in (source, target)]
        home = bridge_home(self._settings.around)
        self._pair = Pair(
            source=sides[0],
            target=sides[1],
            ledger=Ledger(home, source=sides[0].uri, target=sides[1].uri),
            clock_ms=lambda: time.time_ns() // 1_000_000,
        )

    @classmethod
    def of_plan(
        cls, plan: Plan, *, bounds: Bounds | None = None, settings: Settings | None = None
    ) -> Migration:
        """Open the sides of a saved plan, with the bounds that it was made with where none are given.

        Raises:
            ConfigError: It is no plan of a migration.
        """
        source, target = plan.parameters.get("source"), plan.parameters.get("target")
        if plan.operation != OPERATION or not isinstance(source, str) or not isinstance(target, str):
            raise ConfigError(
                "the plan is none of a migration", hint="make one: bridge migrate SRC DST --plan"
            )
        saved = msgspec.convert(plan.parameters.get("bounds", {}), Bounds)
        return cls(source, target, bounds=bounds or saved, settings=settings)

    @property
    def source_uri(self) -> str:
        """The source, without credentials."""
        return self._pair.source.uri

    @property
    def target_uri(self) -> str:
        """The target, without credentials."""
        return self._pair.target.uri

    def plan(self, asked: Asked, *, on_found: Callable[[int], None] | None = None) -> Plan:
        """Return what there is to do; nothing is changed. Errors as for ``plan_migration``."""
        self._refuse_no_source()
        plan = plan_migration(self._pair, asked, transfers=self.bounds.transfers, on_found=on_found)
        parameters = {**plan.parameters, "bounds": msgspec.to_builtins(self.bounds)}
        plan = msgspec.structs.replace(plan, parameters=parameters)
        pending = self._pending()
        if not pending:
            return plan
        note = f"{pending:,} records of the source are not delivered yet; first: bridge sync run"
        return msgspec.structs.replace(plan, notes=(*plan.notes, note))

    def _refuse_no_source(self) -> None:
        """Refuse a folder of this machine that holds no store: its name is wrong."""
        uri = self.source_uri
        folder = file_path(uri) if uri.startswith("file:") else None
        if folder is not None and not any((folder / name).exists() for name in ("store.db", "journal")):
            raise NotFound(
                "there is no store of trackbridge at the source",
                operation=OPERATION,
                resource=uri,
                hint="check the path; what was logged and not delivered yet comes there by bridge sync run",
            )

    def _pending(self) -> int:
        """Return how many records the source still gets from journals that are known here."""
        destinations = resolve_destinations(self.source_uri, settings=self._settings)
        folders = journal_folders(destinations, settings=self._settings, everywhere=False)
        statuses = [status for folder in folders for status in journal_status(folder)]
        lanes = [lane for status in statuses for lane in status.lanes]
        return sum(lane.pending for lane in lanes if lane.destination == self.source_uri)

    def apply(self, plan: Plan, how: Applying) -> Account:
        """Apply a plan of these two sides. Errors as for ``apply_migration``."""
        how.bounds = self.bounds
        how.user = how.user or user_name(self._settings)
        with Preflight(self._pair.ledger.home, on_report=how.on_preflight) as preflight:
            how.preflight = preflight if asked_of(plan).preflight else how.preflight
            try:
                return apply_migration(plan, self._pair, how)
            finally:
                self._tell(how.account)

    def _tell(self, account: Account) -> None:
        """Tell subscribers what was done; nothing where nothing was begun."""
        if not account.states:
            return
        data = {
            "from": self.source_uri,
            "complete": account.is_complete,
            "stopped": account.stopped,
            "done": {state.value: count for state, count in account.states.items() if count},
            "source": msgspec.to_builtins(account.source),
            "target": msgspec.to_builtins(account.target),
        }
        publish(MIGRATION_ENDED, subject=self.target_uri, source=self.target_uri, data=data)

    def spark_engine(self, master: str | None = None) -> SparkEngine:
        """Return the workers of a Spark cluster, to be handed over as ``Applying.engine``, then closed.

        Errors as for ``SparkEngine``.
        """
        from trackbridge.operations.migrate.spark import SparkEngine

        source, target = (
            Place(uri=uri, options=remote_options(parse(uri), settings=self._settings))
            for uri in (self.source_uri, self.target_uri)
        )
        return SparkEngine(source, target, master=master)

    def check(self, selection: Selection, *, download: bool = False) -> Iterator[Compared]:
        """Yield how each item compares; nothing is changed.

        Raises:
            NotFound: There is no store at the source.
        """
        self._refuse_no_source()
        return check(self._pair, selection, download=download, transfers=self.bounds.transfers)

    def plan_mirror(self, models: tuple[str, ...], *, two_way: bool, policy: str) -> MirrorPlan:
        """Return what there is to do so that both registries agree. Errors as for ``mirror.plan_mirror``."""
        return plan_mirror(self._pair, models, two_way=two_way, policy=Policy(policy))

    def save_mirror(self, plan: MirrorPlan, asked: MirrorAsked, path: Path) -> None:
        """Write a plan of mirroring to a file.

        Raises:
            ConfigError: The file cannot be written.
        """
        pair = self._pair
        saved = plan_to_save(
            plan, asked, source=pair.source.uri, target=pair.target.uri, time_ms=pair.clock_ms()
        )
        save_plan(saved, path)

    def apply_mirror(
        self,
        plan: MirrorPlan,
        *,
        preflight: bool = True,
        on_preflight: Callable[[Report], None] = lambda report: None,
        on_done: Callable[[str], None] = lambda told: None,
        user: str = "",
    ) -> MirrorResult:
        """Do it; with a look at versions before they are promoted. Errors as for ``mirror.apply_mirror``."""
        with Preflight(self._pair.ledger.home, on_report=on_preflight) as looks:
            result = apply_mirror(
                self._pair,
                plan,
                user=user or user_name(self._settings),
                on_done=on_done,
                preflight=looks if preflight else None,
            )
        data = {
            "from": self.source_uri,
            "complete": result.is_complete,
            "copied": result.copied,
            "fields": result.done,
            "skipped": len(result.skipped),
            "failed": len(result.failed) + len(result.remaining),
        }
        publish(REGISTRIES_SYNCED, subject=self.target_uri, source=self.target_uri, data=data)
        return result

    def close(self) -> None:
        """Release what both sides hold."""
        self._pair.source.close()
        self._pair.target.close()
        self._pair.ledger.close()

    def __enter__(self) -> Migration:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
