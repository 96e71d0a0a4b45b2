"""Our errors by the error codes that mlflow's clients look at; the plugin and the gateway tell the same."""

from __future__ import annotations

from trackbridge.errors import (
    AuthError,
    BridgeError,
    ConfigError,
    Conflict,
    Exhausted,
    InvalidInput,
    JournalFull,
    NotFound,
    RateLimited,
    Rejected,
    TimedOut,
    Transient,
    Unsupported,
)

# The first that fits.
_CODES: tuple[tuple[type[BridgeError], str], ...] = (
    (NotFound, "RESOURCE_DOES_NOT_EXIST"),
    (Conflict, "RESOURCE_ALREADY_EXISTS"),
    (InvalidInput, "INVALID_PARAMETER_VALUE"),
    (ConfigError, "INVALID_PARAMETER_VALUE"),
    (Rejected, "INVALID_STATE"),
    (Unsupported, "NOT_IMPLEMENTED"),
    (AuthError, "PERMISSION_DENIED"),
    (RateLimited, "REQUEST_LIMIT_EXCEEDED"),
    (TimedOut, "DEADLINE_EXCEEDED"),
    (Transient, "TEMPORARILY_UNAVAILABLE"),
    (Exhausted, "TEMPORARILY_UNAVAILABLE"),
    (JournalFull, "RESOURCE_EXHAUSTED"),
)


def code_of(error: BridgeError) -> str:
    """Return the name of mlflow's error code for an error of ours."""
    if isinstance(error, Conflict) and error.operation == "log_param":
        return "INVALID_PARAMETER_VALUE"  # as mlflow's stores say it
    return next((code for kind, code in _CODES if isinstance(error, kind)), "INTERNAL_ERROR")


def message_of(error: BridgeError) -> str:
    """Return what a client of mlflow is told; the hint is its end."""
    return f"{error}; {error.hint}" if error.hint else str(error)
