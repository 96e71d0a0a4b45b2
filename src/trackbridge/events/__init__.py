"""Telling whoever subscribed to it that something happened; what a subscriber does touches nobody.

::

    publish -> socket -> dispatcher (python -m trackbridge.events)
                            |-- queue, thread -> worker process of a webhook
                            |-- queue, thread -> worker process of an entry point
                            `-- queue, thread -> worker process of OpenTelemetry

``publishing`` and ``bus`` are the program's end, ``dispatcher`` the process beside it with its ``couriers``,
``workers`` the process of one subscriber. ``subscribers`` reads who has subscribed, ``webhooks`` and
``telemetry`` are the built-in kinds, ``store`` keeps what could not be delivered and the counts. With no
subscriber, nothing of this is started or imported.
"""

from trackbridge.events.publishing import call_observer, publish

__all__ = ["call_observer", "publish"]
