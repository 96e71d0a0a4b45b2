"""The table of differences from mlflow's server in docs/gateway.md.

``python -m trackbridge.gateway.gap_table docs/gateway.md`` renews it, between its markers.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from trackbridge.errors import ConfigError
from trackbridge.gateway.gaps import GAPS, Gap

BEGIN, END = "<!-- gaps:begin -->", "<!-- gaps:end -->"


def gap_table(gaps: Sequence[Gap] = GAPS) -> str:
    """Return the table in Markdown."""
    lines = ["| what differs | why | where |", "|---|---|---|"]
    for gap in gaps:
        backends = ", ".join(gap.backends) if gap.backends else "everywhere"
        cells = (text.replace("|", "\\|").replace("\n", " ") for text in (gap.what, gap.reason, backends))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def renewed(text: str) -> str:
    """Return a document with the table made anew.

    Raises:
        ConfigError: The document does not mark where it belongs.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ConfigError("the document marks no table", hint=f"write {BEGIN} and {END} where it belongs")
    return f"{before}{begin}\n{gap_table()}\n{end}{after}"


def main(arguments: Sequence[str]) -> int:
    """Renew the table of a document."""
    (path,) = map(Path, arguments)
    path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
