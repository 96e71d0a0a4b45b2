"""Whose turn it is among those that serve one endpoint, by their weights."""

from __future__ import annotations

from collections.abc import Mapping


class Balance:
    """Takes turns among names by their weights, evenly (smooth weighted round robin)."""

    def __init__(self) -> None:
        self._owed: dict[str, float] = {}

    def pick(self, weights: Mapping[str, float]) -> str | None:
        """Return whose turn it is; None when nobody has a weight."""
        total = sum(weights.values())
        if total <= 0:
            return None
        self._owed = {name: self._owed.get(name, 0.0) + weight for name, weight in weights.items()}
        chosen = max((name for name, weight in weights.items() if weight > 0), key=lambda n: self._owed[n])
        self._owed[chosen] -= total
        return chosen
