"""A model folder, loaded; bodies in, bodies out."""

from __future__ import annotations

import inspect
import os
from io import StringIO
from typing import Any

from trackbridge.errors import ConfigError
from trackbridge.serving.answers import Answer, Refusal, bad_request, refusal_of
from trackbridge.serving.columns import TypedColumns, columns_of
from trackbridge.serving.packages import require
from trackbridge.serving.payloads import frame_of, parse_json, refuse_ragged_rows, with_azure_form
from trackbridge.serving.predictions import PredictionEncoder

CONTENT_TYPES = JSON_TYPE, CSV_TYPE = "application/json", "text/csv"
MODEL_FAILED = (
    "Encountered an unexpected error while evaluating the model. Verify that the serialized input Dataframe "
    "is compatible with the model for inference."
)


class ServedModel:
    """One model, scored by one thread at a time.

    With named columns of scalar types the frame is built here and given to the model itself (the documented
    interface of ``loader_module``); otherwise mlflow parses the payload, and ``PyFuncModel.predict`` enforces
    the signature.
    """

    def __init__(self, path: str) -> None:
        self._exception = require("mlflow.exceptions", extra="mlflow").MlflowException
        self._server = require("mlflow.pyfunc.scoring_server", extra="mlflow")
        self._enforce_params = require("mlflow.models.utils", extra="mlflow")._enforce_params_schema
        try:
            self._model = require("mlflow.pyfunc", extra="mlflow").load_model(
                os.path.realpath(path)  # mlflow refuses a link
            )
        except self._exception as error:
            raise ConfigError(f"mlflow cannot load {path}: {error.message}") from error
        self.metadata: Any = self._model.metadata
        self.input_schema: Any = self.metadata.get_input_schema()
        self.output_schema: Any = self.metadata.get_output_schema()
        self.params_schema: Any = self.metadata.get_params_schema()
        self._columns = self._direct_columns()
        flavor = self.metadata.flavors["python_function"]
        self._predict = getattr(self._model._model_impl, flavor.get("predict_fn", "predict"))
        taken = inspect.signature(self._predict).parameters.get("params")
        self._takes_params = taken is not None and taken.kind is not inspect.Parameter.VAR_KEYWORD
        self._encoder = PredictionEncoder()

    def _direct_columns(self) -> TypedColumns | None:
        """Return how frames are built here, None where mlflow does more than to enforce columns."""
        metadata = self.metadata
        for name in ("_is_signature_from_type_hint", "_is_type_hint_from_example"):
            if getattr(metadata, name, bool)():
                return None
        if (metadata.metadata or {}).get("dependencies_schemas"):
            return None
        columns = columns_of(self.input_schema)
        return None if columns is None else TypedColumns(columns)

    def score(self, content_type: str, body: bytes) -> Answer:
        """Return the answer to a body of ``/invocations``.

        Raises:
            Refusal: The body is wrong, or the model refuses it or fails on it.
        """
        mime_type = check_content_type(content_type)
        if mime_type == JSON_TYPE:
            return self._score_json(with_azure_form(parse_json(body)))
        return self._answer(self._predict_with_mlflow(self._parse_csv(body), None), is_wrapped=True)

    def _score_json(self, value: dict[str, Any]) -> Answer:
        if self._columns is not None:
            frame = frame_of(value, self._columns)
            if frame is not None:
                return self._answer(self._predict_directly(frame, value.get("params")), is_wrapped=True)
        refuse_ragged_rows(value)
        try:
            parsed = self._server._parse_json_data(value, self.metadata, self.input_schema)
        except self._exception as error:
            raise refusal_of(error) from error
        except RecursionError as error:
            raise bad_request("The JSON is nested too deeply.") from error
        predictions = self._predict_with_mlflow(parsed.data, parsed.params)
        return self._answer(predictions, is_wrapped=not parsed.is_unified_llm_input)

    def _parse_csv(self, body: bytes) -> Any:
        try:
            return self._server.parse_csv_input(StringIO(body.decode("utf-8")), schema=self.input_schema)
        except UnicodeDecodeError as error:
            raise bad_request(
                f"Ensure that input is a valid UTF-8 encoded string. Error: '{error}'"
            ) from error
        except self._exception as error:
            raise refusal_of(error) from error

    def _predict_directly(self, frame: Any, params: Any) -> Any:
        try:
            if params is not None or self.params_schema is not None:
                params = self._enforce_params(params, self.params_schema)
            return self._predict(frame, params=params) if self._takes_params else self._predict(frame)
        except self._exception as error:
            raise refusal_of(error, prefix="Failed to predict data. Error: ") from error
        except Exception as error:
            raise self._failure() from error

    def _predict_with_mlflow(self, data: Any, params: Any) -> Any:
        try:
            return self._model.predict(data, params=params)
        except self._exception as error:
            raise refusal_of(error, prefix="Failed to predict data. Error: ") from error
        except Exception as error:
            raise self._failure() from error

    def _failure(self) -> Refusal:
        """Whose fault: the model's when the input had been checked, else mlflow blames the input."""
        code = "BAD_REQUEST" if self.input_schema is None else "INTERNAL_ERROR"
        return Refusal(code, MODEL_FAILED, is_failure=True)

    def _answer(self, predictions: Any, *, is_wrapped: bool) -> Answer:
        try:
            body = self._encoder.encode(predictions, is_wrapped=is_wrapped)
            return Answer(200, body, rows=_rows_of(predictions))
        except Exception as error:
            raise Refusal(
                "INTERNAL_ERROR", f"The model returned what JSON cannot hold: {type(predictions).__name__}."
            ) from error


def _rows_of(predictions: Any) -> int:
    try:
        return len(predictions)
    except TypeError:  # a single number, also as an array without dimensions
        return 1


def check_content_type(content_type: str) -> str:
    """Return the media type of a content type.

    Raises:
        Refusal: 415, for types, charsets and parameters that mlflow's server does not take either.
    """
    if content_type == JSON_TYPE:
        return content_type
    mime_type, *parameters = [part.strip() for part in content_type.split(";")]
    values = {name: value for name, _, value in (part.partition("=") for part in parameters)}
    if values.pop("charset", "utf-8").lower() != "utf-8":
        raise Refusal("UNSUPPORTED_MEDIA_TYPE", "The scoring server only supports UTF-8")
    if values:
        raise Refusal("UNSUPPORTED_MEDIA_TYPE", f"Unrecognized content type parameters: {', '.join(values)}.")
    if mime_type not in CONTENT_TYPES:
        raise Refusal(
            "UNSUPPORTED_MEDIA_TYPE",
            "This predictor only supports the following content types: "
            f"Types: {list(CONTENT_TYPES)}. Got '{content_type}'.",
        )
    return mime_type
