"""Everything that a handler needs: the backend behind our client, and the runs that clients have open."""

from __future__ import annotations

import msgspec

from trackbridge.api.client import Client
from trackbridge.gateway.histories import Histories
from trackbridge.gateway.known_experiments import KnownExperiments
from trackbridge.gateway.model_documents import SharedDocuments
from trackbridge.gateway.runs import Runs


class GatewayOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway stands in front of, and how much it holds in memory.

    ``backend`` and ``registry`` are tracking URIs, None for the configured ones; of several backends,
    separated by commas, the first is read from. ``runs_max`` runs are known at the same time; the others are
    forgotten, which costs them a look at the backend when they are written to again.
    """

    backend: str | None = None
    registry: str | None = None
    runs_max: int = 1_000


class Gateway:
    """A backend as mlflow's REST API needs it.

    Safe for threads. Reading, deleting and restoring wait for the backend; what is logged waits for the
    journal only.

    Raises:
        ConfigError: A URI or a setting is wrong.
    """

    def __init__(self, options: GatewayOptions) -> None:
        self.options = options
        self.client = Client(options.backend, options.registry)
        self.client.session.waits_for_others = True  # several gateways tell the same
        self.client.session.is_strict = True  # what a full journal refuses is not acknowledged
        self.experiments = KnownExperiments(self.client)
        self.histories = Histories(self.client)
        self.runs = Runs(self.client, runs_max=options.runs_max)
        self.documents = SharedDocuments(self)

    def start(self) -> None:
        """Begin the journal and open the backend, so that the first request need not.

        Raises:
            BridgeError: One of them cannot be: no client could be served.
        """
        _ = self.client.reader.adapter
        self.runs.start()
        self.client.session.writer.enter_process()

    def close(self) -> None:
        """Make what was logged survive the loss of the machine; delivery goes on beyond the process's end."""
        self.documents.settle()
        self.client.session.sync()
