"""A drift report as one page: nothing is loaded from anywhere, in light and in dark."""

from __future__ import annotations

import time
from html import escape

from trackbridge.domain.secrets import shown
from trackbridge.operations.drift import DriftReport
from trackbridge.operations.drift_figures import ColumnDrift, Share

BAR_WIDTH, CHART_HEIGHT = 14, 56
NAME_CHARS_MAX = 200

_STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --text: #1b1f24; --faint: #59636e; --line: #d1d9e0;
  --before: #8c959f; --after: #0969da; --moved: #b42318; --calm: #1a7f37; }
@media (prefers-color-scheme: dark) { :root { --ground: #0d1117; --text: #e6edf3; --faint: #9198a1;
  --line: #3d444d; --before: #6e7681; --after: #58a6ff; --moved: #ff7b72; --calm: #3fb950; } }
body { background: var(--ground); color: var(--text); font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
p, dl { color: var(--faint); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; }
dd { margin: 0; overflow-wrap: anywhere; }
.verdict { font-size: 1.1rem; font-weight: 600; }
.moved { color: var(--moved); } .calm { color: var(--calm); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: .4rem .6rem; text-align: right; }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; min-width: 8rem; }
td small { color: var(--faint); display: block; }
svg { display: block; }
.before { fill: var(--before); } .after { fill: var(--after); }
.key { display: inline-block; width: .8em; height: .8em; margin: 0 .3em 0 1em; }
"""


def drift_page(report: DriftReport, *, threshold: float, target: str, model: str) -> str:
    """Return the page of a report.

    Args:
        report: What was found.
        threshold: From which PSI on a column counts as moved.
        target: Where the endpoint is, without credentials.
        model: The reference of the model.
    """
    moved = [column for column in report.columns if column.exceeds(threshold)]
    title = f"Drift of {report.endpoint}" + (f"/{report.deployment}" if report.deployment else "")
    columns = sorted(report.columns, key=lambda column: (not column.exceeds(threshold), -column.psi))
    told = (
        f"{len(moved)} of {len(report.columns)} columns moved by more than {threshold:g}"
        if moved
        else f"No column moved by more than {threshold:g}"
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p class="verdict {"moved" if moved else "calm"}">{escape(told)}</p>
{_facts(report, target, model)}
<p><span class="key" style="background: var(--before)"></span>baseline
<span class="key" style="background: var(--after)"></span>captured</p>
<div class="wide">
<table>
<thead><tr><th scope="col">Column</th><th scope="col">PSI</th><th scope="col">by chance</th>
<th scope="col">KS</th><th scope="col">p</th><th scope="col">missing</th>
<th scope="col">shares</th></tr></thead>
<tbody>
{"".join(_row(column, threshold) for column in columns)}
</tbody>
</table>
</div>
<p>PSI compares the shares of bins; "by chance" is what two samples of the same data would exceed once in
10,000 columns, and a smaller PSI says nothing. KS is the largest distance of the two distribution functions,
p how probable it is by chance.</p>
</body>
</html>
"""


def _facts(report: DriftReport, target: str, model: str) -> str:
    period = (
        f"{_moment(report.first)} to {_moment(report.last)} (UTC)"
        if report.first is not None and report.last is not None
        else "nothing was captured"
    )
    facts = [
        ("Target", target),
        ("Model", model),
        ("Requests", f"{report.requests:,} captured, {report.requests_counted:,} looked at"),
        ("Rows", f"{report.rows:,}, against {report.baseline_rows:,} of the baseline"),
        ("Answered", period),
        ("Told nothing", f"{report.failed:,} refused or failed, {report.unreadable:,} in no known form"),
        ("Never asked with", ", ".join(report.unseen)),
        ("Not in the baseline", ", ".join(report.unknown)),
    ]
    rows = (f"<dt>{escape(name)}</dt><dd>{escape(_text(value))}</dd>" for name, value in facts if value)
    return f"<dl>{''.join(rows)}</dl>"


def _row(column: ColumnDrift, threshold: float) -> str:
    name = escape(_text(column.name))
    part = "prediction, " if column.part == "prediction" else ""
    ks = "" if column.ks is None else f"{column.ks:.3f}"
    ks_p = "" if column.ks_p is None else f"{column.ks_p:.2g}"
    missing = f"{column.missing / column.rows:.1%}" if column.rows else ""
    tone = "moved" if column.exceeds(threshold) else "calm"
    return (
        f"<tr><td>{name}<small>{part}{escape(column.kind)}</small></td>"
        f'<td class="{tone}">{column.psi:.3f}</td><td>{column.psi_chance:.3f}</td>'
        f"<td>{ks}</td><td>{ks_p}</td><td>{missing}</td><td>{_chart(column)}</td></tr>\n"
    )


def _chart(column: ColumnDrift) -> str:
    """Return the bins side by side: the baseline's share, and the captured one."""
    shares = column.shares
    expected_total = sum(share.expected for share in shares) or 1
    found_total = sum(share.found for share in shares) or 1
    pairs = [(share.expected / expected_total, share.found / found_total) for share in shares]
    top = max((max(pair) for pair in pairs), default=0.0) or 1.0
    bars = "".join(
        _bars(number, share, pair, top)
        for number, (share, pair) in enumerate(zip(shares, pairs, strict=True))
    )
    width = max(1, len(shares)) * (BAR_WIDTH + 2)
    about = escape(f"Shares of {_text(column.name)} in {len(shares)} bins", quote=True)
    return (
        f'<svg width="{width}" height="{CHART_HEIGHT}" viewBox="0 0 {width} {CHART_HEIGHT}" role="img" '
        f'aria-label="{about}">{bars}</svg>'
    )


def _bars(number: int, share: Share, pair: tuple[float, float], top: float) -> str:
    told = escape(f"{_text(share.label)}: baseline {pair[0]:.1%}, captured {pair[1]:.1%}")
    left, half = number * (BAR_WIDTH + 2), BAR_WIDTH // 2
    drawn = []
    for kind, place, value in (("before", left, pair[0]), ("after", left + half, pair[1])):
        height = round(value / top * CHART_HEIGHT, 1)
        drawn.append(
            f'<rect class="{kind}" x="{place}" y="{CHART_HEIGHT - height:.1f}" width="{half}" '
            f'height="{height}"/>'
        )
    return f"<g><title>{told}</title>{''.join(drawn)}</g>"


def _moment(time_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time_ms / 1000))


def _text(value: str) -> str:
    """Return text of anybody for the page: what would be no character is replaced, secrets are masked."""
    return shown(value, chars_max=NAME_CHARS_MAX).encode("utf-8", "replace").decode()
