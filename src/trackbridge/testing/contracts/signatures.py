"""Whether an adapter's methods can be called as the port says."""

from __future__ import annotations

import inspect
from collections.abc import Iterator


def port_methods(port: type) -> Iterator[str]:
    """Name the methods of a port."""
    for name, member in vars(port).items():
        if not name.startswith("_") and inspect.isfunction(member):
            yield name


def signature_differences(port: type, implementation: object) -> list[str]:
    """Compare each method with the port's: names, order, kinds and defaults of the parameters.

    Returns:
        A sentence for each difference; none when they agree.
    """
    found: list[str] = []
    for name in port_methods(port):
        method = getattr(implementation, name, None)
        if not callable(method):
            found.append(f"{port.__name__}.{name} is missing")
            continue
        wanted = _parameters(getattr(port, name))
        actual = _parameters(method)
        if wanted != actual:
            found.append(f"{port.__name__}.{name} takes {_shown(actual)}; the port says {_shown(wanted)}")
    return found


def _parameters(method: object) -> list[inspect.Parameter]:
    assert callable(method)
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in inspect.signature(method).parameters.values()
    ]
    # A proxy may show the port's own function, unbound.
    return parameters[1:] if parameters and parameters[0].name == "self" else parameters


def _shown(parameters: list[inspect.Parameter]) -> str:
    return str(inspect.Signature(parameters))
