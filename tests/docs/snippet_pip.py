"""``pip`` in a page that is run: nothing is installed; what is named has to be there, its extras known."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, distribution

from tests.docs.shell_lines import extra_problems

OURS = re.compile(r"(trackbridge|\.|.*/.*)(\[.*\])?")


def missing(words: list[str]) -> list[str]:
    """Return what ``pip install`` would have to fetch, and the extras of ours that do not exist."""
    found = extra_problems(words)
    for word in words:
        name = re.split(r"[\[<>=!~;]", word)[0]
        if word.startswith("-") or OURS.fullmatch(word):
            continue
        try:
            distribution(name)
        except PackageNotFoundError:
            found.append(f"{name} is not installed here")
    return found


if __name__ == "__main__":
    command, *named = sys.argv[1:]
    if command != "install":
        sys.exit(f"pip {command} is not for pages")
    sys.exit("\n".join(missing(named)) or 0)
