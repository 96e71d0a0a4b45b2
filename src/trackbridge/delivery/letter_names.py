"""How dead letters are named to people: ``3``, and ``3.a1f0`` where several folders have a third.

Each folder of journals numbers its own; what follows the point is of the folder's path, so that a name means
the same dead letter in the next command, as long as that is there: once it is
gone, its number may be given to another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from trackbridge.delivery.dead_letters import DeadLetter, DeadLetters
from trackbridge.errors import InvalidInput, NotFound

_DIGITS_MIN = 4


class LetterNames:
    """The names of the dead letters of several folders, as they are now."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._stores = {root: DeadLetters(root) for root in roots}
        self._numbers = {root: frozenset(store.numbers()) for root, store in self._stores.items()}
        self._marks = {root: hashlib.sha256(str(root.resolve()).encode()).hexdigest() for root in roots}

    def __len__(self) -> int:
        return sum(map(len, self._numbers.values()))

    def name(self, root: Path, number: int) -> str:
        """Return what names a dead letter of a folder, and no other."""
        others = [other for other, known in self._numbers.items() if other != root and number in known]
        if not others:
            return str(number)
        mark, digits = self._marks[root], _DIGITS_MIN
        while digits < len(mark) and any(self._marks[other].startswith(mark[:digits]) for other in others):
            digits += 1
        return f"{number}.{mark[:digits]}"

    def read(self, *, max_results: int) -> Iterator[tuple[str, DeadLetter]]:
        """Yield so many dead letters with their names, folder by folder, in the order of their records."""
        left = max_results
        for root, store in self._stores.items():
            for letter in store.read(max_results=left) if left else ():
                left -= 1
                yield self.name(root, letter.number), letter

    def all(self) -> dict[Path, list[int]]:
        """Return every dead letter: the numbers in each folder."""
        return {root: sorted(known) for root, known in self._numbers.items() if known}

    def find(self, names: Sequence[str]) -> dict[Path, list[int]]:
        """Return the dead letters that are named: the numbers in each folder.

        Raises:
            NotFound: There is none of a name.
            InvalidInput: A number alone is not enough.
        """
        found: dict[Path, list[int]] = {}
        unknown: list[str] = []
        for name in dict.fromkeys(names):
            matches = self._matches(name)
            if len(matches) > 1:
                known = ", ".join(self.name(root, number) for root, number in matches)
                raise InvalidInput(f"there are several dead letters {name}", hint=f"name one of {known}")
            if not matches:
                unknown.append(name[:40])
            for root, number in matches:
                found.setdefault(root, []).append(number)
        if unknown:
            raise NotFound(f"there is no dead letter {', '.join(unknown)}", hint="bridge sync dead-letters")
        return {root: sorted(set(numbers)) for root, numbers in found.items()}

    def _matches(self, name: str) -> list[tuple[Path, int]]:
        digits, point, mark = name.partition(".")
        if not (digits.isascii() and digits.isdecimal()) or (point and len(mark) < _DIGITS_MIN):
            return []
        number = int(digits[:20])
        return [
            (root, number)
            for root, known in self._numbers.items()
            if number in known and self._marks[root].startswith(mark)
        ]
