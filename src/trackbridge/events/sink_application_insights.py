"""The sink ``application_insights``: the figures of scoring servers in Azure's Application Insights.

Sent to the ingestion endpoint that ``APPLICATIONINSIGHTS_CONNECTION_STRING`` names, in the form that Azure's
own exporters send (``/v2.1/track``; one metric in each envelope: storage takes only the first). They are in
the table ``customMetrics``, requests in the table ``requests``, by ``cloud_RoleName``.
"""

from __future__ import annotations

import os
import time
from typing import Any
from urllib.parse import urlsplit

import msgspec

from trackbridge._version import __version__
from trackbridge.domain.serving import ScoredRequest, TelemetryWindow
from trackbridge.errors import ConfigError, Rejected, Transient, Unavailable
from trackbridge.events.subscribers import is_loopback
from trackbridge.transport.http import HttpClient, error_of_status

ADAPTER = "application_insights"
VARIABLE = "APPLICATIONINSIGHTS_CONNECTION_STRING"
ENDPOINT = "https://dc.services.visualstudio.com"
"""Where Azure takes telemetry when the connection string does not say it."""
NAMESPACE = "trackbridge.serving"
TEXT_CHARS_MAX = 1024
PARTLY = 206
_RETRIED = (408, 429, 439, 500, 502, 503, 504)
"""Statuses, also those of single items, after which Azure's exporters send again."""


class ApplicationInsightsSink:
    """Sends each window as it comes.

    Raises:
        ConfigError: The connection string is missing or wrong.
    """

    def __init__(self) -> None:
        self._key, endpoint = read_connection_string(os.environ.get(VARIABLE, ""))
        self._url = f"{endpoint}/v2.1/track"
        self._http = HttpClient(adapter=ADAPTER)

    def on_window(self, window: TelemetryWindow) -> None:
        """Send the figures of a window.

        Raises:
            Unavailable, TimedOut, RateLimited: They may be taken later.
            Rejected, AuthError: They were refused for good.
        """
        properties = {"model": window.model, "window_s": f"{window.window_s:g}"}
        counts: tuple[tuple[str, float], ...] = (
            ("errors", window.errors),
            ("refused", window.refused),
            ("predictions", window.rows),
            ("captured", window.captured),
            ("queued", window.queued_max),
            ("scoring_ms", window.scoring_ms),
            ("latency_p50_ms", window.latency_p50_ms),
            ("latency_p95_ms", window.latency_p95_ms),
            ("latency_p99_ms", window.latency_p99_ms),
        )
        metrics = [_measurement("requests", window.requests), *(_measurement(*each) for each in counts)]
        if window.requests:
            metrics.append(_latency(window))
        self._send(
            [
                self._envelope(
                    window.name, window.time_ms, "Metric", "MetricData", {"metrics": [metric]}, properties
                )
                for metric in metrics
            ]
        )

    def on_request(self, request: ScoredRequest) -> None:
        """Send a request, as ``on_window`` does its figures."""
        data = {
            "id": request.request_id,
            "name": "POST /invocations",
            "duration": _duration(request.duration_ms),
            "success": request.status < 400,
            "responseCode": str(request.status),
            "measurements": {"scoring_ms": request.scoring_ms, "rows": request.rows},
        }
        properties = {"model": request.model}
        begin_ms = request.time_ms - int(request.duration_ms)
        self._send([self._envelope(request.name, begin_ms, "Request", "RequestData", data, properties)])

    def _envelope(
        self,
        name: str,
        time_ms: int,
        kind: str,
        base_type: str,
        data: dict[str, Any],
        properties: dict[str, str],
    ) -> dict[str, Any]:
        known = {key: value[:TEXT_CHARS_MAX] for key, value in properties.items() if value}
        return {
            "ver": 1,
            "name": f"Microsoft.ApplicationInsights.{kind}",
            "time": _timestamp(time_ms),
            "iKey": self._key,
            "tags": {
                "ai.cloud.role": name[:TEXT_CHARS_MAX],
                "ai.internal.sdkVersion": f"trackbridge:{__version__}",
            },
            "data": {"baseType": base_type, "baseData": {"ver": 2, **data, "properties": known}},
        }

    def _send(self, envelopes: list[dict[str, Any]]) -> None:
        headers = {"Content-Type": "application/json"}
        answer = self._http.request("POST", self._url, body=msgspec.json.encode(envelopes), headers=headers)
        if answer.status_code == PARTLY:
            self._send_again(envelopes, answer.content)
        elif answer.status_code == 439:  # Azure's own: the daily quota is used up
            raise Unavailable("the daily quota of Application Insights is used up", adapter=ADAPTER)
        elif answer.status_code >= 400:
            raise error_of_status(answer, answer.text[:200], adapter=ADAPTER)

    def _send_again(self, envelopes: list[dict[str, Any]], content: bytes) -> None:
        """Send what was not taken once more; what was taken must not come twice."""
        errors = msgspec.json.decode(content).get("errors") or []
        refused = [error for error in errors if error.get("statusCode") not in _RETRIED]
        again = [envelopes[error["index"]] for error in errors if error.get("statusCode") in _RETRIED]
        if again and len(again) < len(envelopes):
            try:
                self._send(again)
            except Transient as error:
                told = f"{len(again)} of {len(envelopes)} were not taken: {error}"
                raise Rejected(told, adapter=ADAPTER) from error
        elif again:
            raise Unavailable("Application Insights takes nothing now", adapter=ADAPTER)
        if refused:
            raise Rejected(f"Application Insights refused: {refused[0].get('message')}", adapter=ADAPTER)


def read_connection_string(text: str) -> tuple[str, str]:
    """Return instrumentation key and ingestion endpoint.

    Raises:
        ConfigError: There is none, or a part of it is missing or wrong.
    """
    pairs = (part.partition("=") for part in text.split(";") if part.strip())
    parts = {name.strip().lower(): value.strip() for name, _, value in pairs}
    key = parts.get("instrumentationkey", "")
    endpoint = parts.get("ingestionendpoint", ENDPOINT).rstrip("/")
    address = urlsplit(endpoint)
    is_safe = address.scheme == "https" or (address.scheme == "http" and is_loopback(address.hostname or ""))
    if not key or not address.hostname or not is_safe:
        what = (
            "is not set"
            if not text
            else "has no InstrumentationKey, or its IngestionEndpoint is no https address"
        )
        raise ConfigError(
            f"{VARIABLE} {what}",
            adapter=ADAPTER,
            hint="copy the connection string from the overview of the Application Insights resource",
        )
    return key, endpoint


def _measurement(name: str, value: float) -> dict[str, Any]:
    return {"ns": NAMESPACE, "name": name, "kind": "Measurement", "value": value}


def _latency(window: TelemetryWindow) -> dict[str, Any]:
    return {
        "ns": NAMESPACE,
        "name": "latency_ms",
        "kind": "Aggregation",
        "value": window.latency_sum_ms,
        "count": window.requests,
        "min": window.latency_min_ms,
        "max": window.latency_max_ms,
    }


def _timestamp(time_ms: int) -> str:
    seconds, rest_ms = divmod(time_ms, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest_ms:03d}Z"


def _duration(duration_ms: float) -> str:
    """Return a duration as ``D.HH:MM:SS.ffffff``."""
    seconds, rest_us = divmod(round(duration_ms * 1000), 1_000_000)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    day, hour = divmod(hours, 24)
    return f"{day}.{hour:02d}:{minute:02d}:{second:02d}.{rest_us:06d}"
