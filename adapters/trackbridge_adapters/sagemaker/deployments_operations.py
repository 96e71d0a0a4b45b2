"""Operations as texts: what one is about, so that any process can ask how it stands, and nothing is kept."""

from __future__ import annotations

from trackbridge.domain.deployments import Operation
from trackbridge.domain.page_tokens import listing_of, place_of, token_of
from trackbridge.errors import InvalidInput, NotFound
from trackbridge_adapters.sagemaker.arn import ADAPTER

CONFIG, WEIGHTS, DELETE, BATCH = "config", "weights", "delete", "batch"
HELD = "held"
_LISTING = listing_of("sagemaker operation")
_OPERATION = "deployments.poll"


def begun(kind: str, *about: str) -> Operation:
    """Return an operation under way.

    Args:
        kind: ``CONFIG`` (about endpoint, config, deployment), ``WEIGHTS`` (endpoint, config), ``DELETE``
            (endpoint) or ``BATCH`` (transform job).
        about: What it is about.
    """
    return Operation(operation_id=token_of(_LISTING, [kind, *about]), done=False)


def held() -> Operation:
    """Return the operation of a change that holds already."""
    return Operation(operation_id=HELD, done=True)


def parts_of(operation: Operation) -> tuple[str, list[str]]:
    """Return kind and subject of an operation.

    Raises:
        NotFound: It is none of ours.
    """
    try:
        found = place_of(
            operation.operation_id, _LISTING, adapter=ADAPTER, operation=_OPERATION, types=(str,)
        )
    except InvalidInput:
        found = None
    if not found:
        raise NotFound(
            f"there is no operation {operation.operation_id[:80]!r}",
            adapter=ADAPTER,
            operation=_OPERATION,
            hint="observe the endpoint to see how it stands",
        )
    return found[0], found[1:]
