"""Sweeps: the space of parameters that is searched, how it is written, and how it is gone through.

===========================  ========================================================
written                      means
===========================  ========================================================
``16,32,64``                 one of these, as in ``choice(16, 32, 64)``
``uniform(0, 1)``            any number between, both ends included
``uniform(0, 1, step=0.1)``  0, 0.1, 0.2 …
``loguniform(1e-4, 1e-1)``   any number between, evenly by its logarithm
``int(1, 8)``                a whole number, both ends included; ``step=`` as above
``logint(1, 1024)``          a whole number, evenly by its logarithm
``fixed(a,b)``               the text ``a,b`` in every trial
anything else                that text in every trial
===========================  ========================================================
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from enum import Enum

import msgspec

from trackbridge.errors import InvalidInput

GRID_MAX = 100_000
"""How many points a grid may have."""

_CALL = re.compile(r"([A-Za-z_]\w*)\s*\((.*)\)", re.DOTALL)
_STEP = re.compile(r"step\s*=\s*(.*)", re.DOTALL)
_LAST_INT = 2**53
"""Beyond it, not every whole number is a float."""


class Mode(str, Enum):
    """Which value of the metric is the best."""

    MIN = "min"
    MAX = "max"


class ValueOf(str, Enum):
    """Which point of the metric is a trial's value."""

    LAST = "last"
    MIN = "min"
    MAX = "max"


class Choice(msgspec.Struct, frozen=True, tag="choice"):
    """One of some texts; a single one is a fixed value."""

    values: tuple[str, ...]

    def __str__(self) -> str:
        only = self.values[0]
        if len(self.values) > 1:
            return f"choice({', '.join(self.values)})"
        return only if parse_dimension("", only) == self else f"fixed({only})"


class Range(msgspec.Struct, frozen=True, kw_only=True, tag="range"):
    """Numbers from ``low`` to ``high``, both included where a step leads to them. Numbers are texts."""

    low: str
    high: str
    step: str | None = None
    is_log: bool = False
    is_int: bool = False

    def __str__(self) -> str:
        kind = ("log" if self.is_log else "") + ("int" if self.is_int else "uniform")
        step = f", step={self.step}" if self.step is not None else ""
        return f"{kind}({self.low}, {self.high}{step})"

    @property
    def count(self) -> int | None:
        """How many values there are; None for any number between."""
        if self.step is None and not self.is_int:
            return None
        return int((Decimal(self.high) - Decimal(self.low)) / self._step) + 1

    def at(self, index: int) -> str:
        """Return the value of this index, from 0."""
        return _plain(Decimal(self.low) + index * self._step)

    def nearest(self, number: float) -> str:
        """Return the value of the range that is nearest to a number."""
        if self.count is None:
            return repr(min(max(float(number), float(self.low)), float(self.high)))
        index = round((Decimal(repr(float(number))) - Decimal(self.low)) / self._step)
        return self.at(min(max(index, 0), self.count - 1))

    def spread(self, share: float) -> str:
        """Return the value at a share of the range, from 0 to below 1: each as likely as any other."""
        low, high = float(self.low), float(self.high)
        if self.is_log:
            # A whole number has the room of half a unit on either side.
            margin = 0.5 if self.is_int else 0.0
            ends = math.log(low - margin), math.log(high + margin)
            return self.nearest(math.exp(ends[0] + share * (ends[1] - ends[0])))
        if self.count is not None:
            return self.at(min(int(share * self.count), self.count - 1))
        return self.nearest(low + share * (high - low))

    @property
    def _step(self) -> Decimal:
        return Decimal(self.step or "1")


Dimension = Choice | Range
Space = Mapping[str, Dimension]


def parse_space(texts: Mapping[str, str]) -> dict[str, Dimension]:
    """Return the space of parameters as they are written.

    Raises:
        InvalidInput: One cannot be read; the message names it.
    """
    return {name: parse_dimension(name, text) for name, text in texts.items()}


def parse_dimension(name: str, text: str) -> Dimension:
    """Return what one parameter is to be.

    Raises:
        InvalidInput: It cannot be read.
    """
    call = _CALL.fullmatch(text.strip())
    if call is None:
        return _choice(name, text.split(",")) if "," in text else Choice((text,))
    kind, inner = call[1], call[2]
    if kind == "fixed":
        return Choice((inner,))
    if kind == "choice":
        return _choice(name, inner.split(","))
    if kind in ("uniform", "loguniform", "int", "logint"):
        return _range(name, kind, [word.strip() for word in inner.split(",")])
    raise InvalidInput(
        f"the parameter {name!r} asks for {kind}(…), which is none of the ways to search",
        operation="sweep",
        hint="there are choice, uniform, loguniform, int, logint; a text as it is: fixed(TEXT)",
    )


def dimension_of(name: str, value: object) -> Dimension:
    """Return what one parameter is to be, as programs and YAML say it: a text, a number or a list.

    Raises:
        InvalidInput: It cannot be read.
    """
    if isinstance(value, (Choice, Range)):
        return value
    if isinstance(value, str):
        return parse_dimension(name, value)
    if isinstance(value, Sequence):
        return _choice(name, [_text(item) for item in value])
    if value is None or isinstance(value, Mapping):
        raise InvalidInput(
            f"the parameter {name!r} has no value that can be searched",
            operation="sweep",
            hint='write a value, a list of values, or for example "loguniform(1e-4, 1e-1)"',
        )
    return Choice((_text(value),))


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _choice(name: str, words: Sequence[str]) -> Choice:
    values = tuple(word.strip() for word in words)
    if "" in values or not values:
        raise InvalidInput(
            f"the parameter {name!r} has an empty value among its choices",
            operation="sweep",
            hint="write for example 16,32,64; a text with a comma: fixed(TEXT)",
        )
    if len(set(values)) < len(values):
        raise InvalidInput(
            f"the parameter {name!r} names a value twice", operation="sweep", hint="name it once"
        )
    return Choice(values)


def _range(name: str, kind: str, words: list[str]) -> Range:
    named = _STEP.fullmatch(words[-1])
    bounds, step = (words[:-1], named[1]) if named else (words[:2], words[2] if len(words) == 3 else None)
    example = f"for example {kind}(1, 8)"
    if len(bounds) != 2 or len(words) > 3:
        raise InvalidInput(
            f"the parameter {name!r}: {kind} takes two bounds", operation="sweep", hint=example
        )
    is_log, is_int = kind.startswith("log"), kind.endswith("int")
    numbers = [_number(name, word, is_int=is_int) for word in (*bounds, *([step] if step else []))]
    low, high, *steps = numbers
    problem = None
    if low >= high:
        problem = "the first bound has to be below the second"
    elif is_log and low <= 0:
        problem = "the logarithm needs bounds above 0"
    elif is_log and steps:
        problem = "steps and the logarithm do not go together"
    elif steps and not 0 < steps[0] <= high - low:
        problem = "the step has to be above 0, and no more than the range"
    if problem:
        raise InvalidInput(f"the parameter {name!r}: {problem}", operation="sweep", hint=example)
    texts = [_plain(number) for number in numbers]
    return Range(
        low=texts[0],
        high=texts[1],
        step=texts[2] if steps else None,
        is_log=is_log,
        is_int=is_int,
    )


def _number(name: str, word: str, *, is_int: bool) -> Decimal:
    try:
        number = Decimal(word)
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite() or abs(number) > 10**300 or (is_int and number != int(number)):
        kind = "whole number" if is_int else "number"
        raise InvalidInput(
            f"the parameter {name!r}: {word!r} is no {kind}", operation="sweep", hint="for example int(1, 8)"
        )
    if is_int and abs(number) > _LAST_INT:
        raise InvalidInput(
            f"the parameter {name!r}: {word} is too large", operation="sweep", hint="use 2**53"
        )
    return number


def _plain(number: Decimal) -> str:
    """Return a number as programs read it: whole ones without a point."""
    if number == number.to_integral_value() and abs(number) < 10**16:
        return str(int(number))
    return repr(float(number))


# Going through a space without having seen a value.


def grid_size(space: Space) -> int:
    """Return how many points the grid of a space has.

    Raises:
        InvalidInput: A parameter may be any number, or there are too many points.
    """
    size = 1
    for name, dimension in space.items():
        count = len(dimension.values) if isinstance(dimension, Choice) else dimension.count
        if count is None:
            raise InvalidInput(
                f"a grid needs values that can be counted; {name!r} is {dimension}",
                operation="sweep",
                hint=f"give it a step, name values ({name}=0.1,0.2), or take another sampler",
            )
        size *= count
    if size > GRID_MAX:
        raise InvalidInput(
            f"the grid has {size:,} points, more than {GRID_MAX:,}",
            operation="sweep",
            hint="name fewer values, or take another sampler with --trials",
        )
    return size


def grid_point(space: Space, number: int) -> dict[str, str]:
    """Return one point of the grid, from 0; the last parameter changes first."""
    point = {}
    for name, dimension in reversed(list(space.items())):
        if isinstance(dimension, Choice):
            number, index = divmod(number, len(dimension.values))
            point[name] = dimension.values[index]
        else:
            number, index = divmod(number, dimension.count or 1)
            point[name] = dimension.at(index)
    return {name: point[name] for name in space}


def random_point(space: Space, *, seed: int, number: int) -> dict[str, str]:
    """Return one point by chance: the same for the same seed and number, whoever asks."""
    point = {}
    for name, dimension in space.items():
        share = _share(f"{seed}\0{number}\0{name}")
        if isinstance(dimension, Choice):
            point[name] = dimension.values[int(share * len(dimension.values))]
        else:
            point[name] = dimension.spread(share)
    return point


def _share(text: str) -> float:
    """Return a number from 0 to below 1, made of a text."""
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 11) / 2**53


def is_better(value: float, than: float | None, mode: Mode) -> bool:
    """Tell whether a value is better than another one, or the first."""
    return than is None or (value < than if mode is Mode.MIN else value > than)


def searched(space: Space) -> Iterator[str]:
    """Yield the names of the parameters that are not the same in every trial."""
    for name, dimension in space.items():
        if isinstance(dimension, Range) or len(dimension.values) > 1:
            yield name
