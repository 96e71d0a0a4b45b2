"""Every error that trackbridge raises.

::

    BridgeError                      what went wrong; where; what to do next
    ├─ ConfigError (ValueError)      a setting, a URI or a file of settings is wrong
    │  ├─ UnknownScheme              no adapter answers to the URI's scheme
    │  └─ MissingExtra (ImportError) the adapter or feature needs a package that is not installed
    ├─ Unsupported (NotImplementedError)  a declared gap of the backend, with its reason
    ├─ NotFound (LookupError)        the named thing does not exist
    ├─ Conflict                      it exists already with another content
    ├─ PlanStale                     the world changed since the plan was made
    ├─ Locked                        another process holds it
    ├─ LimitReached                  more would be done than the user allows
    ├─ AuthError (PermissionError)   who you are is unknown, or may not do this
    ├─ Rejected                      permanent: the same call will never be accepted
    │  └─ InvalidInput (ValueError)  no backend could hold the value
    │     └─ InvalidQuery            the search text is wrong; ``position`` says where
    ├─ Transient                     the same call may succeed later
    │  ├─ RateLimited                ``retry_after_s`` when the backend said so
    │  ├─ Unavailable (ConnectionError)
    │  │  └─ NotRunning              nothing listens at an address of this machine
    │  └─ TimedOut (TimeoutError)    ``ambiguous``: it may have been done all the same
    ├─ Exhausted                     it was transient; every attempt was used up
    └─ JournalError                  the write-ahead log
       ├─ JournalFull                the disk or the journal's bound refuses records
       └─ JournalCorrupt             bytes of the journal were damaged

``str(error)`` is one line; ``error.hint`` holds the next step. Each class has the ``exit_code`` that
the command line ends with.
"""

from __future__ import annotations

__all__ = [
    "AuthError",
    "BridgeError",
    "ConfigError",
    "Conflict",
    "Exhausted",
    "InvalidInput",
    "InvalidQuery",
    "JournalCorrupt",
    "JournalError",
    "JournalFull",
    "LimitReached",
    "Locked",
    "MissingExtra",
    "NotFound",
    "NotRunning",
    "PlanStale",
    "RateLimited",
    "Rejected",
    "TimedOut",
    "Transient",
    "Unavailable",
    "UnknownScheme",
    "Unsupported",
]


class BridgeError(Exception):
    """Base of all errors of trackbridge.

    Args:
        message: What went wrong, in one sentence.
        adapter: The backend concerned, for example ``local``.
        operation: The port call, for example ``tracking.write``.
        resource: The thing concerned, for example ``run 0193…``.
        hint: What to do next.
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        adapter: str | None = None,
        operation: str | None = None,
        resource: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.adapter = adapter
        self.operation = operation
        self.resource = resource
        self.hint: str | None = None
        if hint is not None:
            self.advise(hint)

    def advise(self, hint: str) -> None:
        """Say what to do next, instead of what was said so far."""
        self.hint = hint
        self.__notes__ = [f"hint: {hint}"]  # from Python 3.11 on shown below a traceback

    def __str__(self) -> str:
        where = [part for part in (self.adapter, self.operation, self.resource) if part]
        return f"{self.message} [{', '.join(where)}]" if where else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.__dict__.copy())


def _rebuild(kind: type[BridgeError], state: dict[str, object]) -> BridgeError:
    """Unpickle an error with all its fields, so that it can cross a process boundary."""
    error = kind.__new__(kind, state["message"])
    error.__dict__.update(state)
    error.args = (state["message"],)
    return error


class ConfigError(BridgeError, ValueError):
    """A setting, a URI or a file of settings is wrong."""


class UnknownScheme(ConfigError):
    """No installed adapter answers to the scheme of a URI."""


class MissingExtra(ConfigError, ImportError):
    """A package that this feature needs is not installed; the hint is the exact command."""


class Unsupported(BridgeError, NotImplementedError):
    """The backend declares that it does not have this, and why."""


class NotFound(BridgeError, LookupError):
    """The named thing does not exist."""


class Conflict(BridgeError):
    """It exists already, with another content."""


class PlanStale(BridgeError):
    """What the plan was made from has changed since."""


class Locked(BridgeError):
    """Another process holds the resource."""

    exit_code = 11


class LimitReached(BridgeError):
    """More would be done than the user allows."""

    exit_code = 8


class AuthError(BridgeError, PermissionError):
    """The credentials are missing, expired, or do not allow this."""

    exit_code = 6


class Rejected(BridgeError):
    """Permanent: the same call will never be accepted."""


class InvalidInput(Rejected, ValueError):
    """A value that no backend could hold; it is refused at the call."""


class InvalidQuery(InvalidInput):
    """The text of a search is wrong.

    Args:
        text: The whole search text.
        position: Index of the offending character in ``text``, from 0.
    """

    exit_code = 2

    def __init__(self, message: str, *, text: str, position: int, hint: str | None = None) -> None:
        super().__init__(
            f"{message} at position {position}, near {text[max(0, position - 40) : position + 40]!r}",
            operation="search",
            hint=hint,
        )
        self.text = text
        self.position = position


class Transient(BridgeError):
    """The same call may succeed later."""

    exit_code = 5


class RateLimited(Transient):
    """The backend asks for fewer calls.

    Args:
        retry_after_s: Seconds to wait, where the backend named them.
    """

    exit_code = 7

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        adapter: str | None = None,
        operation: str | None = None,
        resource: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, adapter=adapter, operation=operation, resource=resource, hint=hint)
        self.retry_after_s = retry_after_s


class Unavailable(Transient, ConnectionError):
    """The backend cannot be reached, or says that it is not ready."""


class NotRunning(Unavailable):
    """Nothing listens at an address of this machine: waiting rarely helps, starting the server does."""


class TimedOut(Transient, TimeoutError):
    """No answer within the time limit.

    Args:
        ambiguous: True when the backend may have done it all the same.
    """

    def __init__(
        self,
        message: str,
        *,
        ambiguous: bool,
        adapter: str | None = None,
        operation: str | None = None,
        resource: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, adapter=adapter, operation=operation, resource=resource, hint=hint)
        self.ambiguous = ambiguous


class Exhausted(BridgeError):
    """It was transient, and every attempt was used up.

    Args:
        attempts: How many were made.
        elapsed_s: Seconds from the first attempt to the end of the last.
    """

    exit_code = 5

    def __init__(
        self,
        message: str,
        *,
        attempts: int,
        elapsed_s: float,
        adapter: str | None = None,
        operation: str | None = None,
        resource: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, adapter=adapter, operation=operation, resource=resource, hint=hint)
        self.attempts = attempts
        self.elapsed_s = elapsed_s


class JournalError(BridgeError):
    """The write-ahead log cannot be written or read."""


class JournalFull(JournalError):
    """The disk or the journal's bound refuses records for now."""

    exit_code = 8


class JournalCorrupt(JournalError):
    """Bytes of the journal were damaged; every valid record was kept."""
