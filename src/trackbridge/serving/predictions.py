"""Predictions as JSON: the values that mlflow's server gives, without its detour over Python's encoder.

NaN and infinities become ``null``, so that the answer is JSON for every client; mlflow writes ``NaN``.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from trackbridge.serving.packages import require


class PredictionEncoder:
    """Encodes what models return: arrays, frames, series, and whatever mlflow's encoder knows."""

    def __init__(self) -> None:
        import numpy
        import pandas

        mlflow_json = require("mlflow.utils.proto_json_utils", extra="mlflow")
        self._array, self._frame = numpy.ndarray, pandas.DataFrame
        self._jsonable = mlflow_json._get_jsonable_obj
        self._numpy_encoder = mlflow_json.NumpyEncoder
        self._encode = msgspec.json.Encoder(enc_hook=self._unknown).encode

    def encode(self, predictions: Any, *, is_wrapped: bool) -> bytes:
        """Return the body of an answer; ``is_wrapped`` puts it below the key ``predictions``.

        Raises:
            TypeError, ValueError or RecursionError: The model returned something that JSON cannot hold.
        """
        plain = self._plain(predictions)
        content = {"predictions": plain} if is_wrapped else plain
        try:
            return self._encode(content)
        except (TypeError, ValueError, OverflowError):
            # What only mlflow's encoder can do, then JSON for everybody.
            return msgspec.json.encode(json.loads(json.dumps(content, cls=self._numpy_encoder)))

    def _plain(self, predictions: Any) -> Any:
        if isinstance(predictions, self._array):
            return predictions.tolist()
        if type(predictions) is self._frame and all(dtype.kind in "iufb" for dtype in predictions.dtypes):
            names = predictions.columns.tolist()
            columns = [predictions.iloc[:, place].tolist() for place in range(len(names))]
            return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        return self._jsonable(predictions, pandas_orient="records")

    def _unknown(self, value: Any) -> Any:
        converted, is_done = self._numpy_encoder().try_convert(value)
        if not is_done:
            raise TypeError(f"{type(value).__name__} is not JSON")
        return converted
