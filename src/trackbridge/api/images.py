"""Pictures to the bytes of an artifact, and the names under which mlflow's pages find pictures by step."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from trackbridge.api.extras import require
from trackbridge.domain.artifacts import checked_path
from trackbridge.domain.ids import mint_id
from trackbridge.errors import InvalidInput

TAG_LOGGED_IMAGES = "mlflow.loggedImages"
"""Set to ``True`` on a run with pictures by step: mlflow's pages look for it."""

THUMBNAIL_PIXELS = 256

_CHANNELS = (1, 3, 4)
_KEY = re.compile(r"[A-Za-z0-9_\-./ ]+")


@dataclass(frozen=True, slots=True)
class StepImagePaths:
    """Artifact paths of a picture (PNG) and of its small copy (WebP)."""

    image: str
    thumbnail: str


def image_paths(key: str, step: int, timestamp: int) -> StepImagePaths:
    """Return where ``log_image(image, key=, step=)`` puts a picture, in mlflow's naming; new at each call.

    Args:
        key: Name of the series; letters, digits, ``_-./`` and spaces.
        step: Step of the picture.
        timestamp: Milliseconds since 1970.

    Raises:
        InvalidInput: The key has other characters, or is too long.
    """
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise InvalidInput(
            f"the image key {str(key)[:60]!r} may hold only letters, digits, spaces and '_-./'",
            operation="log_image",
        )
    stem = f"images/{key.replace('/', '#')}%step%{step}%timestamp%{timestamp}%{mint_id()}"
    thumbnail = checked_path(f"{stem}%compressed.webp")
    return StepImagePaths(f"{stem}.png", thumbnail)


def encode_image(image: Any, path: str) -> bytes:
    """Return a picture in the format of the path's extension.

    Args:
        image: A PIL image, or a numpy array of shape (height, width) or (height, width, 1, 3 or 4
            channels): integers from 0 to 255, floats from 0 to 1, or bool. Floats beyond that are stretched
            to 0 to 1 with a warning, as mlflow does.
        path: The artifact's path.

    Raises:
        InvalidInput: It is no such picture, or the format is unknown or cannot hold it.
        MissingExtra: Pillow or numpy is not installed.
    """
    pillow = _pillow()
    file_format = pillow.registered_extensions().get(PurePosixPath(path).suffix.lower())
    if file_format is None or file_format not in pillow.SAVE:
        raise _invalid(f"no picture format has the extension of {path!r}", "use .png, .jpg or .webp")
    return _saved(_as_pil(image, pillow), path, file_format)


def encode_thumbnail(image: Any) -> bytes:
    """Return the picture as WebP, its longer side 256 pixels at most; arguments as for ``encode_image``."""
    small = _as_pil(image, _pillow()).copy()
    small.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    return _saved(small.convert("RGBA"), "the thumbnail", "WEBP")


def _saved(picture: Any, path: str, file_format: str) -> bytes:
    buffer = io.BytesIO()
    try:
        picture.save(buffer, format=file_format)
    except (OSError, ValueError, KeyError) as error:
        raise _invalid(
            f"a picture of mode {picture.mode} and size {picture.size} cannot be saved as {path!r}: {error}",
            "convert it first, or use .png",
        ) from error
    return buffer.getvalue()


def _as_pil(image: Any, pillow: Any) -> Any:
    if hasattr(image, "to_pil"):  # mlflow.Image
        image = image.to_pil()
    if isinstance(image, pillow.Image):
        return image
    numpy = require("numpy", extra="images", purpose="log_image")
    if not isinstance(image, numpy.ndarray):
        raise _invalid(
            f"cannot save a picture of type {type(image).__name__}",
            "pass a PIL image or a numpy array; for a tensor: tensor.detach().cpu().permute(1, 2, 0).numpy()",
        )
    return pillow.fromarray(_as_uint8(_checked_shape(image), numpy))


def _checked_shape(array: Any) -> Any:
    is_picture = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in _CHANNELS)
    if not is_picture or array.size == 0:
        raise _invalid(
            f"an array of shape {array.shape} is no picture",
            "the shape is (height, width) or (height, width, 1, 3 or 4 channels)",
        )
    return array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array


def _as_uint8(array: Any, numpy: Any) -> Any:
    kind = array.dtype.kind
    if kind == "b":
        return array.astype(numpy.uint8) * numpy.uint8(255)
    if kind in "iu":
        low, high = array.min(), array.max()
        if low < 0 or high > 255:
            raise _invalid(f"integer pixels are from 0 to 255, these from {low} to {high}", "scale them")
        return array.astype(numpy.uint8)
    if kind == "f":
        return numpy.rint(_unit_range(array.astype(numpy.float64), numpy) * 255).astype(numpy.uint8)
    raise _invalid(f"pixels cannot be of type {array.dtype}", "use integers, floats or bool")


def _unit_range(array: Any, numpy: Any) -> Any:
    if not numpy.isfinite(array).all():
        raise _invalid("pixels hold NaN or infinities", "numpy.nan_to_num(image)")
    low, high = array.min(), array.max()
    if low >= 0 and high <= 1:
        return array
    warnings.warn(
        f"float pixels are from 0 to 1, these from {low:g} to {high:g}: they are stretched to 0 to 1",
        stacklevel=2,
    )
    return (array - low) / (high - low) if high > low else numpy.zeros_like(array)


def _pillow() -> Any:
    pillow = require("PIL.Image", extra="images", purpose="log_image")
    pillow.init()  # registers the formats
    return pillow


def _invalid(message: str, hint: str) -> InvalidInput:
    return InvalidInput(message, operation="log_image", hint=hint)
