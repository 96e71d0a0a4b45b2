"""Pictures keep their pixels; ranges, shapes and formats that make no picture are refused."""

import io
import sys
import warnings
from typing import Any

import numpy  # noqa: TID253
import pytest
from PIL import Image  # noqa: TID253

from trackbridge.api.images import encode_image, encode_thumbnail, image_paths
from trackbridge.errors import InvalidInput, MissingExtra


def pixels(content: bytes) -> Any:
    return numpy.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize("dtype", ["uint8", "int64", "uint16"])
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3), (4, 5, 4)])
def test_integers_are_kept(dtype: str, shape: tuple[int, ...]) -> None:
    array = numpy.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    assert (pixels(encode_image(array, "a.png")) == array).all()


def test_one_channel_is_grey() -> None:
    array = numpy.arange(20, dtype="uint8").reshape(4, 5, 1)
    assert (pixels(encode_image(array, "a.png")) == array[:, :, 0]).all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_from_0_to_1_come_back_as_the_bytes_that_they_were(dtype: str) -> None:
    array = numpy.arange(256, dtype="uint8").reshape(16, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (pixels(encode_image((array / 255).astype(dtype), "a.png")) == array).all()


def test_bool_is_black_and_white() -> None:
    assert pixels(encode_image(numpy.array([[True, False]]), "a.png")).tolist() == [[255, 0]]


def test_floats_beyond_are_stretched_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="from -1 to 3"):
        content = encode_image(numpy.array([[-1.0, 1.0, 3.0]]), "a.png")
    assert pixels(content).tolist() == [[0, 128, 255]]
    with pytest.warns(UserWarning, match="from 7 to 7"):
        assert pixels(encode_image(numpy.full((1, 2), 7.0), "a.png")).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    "array",
    [
        numpy.array([[256]]),
        numpy.array([[-1]]),
        numpy.array([[numpy.nan]]),
        numpy.array([[numpy.inf]]),
        numpy.zeros((3, 4, 2)),
        numpy.zeros(3),
        numpy.zeros((0, 3)),
        numpy.zeros((1, 2, 2, 3)),
        numpy.array([["a"]]),
        numpy.array([[1j]]),
        numpy.array([[object()]]),
        [[1, 2]],
        "path.png",
    ],
)
def test_what_makes_no_picture_is_refused(array: Any) -> None:
    with pytest.raises(InvalidInput):
        encode_image(array, "a.png")


@pytest.mark.parametrize("path", ["a", "a.txt", "a.h5"])
def test_an_unknown_format_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput):
        encode_image(numpy.zeros((1, 1)), path)


def test_a_format_that_cannot_hold_the_picture_is_refused() -> None:
    with pytest.raises(InvalidInput, match="RGBA"):
        encode_image(Image.new("RGBA", (2, 2)), "a.jpg")


def test_pictures_of_pillow_and_wrapped_ones_are_taken() -> None:
    class Wrapped:
        def to_pil(self) -> Image.Image:
            return Image.new("RGB", (2, 3), "red")

    assert pixels(encode_image(Wrapped(), "a.png")).shape == (3, 2, 3)


def test_a_thumbnail_is_small_and_keeps_the_proportions() -> None:
    picture = Image.open(io.BytesIO(encode_thumbnail(Image.new("L", (1000, 500)))))
    assert (picture.format, picture.size) == ("WEBP", (256, 128))


def test_a_thumbnail_leaves_the_picture_as_it_is() -> None:
    picture = Image.new("RGB", (600, 600))
    encode_thumbnail(picture)
    assert picture.size == (600, 600)


def test_paths_by_step_are_mlflows_and_never_the_same() -> None:
    paths = image_paths("train/dogs", 3, 1700000000000)
    stem, token = paths.image.removesuffix(".png").rsplit("%", 1)
    assert stem == "images/train#dogs%step%3%timestamp%1700000000000"
    assert paths.thumbnail == f"{stem}%{token}%compressed.webp"
    assert image_paths("train/dogs", 3, 1700000000000) != paths


@pytest.mark.parametrize("key", ["", "a%b", "ü", "a\0", "a\\b", "x" * 250, None])
def test_a_key_that_mlflow_does_not_take_is_refused(key: Any) -> None:
    with pytest.raises(InvalidInput):
        image_paths(key, 0, 0)


def test_without_pillow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingExtra) as raised:
        encode_image(numpy.zeros((1, 1)), "a.png")
    assert raised.value.hint == "pip install 'trackbridge[images]'"
