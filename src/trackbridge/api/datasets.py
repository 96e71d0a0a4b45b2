"""Data in memory or in a file to what a run remembers of it: name, digest, schema and size.

**Digest**: 32 hexadecimal digits of SHA-256, the same for the same content on every machine. It covers the
column names and types, the number of rows, and the values: all of them up to 1,000,000, beyond that the
values of evenly spaced rows, the first and the last among them. Of a file it covers the size and all bytes
up to 256 MiB, beyond that 256 evenly spaced pieces of 1 MiB, the first and the last among them. So a change
between the samples of very large data goes unseen; give ``DatasetInput(digest=...)`` where that matters.
Pandas, polars and dictionaries of the same values need not agree.

**Schema and profile** are JSON in mlflow's form: ``{"mlflow_colspec": [...]}`` for tables,
``{"mlflow_tensorspec": {...}}`` for arrays, ``{"num_rows": ..., "num_columns": ..., "num_elements": ...}``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from trackbridge.api.tables import is_pandas, is_polars, to_columns
from trackbridge.domain.runs import DatasetInput
from trackbridge.errors import InvalidInput, NotFound
from trackbridge.transport.redaction import redact, strip_credentials

TAG_CONTEXT = "mlflow.data.context"
VALUES_HASHED_MAX = 1_000_000
FILE_BYTES_HASHED_MAX = 256 * 1024 * 1024

_PIECE_BYTES = 1024 * 1024
_DIGEST_CHARS = 32  # mlflow's stores hold 36
_MEMORY_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_COLUMN_TYPES = (
    (re.compile(r"bool.*"), "boolean"),
    (re.compile(r"u?int(8|16)|int32"), "integer"),
    (re.compile(r"u?int\d*"), "long"),
    (re.compile(r"float(16|32)"), "float"),
    (re.compile(r"float\d*|double"), "double"),
    (re.compile(r"date.*"), "datetime"),
    (re.compile(r"(str|utf8|object|categor|enum).*"), "string"),
    (re.compile(r"binary|bytes"), "binary"),
)


@dataclass(frozen=True, slots=True)
class _Description:
    """What is known of the data itself; ``source`` only where the data is a file."""

    name: str
    digest: str
    schema: str
    profile: str
    source: str = ""


def dataset_input(
    data: Any,
    *,
    name: str | None = None,
    source: str = "",
    context: str | None = None,
    targets: Any = None,
) -> DatasetInput:
    """Describe data that a run reads.

    Args:
        data: A pandas or polars frame, a numpy array, a dictionary of columns, the path of a file, a
            ``DatasetInput``, or an object with mlflow's ``name``, ``digest`` and ``to_dict()``.
        name: Its name; ``dataset``, or the file's name, by default.
        source: Where it came from, a path or an address; credentials and queries in it are dropped.
        context: What it is used for, such as ``training``.
        targets: The target column or columns of a table by name; for a numpy array, the array of targets.

    Raises:
        InvalidInput: It is nothing of these, or there is no such target column.
        NotFound: There is no such file.
    """
    tags = {} if context is None else {TAG_CONTEXT: context}
    if isinstance(data, DatasetInput):
        return _renamed(data, name, source, tags)
    if _is_mlflow(data):
        return _renamed(_of_mlflow(data), name, source, tags)
    described = _described(data, targets)
    address = _clean_source(source or described.source)
    return DatasetInput(
        name=name or described.name,
        digest=described.digest,
        source_type=_source_type(address),
        source=address,
        schema=described.schema,
        profile=described.profile,
        tags=tags,
    )


def _renamed(dataset: DatasetInput, name: str | None, source: str, tags: dict[str, str]) -> DatasetInput:
    changes: dict[str, Any] = {"name": name or dataset.name, "tags": {**dataset.tags, **tags}}
    if source:
        changes |= {"source": _clean_source(source), "source_type": _source_type(source)}
    return msgspec.structs.replace(dataset, **changes)


def _is_mlflow(data: Any) -> bool:
    is_frame = is_pandas(data) or is_polars(data)  # these may have columns of those names
    return not is_frame and all(hasattr(data, name) for name in ("name", "digest", "to_dict"))


def _of_mlflow(dataset: Any) -> DatasetInput:
    described = dataset.to_dict()
    if not isinstance(described, Mapping):
        raise _invalid(f"to_dict() of {type(dataset).__name__} is no dictionary")
    return DatasetInput(
        name=str(dataset.name),
        digest=str(dataset.digest),
        source_type=_as_text(described.get("source_type")),
        source=redact(_as_text(described.get("source"))),
        schema=_as_text(described.get("schema")),
        profile=_as_text(described.get("profile")),
    )


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _described(data: Any, targets: Any) -> _Description:
    if isinstance(data, str | os.PathLike):
        return _of_file(Path(data))
    if _is_array(data):
        return _of_array(data, targets)
    if is_pandas(data) or is_polars(data):
        return _of_frame(data, targets)
    if isinstance(data, Mapping):
        return _of_columns(data, targets)
    raise _invalid(
        f"cannot describe data of type {type(data).__name__}",
        "pass a frame, an array, a dictionary of columns or a file, or DatasetInput(name=..., digest=...)",
    )


# Tables.


def _of_frame(frame: Any, targets: Any) -> _Description:
    names = [str(column) for column in frame.columns]
    types = [_column_type(str(dtype)) for dtype in frame.dtypes]
    row_count = len(frame)
    rows = _sampled(row_count, len(names))
    if rows is not None:
        frame = frame.iloc[rows] if is_pandas(frame) else frame[rows]
    columns = to_columns(frame, operation="log_input")
    return _of_table(names, types, row_count, columns, targets)


def _of_columns(data: Mapping[Any, Any], targets: Any) -> _Description:
    columns = to_columns(data, operation="log_input")
    types = [_type_of_values(values) for values in columns.values()]
    row_count = len(next(iter(columns.values()), []))
    rows = _sampled(row_count, len(columns))
    if rows is not None:
        columns = {name: [values[row] for row in rows] for name, values in columns.items()}
    return _of_table(list(columns), types, row_count, columns, targets)


def _of_table(
    names: list[str], types: list[str], row_count: int, sample: dict[str, list[Any]], targets: Any
) -> _Description:
    schema = [
        {"type": kind, "name": name, "required": all(value is not None for value in sample[name])}
        for name, kind in zip(names, types, strict=True)
    ]
    profile: dict[str, Any] = {
        "num_rows": row_count,
        "num_columns": len(names),
        "num_elements": row_count * len(names),
    }
    wanted = _target_names(targets, names)
    if wanted:
        profile["targets"] = wanted
    digest = hashlib.sha256(_json([row_count, names, types]).encode(errors="surrogatepass"))
    for name in names:
        digest.update(_values_bytes(sample[name]))
    return _Description("dataset", _short(digest), _json({"mlflow_colspec": schema}), _json(profile))


def _target_names(targets: Any, names: Sequence[str]) -> list[str]:
    if targets is None:
        return []
    wanted = [targets] if isinstance(targets, str) else targets
    if not isinstance(wanted, list | tuple) or not all(isinstance(name, str) for name in wanted):
        raise _invalid("the targets of a table are names of its columns", "targets='label'")
    missing = [name for name in wanted if name not in names]
    if missing:
        raise _invalid(f"there is no target column {missing[0]!r}", f"columns: {', '.join(names[:10])}")
    return list(wanted)


def _column_type(dtype: str) -> str:
    return next((kind for pattern, kind in _COLUMN_TYPES if pattern.fullmatch(dtype.lower())), "any")


def _type_of_values(values: list[Any]) -> str:
    value = next((value for value in values if value is not None), None)
    if isinstance(value, date):
        return "datetime"
    return _column_type(type(value).__name__)


def _sampled(row_count: int, column_count: int) -> list[int] | None:
    """Return the rows to hash, evenly spaced from first to last; None for all."""
    if row_count * column_count <= VALUES_HASHED_MAX:
        return None
    return _spaced(row_count, max(2, VALUES_HASHED_MAX // column_count))


def _spaced(count: int, wanted: int) -> list[int]:
    """Return ``wanted`` indices from 0 to ``count - 1``, both included; all where there are fewer."""
    if count <= wanted:
        return list(range(count))
    return [index * (count - 1) // (wanted - 1) for index in range(wanted)]


def _values_bytes(values: list[Any]) -> bytes:
    try:
        return msgspec.msgpack.encode(values, enc_hook=_named)
    except (OverflowError, UnicodeEncodeError, TypeError, ValueError, RecursionError):
        return msgspec.msgpack.encode([_plain(value) for value in values], enc_hook=_named)


def _plain(value: Any) -> Any:
    """Return what msgpack takes instead of a huge integer, a lone surrogate or something nested."""
    return value if isinstance(value, float | bool | bytes) else _named(value)


def _named(value: Any) -> bytes:
    """Return type and text of a value that msgpack does not know, without memory addresses."""
    text = _MEMORY_ADDRESS.sub("", f"{type(value).__name__}:{value}")
    return text.encode(errors="surrogatepass")


# Arrays.


def _is_array(data: Any) -> bool:
    return type(data).__module__.partition(".")[0] == "numpy" and hasattr(data, "shape")


def _of_array(data: Any, targets: Any) -> _Description:
    if targets is not None and not _is_array(targets):
        raise _invalid("the targets of a numpy array are a numpy array", "targets=numpy.asarray(labels)")
    arrays = {"features": data} if targets is None else {"features": data, "targets": targets}
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype.newbyteorder('<').str} {array.shape}\n".encode())
        digest.update(_array_bytes(array))
    schema = {"mlflow_tensorspec": {name: [_tensor_spec(array)] for name, array in arrays.items()}}
    return _Description("dataset", _short(digest), _json(schema), _json(_array_profile(data)))


def _array_profile(data: Any) -> dict[str, int]:
    rows = int(data.shape[0]) if data.ndim else 1
    return {
        "num_rows": rows,
        "num_columns": int(data.size) // rows if rows else 0,
        "num_elements": int(data.size),
    }


def _array_bytes(array: Any) -> bytes:
    rows = _sampled(array.shape[0], array.size // array.shape[0]) if array.ndim and array.size else None
    sample = array if rows is None else array[rows]
    if array.dtype.hasobject:
        return _values_bytes(sample.ravel().tolist())
    little_endian = sample.astype(sample.dtype.newbyteorder("<"), copy=False)
    content: bytes = little_endian.tobytes()
    return content


def _tensor_spec(array: Any) -> dict[str, Any]:
    shape = [-1, *map(int, array.shape[1:])] if array.ndim else []
    return {"type": "tensor", "tensor-spec": {"dtype": str(array.dtype), "shape": shape}}


# Files.


def _of_file(path: Path) -> _Description:
    if not os.path.exists(path):
        raise NotFound(
            f"there is no file {redact(str(path)[:200])!r}",
            operation="log_input",
            hint="data that lies elsewhere is named by DatasetInput(name=..., digest=..., source=...)",
        )
    if not os.path.isfile(path):
        raise _invalid(f"{str(path)!r} is not a file", "pass one file, or DatasetInput(name=..., digest=...)")
    try:
        size, digest = _file_digest(path)
    except OSError as error:
        raise _invalid(f"{str(path)!r} cannot be read: {error.strerror}") from error
    return _Description(path.name, digest, "", _json({"num_bytes": size}), source=str(path))


def _file_digest(path: Path) -> tuple[int, str]:
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.sha256(f"{size}\n".encode())
        for offset in _piece_offsets(size):
            file.seek(offset)
            digest.update(file.read(_PIECE_BYTES))
    return size, _short(digest)


def _piece_offsets(size: int) -> list[int]:
    if size <= FILE_BYTES_HASHED_MAX:
        return list(range(0, size, _PIECE_BYTES))
    return _spaced(size - _PIECE_BYTES + 1, FILE_BYTES_HASHED_MAX // _PIECE_BYTES)


# Texts.


def _clean_source(source: str) -> str:
    return strip_credentials(source) if _SCHEME.match(source) else redact(source)


def _source_type(source: str) -> str:
    """Return mlflow's word for a kind of source; ``code`` where none is known."""
    scheme = _SCHEME.match(source)
    if scheme is None:
        return "local" if source else "code"
    return {"https": "http", "file": "local"}.get(scheme[1].lower(), scheme[1].lower())


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _short(digest: Any) -> str:
    text: str = digest.hexdigest()
    return text[:_DIGEST_CHARS]


def _invalid(message: str, hint: str | None = None) -> InvalidInput:
    return InvalidInput(message, operation="log_input", hint=hint)
