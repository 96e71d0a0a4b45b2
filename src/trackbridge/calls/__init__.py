"""One pipeline around any port call; its order is in ``pipeline.perform``.

``wrap`` puts it around a port object, ``wrap_adapter`` around all ports of an adapter.
"""

from trackbridge.calls.observe import CallObservation, Observer
from trackbridge.calls.pipeline import wrap, wrap_adapter
from trackbridge.calls.policy import CallPolicy
from trackbridge.calls.world import World

__all__ = ["CallObservation", "CallPolicy", "Observer", "World", "wrap", "wrap_adapter"]
