"""Objects to the bytes of an artifact: text, dictionaries, figures, images and tables.

The artifact path's extension chooses the format. Images and tables have modules of their own; all are
reached through this one.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from trackbridge.api.extras import require_package
from trackbridge.api.images import StepImagePaths, encode_image, encode_thumbnail, image_paths
from trackbridge.api.tables import encode_table, merge_tables
from trackbridge.errors import InvalidInput, MissingExtra

__all__ = [
    "StepImagePaths",
    "encode_dict",
    "encode_figure",
    "encode_image",
    "encode_table",
    "encode_text",
    "encode_thumbnail",
    "merge_tables",
    "image_paths",
]

_DEPTH_MAX = 200
_YAML_EXTENSIONS = (".yaml", ".yml")


def encode_text(text: str, path: str) -> bytes:
    """Return the text in UTF-8.

    Raises:
        InvalidInput: It is not text, or holds a lone surrogate.
    """
    if not isinstance(text, str):
        raise InvalidInput(
            f"the text for {path!r} is {type(text).__name__}, not str",
            operation="log_text",
            hint="log bytes with log_artifact, dictionaries with log_dict",
        )
    return _utf8(text, path, "log_text")


def encode_dict(obj: object, path: str) -> bytes:
    """Return a dictionary or list as YAML for ``.yaml`` and ``.yml``, else as JSON indented by 2.

    Tuples become lists, numpy arrays and scalars become lists and numbers. NaN and infinities are written
    as Python's ``json`` writes them.

    Raises:
        InvalidInput: Something in it has no form in JSON (the message says where), or it is nested deeper
            than 200 levels, as one that contains itself is.
        MissingExtra: YAML without PyYAML.
    """
    plain = _plain(obj, "", 0)
    if PurePosixPath(path).suffix.lower() not in _YAML_EXTENSIONS:
        return _utf8(json.dumps(plain, indent=2, ensure_ascii=False), path, "log_dict")
    yaml = require_package("yaml", install="pyyaml", purpose="log_dict to a YAML file")
    return _utf8(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), path, "log_dict")


def encode_figure(figure: Any, path: str, **save_options: Any) -> bytes:
    """Return a matplotlib figure in the format of the path's extension, or a plotly figure as HTML or image.

    ``save_options`` go to matplotlib's ``savefig``, or plotly's ``to_html`` or ``to_image``. Plotly's
    HTML loads its script from the network, as mlflow's does.

    Raises:
        InvalidInput: It is no such figure, the path has no extension, or the format is not offered.
        MissingExtra: A plotly figure is to become an image without kaleido.
    """
    extension = PurePosixPath(path).suffix.lower().removeprefix(".")
    if not extension:
        raise InvalidInput(
            f"the figure's path {path!r} has no extension",
            operation="log_figure",
            hint="use a path such as 'plots/loss.png'",
        )
    if hasattr(figure, "savefig"):
        return _matplotlib_bytes(figure, extension, path, save_options)
    if hasattr(figure, "to_html") and hasattr(figure, "to_image"):
        return _plotly_bytes(figure, extension, path, save_options)
    raise InvalidInput(
        f"cannot save a figure of type {type(figure).__name__}",
        operation="log_figure",
        hint="pass a matplotlib or plotly figure; log other pictures with log_image or log_artifact",
    )


def _matplotlib_bytes(figure: Any, extension: str, path: str, save_options: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    try:
        figure.savefig(buffer, **{"format": extension, **save_options})
    except ValueError as error:
        raise _not_saved(path, error) from error
    return buffer.getvalue()


def _plotly_bytes(figure: Any, extension: str, path: str, save_options: dict[str, Any]) -> bytes:
    try:
        if extension in ("html", "htm"):
            html: str = figure.to_html(**{"include_plotlyjs": "cdn", **save_options})
            return html.encode()
        image: bytes = figure.to_image(**{"format": extension, **save_options})
        return image
    except ImportError as error:
        raise MissingExtra(
            f"saving a plotly figure as {extension} needs kaleido", hint="pip install kaleido"
        ) from error
    except ValueError as error:
        # Plotly reports an absent kaleido as a ValueError, and a wrong format too.
        raise _not_saved(path, error) from error


def _not_saved(path: str, error: Exception) -> InvalidInput:
    return InvalidInput(f"the figure cannot be saved as {path!r}: {error}", operation="log_figure")


def _plain(value: Any, where: str, depth: int) -> Any:
    """Return the value made of dict, list, str, int, float, bool and None only."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)  # YAML takes no subclasses, such as enums and numpy.float64
    if isinstance(value, int | float):
        return int(value) if isinstance(value, int) else float(value)
    if depth >= _DEPTH_MAX:
        raise InvalidInput(
            f"the dictionary is nested deeper than {_DEPTH_MAX} levels at {where[:80]!r}, or contains itself",
            operation="log_dict",
        )
    if isinstance(value, Mapping):
        return {_key(key, where): _plain(item, f"{where}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return _plain_array(value, where, depth)
    raise _not_serialisable(f"the value at {where.lstrip('.')!r}" if where else "the object", value)


def _plain_array(value: Any, where: str, depth: int) -> Any:
    listed = value.tolist()
    if type(listed) is type(value):  # a numpy.longdouble stays what it is
        raise _not_serialisable(f"the value at {where.lstrip('.')!r}", value)
    return _plain(listed, where, depth + 1)


def _key(key: object, where: str) -> str | int | float | bool | None:
    if key is None or isinstance(key, str | int | float | bool):
        return key
    raise _not_serialisable(f"the key {str(key)[:40]!r} in {where.lstrip('.') or 'the dictionary'!r}", key)


def _not_serialisable(what: str, value: object) -> InvalidInput:
    return InvalidInput(
        f"{what} is {type(value).__name__}, which JSON and YAML cannot hold",
        operation="log_dict",
        hint="turn it into text, a number, a list or a dictionary first",
    )


def _utf8(text: str, path: str, operation: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"the text for {path!r} is not valid Unicode (a lone surrogate at position {error.start})",
            operation=operation,
        ) from error
