"""Asking an endpoint from a program: ``tb.endpoint("endpoints:/prod/wine").predict(frame)``.

The payload is what mlflow's scoring servers take, and the answer is read as mlflow's client reads it::

    pandas or polars frame, Arrow table      dataframe_split
    array, list, tensor, a mapping of them   inputs
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trackbridge.errors import InvalidInput, Rejected

if TYPE_CHECKING:
    from trackbridge.domain.deployments import EndpointMetrics, EndpointState
    from trackbridge.operations.opening import Opened, UriArgument

JSON_TYPE = "application/json"


class Endpoint:
    """An endpoint as a program sees it. Nothing is asked before a method is called.

    Args:
        name: Its name, ``endpoints:/NAME`` or ``endpoints:/REMOTE/NAME``.
        target: Where it is: ``local``, a remote's name or a URI.

    Raises:
        InvalidInput: The name has another form, or names another place than ``target``.
    """

    def __init__(self, name: str, target: UriArgument = None) -> None:
        from trackbridge.operations.endpoint_requests import endpoint_address

        address = endpoint_address(name, target)
        self.name = address.name
        self._target_uri: UriArgument = "local" if address.target is None else address.target
        self._opened: Opened | None = None

    def __repr__(self) -> str:
        return f"Endpoint({self.name!r}, target={self._target_uri!r})"

    @property
    def _place(self) -> Opened:
        if self._opened is None:
            from trackbridge.operations.opening import open_place

            self._opened = open_place(self._target_uri)
        return self._opened

    def predict(
        self, data: Any, params: Mapping[str, Any] | None = None, *, deployment: str | None = None
    ) -> Any:
        """Send one request and return the predictions: a list, or whatever the model answers with.

        The request is sent again only where it was certainly not scored: nobody took the connection, or it
        was one too many and the answer says when to come back.

        Args:
            data: A frame, an array, a list, or a mapping of names to them.
            params: Parameters of the model's ``predict``.
            deployment: Ask this one, whatever its share of the traffic.

        Raises:
            InvalidInput: The data is nothing that JSON can hold.
            NotFound: There is no such endpoint or deployment.
            Rejected: The model refuses the payload; the message is the model's.
            RateLimited: Too many requests are waiting.
            Unavailable: Nobody serves.
            TimedOut: No answer came; it may have been scored.
        """
        from trackbridge.operations.endpoint_requests import ask

        payload = payload_of(data, params)
        answer = ask(self._place, self.name, payload, content_type=JSON_TYPE, deployment=deployment)
        return _predictions(answer)

    def state(self) -> EndpointState:
        """Return the endpoint as it stands now.

        Raises:
            NotFound: There is no endpoint of this name.
        """
        from trackbridge.operations.deploy import observed_endpoint

        return observed_endpoint(self._place, self.name)

    @property
    def traffic(self) -> dict[str, int]:
        """The share of live requests of each deployment, in percent."""
        return self.state().traffic

    def metrics(self, window_s: int = 300) -> dict[str, EndpointMetrics]:
        """Return requests, errors and latencies of each deployment over the last seconds.

        Raises:
            NotFound: There is no endpoint of this name.
            Unsupported: The target has no telemetry.
        """
        found = self._place.target.read_metrics(self.name, window_s=window_s)
        return {item.deployment: item for item in found}


def endpoint(name: str, target: UriArgument = None) -> Endpoint:
    """Return an endpoint by its name, to ask it and to see how it is doing.

    Args:
        name: Its name, ``endpoints:/NAME`` or ``endpoints:/REMOTE/NAME``.
        target: Where it is: ``local`` (the default), a remote's name or a URI.

    Raises:
        InvalidInput: The name has another form, or names another place than ``target``.
    """
    return Endpoint(name, target)


# What is sent.


def payload_of(data: Any, params: Mapping[str, Any] | None = None) -> bytes:
    """Return the JSON of a request. NaN and missing values of a frame become null.

    Raises:
        InvalidInput: The data is nothing that JSON can hold.
    """
    try:
        body: dict[str, Any] = _split_frame(data) or {"inputs": _plain(data)}
        if params:
            body["params"] = _plain(dict(params))
        return json.dumps(body, allow_nan=False, ensure_ascii=False).encode()
    except InvalidInput:
        raise
    except (ValueError, TypeError, RecursionError) as error:
        raise _unsendable(str(error)) from error


def _split_frame(data: Any) -> dict[str, Any] | None:
    """Return a frame as ``dataframe_split``, None for what is no frame."""
    if hasattr(data, "to_pandas") and not hasattr(data, "iloc"):  # polars, Arrow
        names = getattr(data, "column_names", None) or getattr(data, "columns", None)
        columns = [_column(data[name]) for name in names or ()]
        rows = [list(row) for row in zip(*columns, strict=True)]
        return {"dataframe_split": {"columns": _names(names or ()), "data": rows}}
    if not (hasattr(data, "columns") and hasattr(data, "iloc")):
        return None
    columns = [_column(data.iloc[:, number]) for number in range(len(data.columns))]
    rows = [list(row) for row in zip(*columns, strict=True)] if columns else [[] for _ in range(len(data))]
    return {"dataframe_split": {"columns": _names(data.columns), "data": rows}}


def _names(columns: Any) -> list[Any]:
    return [name if isinstance(name, str) else _plain(name) for name in columns]


def _column(values: Any) -> list[Any]:
    listed = values.to_list() if hasattr(values, "to_list") else values.to_pylist()
    return [_cell(value) for value in listed]


def _cell(value: Any) -> Any:
    """Return one value of a frame; what is missing is null."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    return _plain(value)


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it.

    Raises:
        InvalidInput: JSON has nothing for it.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (bytes, bytearray)):
        import base64

        return base64.b64encode(value).decode()
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    return _plain_array(value)


def _plain_array(value: Any) -> Any:
    """Return what numpy, PyTorch or pandas made as numbers and lists."""
    if hasattr(value, "detach"):  # a tensor, which may be on another device
        value = value.detach().cpu().numpy()
    for method in ("tolist", "to_list", "to_pylist", "item"):
        if hasattr(value, method):
            found = getattr(value, method)()
            if type(found) is not type(value):
                return _plain(found)
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    raise _unsendable(f"a {type(value).__name__} is no JSON")


def _number(value: float) -> float | None:
    if math.isnan(value):
        return None
    if math.isinf(value):
        raise _unsendable("JSON has no infinity")
    return value


def _unsendable(problem: str) -> InvalidInput:
    return InvalidInput(
        f"the data cannot be sent: {problem}",
        operation="endpoint.predict",
        hint="give a frame, an array, or lists of numbers and texts",
    )


def _predictions(answer: bytes) -> Any:
    """Return the predictions of an answer.

    Raises:
        Rejected: The answer is no JSON.
    """
    try:
        content = json.loads(answer)
    except ValueError as error:
        raise Rejected(
            f"the endpoint answered with {len(answer)} bytes that are no JSON",
            operation="endpoint.predict",
            hint="see its logs: bridge endpoints logs",
        ) from error
    return content["predictions"] if isinstance(content, dict) and "predictions" in content else content
