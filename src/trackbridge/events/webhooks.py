"""Telling a webhook: one signed POST of a CloudEvent.

==========================  ==========================================================================
what is sent
==========================  ==========================================================================
body                        the event as CloudEvents 1.0 in structured JSON
``X-Bridge-Event``          its kind, such as ``run.closed``
``X-Bridge-Delivery``       its id: what comes twice has the same one
``X-Bridge-Timestamp``      seconds since 1970 at the time of sending
``X-Bridge-Signature``      ``sha256=`` and the HMAC of ``timestamp.body`` in hexadecimal digits
==========================  ==========================================================================
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.message import Message as Headers
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from trackbridge._version import __version__
from trackbridge.domain.events import Event
from trackbridge.errors import AuthError, ConfigError, RateLimited, Rejected, TimedOut, Unavailable
from trackbridge.events.subscribers import Subscriber, is_loopback

TIMEOUT_S = 10.0
TYPE_PREFIX = "trackbridge."
CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_TRANSIENT_STATUS = (408, 425, 429)


class Webhook:
    """Delivers events to one address."""

    def __init__(self, subscriber: Subscriber, *, clock_s: Callable[[], float] = time.time) -> None:
        self._subscriber = subscriber
        self._clock_s = clock_s
        # A proxy makes no sense for an address of this machine, whatever the environment says.
        proxies: dict[str, str] | None = {} if is_loopback(urlsplit(subscriber.url).hostname or "") else None
        self._opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler(proxies))

    def __call__(self, event: Event) -> str:
        """Send one event; return what came back.

        Raises:
            ConfigError: The variable with the secret is not set.
            Unavailable, TimedOut, RateLimited: It may be taken later.
            Rejected, AuthError: It was refused for good.
        """
        body = cloud_event(event)
        request = urllib.request.Request(
            self._subscriber.url, data=body, headers=self._headers(event, body), method="POST"
        )
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as response:
                return f"HTTP {response.status}"
        except urllib.error.HTTPError as error:
            error.close()
            raise self._refusal(error.code, error.headers) from None
        except TimeoutError:
            raise self._timed_out() from None
        except (urllib.error.URLError, HTTPException, OSError) as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, TimeoutError):
                raise self._timed_out() from None
            raise self._unreachable(reason) from None

    def _headers(self, event: Event, body: bytes) -> dict[str, str]:
        headers = {
            "Content-Type": CONTENT_TYPE,
            "User-Agent": f"trackbridge/{__version__}",
            "X-Bridge-Event": event.kind,
            "X-Bridge-Delivery": event.event_id,
        }
        timestamp = str(int(self._clock_s()))
        headers["X-Bridge-Timestamp"] = timestamp
        variable = self._subscriber.secret_env
        if variable:
            secret = os.environ.get(variable)
            if not secret:
                raise ConfigError(f"the variable {variable} is not set", hint=f"export {variable}=…")
            headers["X-Bridge-Signature"] = signature(secret, timestamp, body)
        return headers

    def _refusal(self, status: int, headers: Headers) -> Exception:
        message = f"{self._subscriber.target} answers HTTP {status}"
        if status == 429:
            return RateLimited(message, retry_after_s=_retry_after_s(headers, self._clock_s()))
        if status in _TRANSIENT_STATUS or status >= 500:
            return Unavailable(message)
        if status in (401, 403):
            return AuthError(message, hint="see that both sides have the same secret")
        if 300 <= status < 400:
            return Rejected(f"{message}, a redirect, which is not followed", hint="configure the new address")
        return Rejected(message, hint="correct the url of the webhook, or its receiver")

    def _timed_out(self) -> TimedOut:
        return TimedOut(
            f"{self._subscriber.target} does not answer within {TIMEOUT_S:g} s",
            ambiguous=True,
            hint="see whether its receiver is well",
        )

    def _unreachable(self, reason: object) -> Unavailable:
        # The text of such an error names host or certificate, never the path.
        what = getattr(reason, "strerror", None) or type(reason).__name__
        return Unavailable(
            f"{self._subscriber.target} cannot be reached: {what}", hint="see whether its receiver is up"
        )


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """What was signed for one address is not carried to another one."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Refuse: the answer becomes an HTTPError."""
        return


def cloud_event(event: Event) -> bytes:
    """Return an event as CloudEvents 1.0 in structured JSON."""
    fields: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.event_id,
        "source": event.source or "trackbridge:",
        "type": TYPE_PREFIX + event.kind,
        "time": (_EPOCH + timedelta(milliseconds=event.time)).isoformat(timespec="milliseconds"),
        "datacontenttype": "application/json",
        "data": event.data,
    }
    if event.subject:
        fields["subject"] = event.subject
    return json.dumps(fields, ensure_ascii=False).encode()


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return the value of ``X-Bridge-Signature``."""
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={digest.hexdigest()}"


def _retry_after_s(headers: Headers, now_s: float) -> float | None:
    """Return the seconds of ``Retry-After``, which is a number or a date; None where it is neither."""
    text = (headers.get("Retry-After") or "")[:100]
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - now_s
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
