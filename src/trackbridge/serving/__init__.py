"""The scoring server that every deployment target shares: MLflow's scoring protocol over a model folder.

::

    main process        binds the socket, imports mlflow and the model's library, forks, replaces what dies
    └─ worker process   loads the model; the event loop reads requests and answers them
       ├─ scoring thread    the only one that touches the model; takes requests from a bounded queue
       └─ capture thread    writes sampled payloads, when asked

Started as ``python -m trackbridge.serving CONFIG.json`` or by ``serve(settings)``. It answers as mlflow's own
server does (``mlflow.pyfunc.scoring_server``), except on purpose:

- No stack trace leaves the server: it is in its log, under the ``request_id`` that the answer names.
- A model that raises on an input that fits its signature is 500 (``INTERNAL_ERROR``), not 400; without a
  signature it is 400 as with mlflow.
- 429 with ``Retry-After`` when too many requests wait, 413 for too large and 408 for too slow ones, 503 while
  the model is loaded or the server ends, 401 without the token; 504 has mlflow's words, but is JSON.
- NaN and infinities in predictions are ``null``, so that the answer is JSON; in requests they are taken.
- A key that stands twice, and rows of different lengths, are 400; pandas would make something up.
- ``input_data`` (Azure's form) and ``Content-Encoding: gzip`` are understood.
- Parquet is 415: a small file can unpack to more than the machine holds.
- A content type that is missing is 415 (mlflow fails with 500), other paths and methods have JSON answers.
"""

from __future__ import annotations

from trackbridge.domain.serving import ScoredRequest, ServingSettings, TelemetryWindow
from trackbridge.events.sinks import TelemetrySink
from trackbridge.serving.telemetry import ScoringTelemetry

__all__ = ["ScoredRequest", "ScoringTelemetry", "TelemetrySink", "TelemetryWindow", "serve"]


def serve(settings: ServingSettings) -> None:
    """Serve a model until SIGTERM or SIGINT, with what was accepted answered; call it in the main thread.

    Raises:
        ConfigError: The settings are wrong, the folder holds no model, or the address is taken.
        MissingExtra: Packages of the extra ``serve`` or ``mlflow`` are not installed.
        Exhausted: The model cannot be loaded, or kills every process that loads it; says why.
    """
    from trackbridge.serving.main_process import MainProcess

    MainProcess(settings).run()
