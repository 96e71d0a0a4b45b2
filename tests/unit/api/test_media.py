"""Text, dictionaries and figures to bytes; what cannot be held is refused with its place."""

import enum
import json
import sys
import types
from typing import Any

import pytest

from trackbridge.api import media
from trackbridge.errors import InvalidInput, MissingExtra


class Colour(str, enum.Enum):
    RED = "red"


def test_text_is_utf8() -> None:
    assert media.encode_text("é\0\n", "a.txt") == "é\0\n".encode()


@pytest.mark.parametrize("text", [b"bytes", 3, None, "\ud800"])
def test_what_is_no_text_is_refused(text: Any) -> None:
    with pytest.raises(InvalidInput):
        media.encode_text(text, "a.txt")


def test_a_dictionary_comes_back_equal() -> None:
    import numpy

    value = {
        "ü": [1, 2.5, None, True, (3,)],
        "scalar": numpy.float32(0.5),
        "flag": numpy.bool_(True),
        "array": numpy.arange(4).reshape(2, 2),
        "enum": Colour.RED,
        3: float("inf"),
    }
    assert json.loads(media.encode_dict(value, "a.json")) == {
        "ü": [1, 2.5, None, True, [3]],
        "scalar": 0.5,
        "flag": True,
        "array": [[0, 1], [2, 3]],
        "enum": "red",
        "3": float("inf"),
    }


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"model": {"layers": [1, {"fn": print}]}}, "model.layers[1].fn"),
        ([{1, 2}], "[0]"),
        ({"a": {("x", "y"): 1}}, "('x', 'y')"),
        (object(), "the object"),
        ({"a": b"bytes"}, "'a'"),
    ],
)
def test_the_place_of_what_json_cannot_hold_is_named(value: Any, place: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        media.encode_dict(value, "a.json")
    assert place in str(raised.value)


def test_a_dictionary_that_contains_itself_is_refused() -> None:
    value: dict[str, Any] = {}
    value["self"] = value
    with pytest.raises(InvalidInput, match="contains itself"):
        media.encode_dict(value, "a.json")


def test_a_lone_surrogate_in_a_dictionary_is_refused() -> None:
    with pytest.raises(InvalidInput, match="Unicode"):
        media.encode_dict({"a": "\udfff"}, "a.json")


def test_yaml_needs_pyyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingExtra) as raised:
        media.encode_dict({"a": 1}, "a.yaml")
    assert raised.value.hint == "pip install pyyaml"


def test_yaml_gets_plain_values(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy

    seen: list[Any] = []
    yaml = types.ModuleType("yaml")
    yaml.safe_dump = lambda value, **options: seen.append(value) or "a: 1\n"  # type: ignore[attr-defined,func-returns-value]
    monkeypatch.setitem(sys.modules, "yaml", yaml)
    assert media.encode_dict({"a": numpy.float64(1), "b": (Colour.RED,)}, "a.YML") == b"a: 1\n"
    assert [type(value) for value in (seen[0]["a"], seen[0]["b"], seen[0]["b"][0])] == [float, list, str]


@pytest.mark.parametrize(
    ("path", "start"), [("a.png", b"\x89PNG"), ("b/c.svg", b"<?xml"), ("d.pdf", b"%PDF")]
)
def test_a_matplotlib_figure_takes_the_format_of_the_path(path: str, start: bytes) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([1, 2])
    assert media.encode_figure(figure, path, dpi=30).startswith(start)


@pytest.mark.parametrize("path", ["plot", "plot.xyz"])
def test_a_figure_needs_a_known_format(path: str) -> None:
    from matplotlib.figure import Figure

    with pytest.raises(InvalidInput):
        media.encode_figure(Figure(), path)


class PlotlyLike:
    """A figure with plotly's methods."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def to_html(self, **options: Any) -> str:
        return f"<html>{options}</html>"

    def to_image(self, **options: Any) -> bytes:
        if self.error:
            raise self.error
        return repr(options).encode()


def test_a_plotly_figure_becomes_html_or_an_image() -> None:
    assert media.encode_figure(PlotlyLike(), "a.html") == b"<html>{'include_plotlyjs': 'cdn'}</html>"
    assert media.encode_figure(PlotlyLike(), "a.webp", scale=2) == b"{'format': 'webp', 'scale': 2}"


@pytest.mark.parametrize(
    ("error", "kind"), [(ImportError("kaleido"), MissingExtra), (ValueError("format"), InvalidInput)]
)
def test_a_plotly_image_that_fails_is_explained(error: Exception, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        media.encode_figure(PlotlyLike(error), "a.png")


def test_what_is_no_figure_is_refused() -> None:
    with pytest.raises(InvalidInput, match="type list"):
        media.encode_figure([1, 2], "a.png")
