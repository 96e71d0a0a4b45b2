"""The tables of the documentation that are made from what each adapter declares.

``python -m trackbridge.testing.tables --write`` renews them in README.md, docs/ and adapters/README.md,
between the markers ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->``; ``--check`` ends with exit code 4 when
one is not current. NAME is ``features`` (ports by backend, in short), ``capabilities`` (every feature by
backend), ``limits`` (numbers by backend) or ``tiers`` (one line per adapter).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from trackbridge.domain.metric_values import ValueKind
from trackbridge.errors import ConfigError
from trackbridge.ports.adapter import Adapter, AdapterContext, OpenAdapter
from trackbridge.ports.capabilities import Absence, Capabilities, Capability, Feature

DISTRIBUTION = "trackbridge"
FILES = (
    Path("README.md"),
    Path("docs/backends.md"),
    Path("docs/limits.md"),
    Path("adapters/README.md"),
)
PORTS = ("tracking", "artifacts", "registry", "jobs", "deployments")
EXIT_DIFFERENT = 4
EXAMPLES = {
    "http": "http://mlflow.example:5000",
    "azureml": "azureml://00000000-0000-0000-0000-000000000000/group/workspace",
    "sagemaker": "sagemaker://eu-west-1",
    "databricks": "databricks://example",
    "spark": "spark:yarn",
}
"""Addresses that an adapter's declaration is asked at; without one, a folder of its scheme."""
OTHER_BACKENDS = {
    "sagemaker": {"arn": "arn:aws:sagemaker:eu-west-1:000000000000:mlflow-tracking-server/example"},
}
"""Backends that the same adapter opens by another scheme, and that declare something else."""
PROFILE = "[example]\nhost = https://example.cloud.databricks.com\ntoken = none\n"
"""What the address of Databricks names."""

_UNDECLARED = Capability(supported=False, absence=Absence.NOT_YET, reason="the adapter does not declare it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What the tables show of one backend: its URI schemes, the ports that it has, and what it declares.

    ``other`` is the scheme of a backend that is not the first of its adapter.
    """

    schemes: tuple[str, ...]
    ports: tuple[str, ...]
    capabilities: Capabilities
    other: str = ""

    @property
    def name(self) -> str:
        """The adapter's name, for example ``local``; of another backend of it with the scheme."""
        return f"{self.capabilities.adapter} ({self.other}:)" if self.other else self.capabilities.adapter


def declared_adapters(distribution: str = DISTRIBUTION) -> tuple[Declared, ...]:
    """Return what each adapter of an installed distribution declares, in order of name.

    Each is opened at an example's address, or at an empty folder, ``<scheme>:<folder>``; nobody is contacted.
    """
    schemes: dict[OpenAdapter, list[str]] = {}
    for point in entry_points(group="trackbridge.adapters"):
        if point.dist is not None and point.dist.name == distribution:
            schemes.setdefault(point.load(), []).append(point.name)
    declared = [_declared(opener, tuple(sorted(set(names)))) for opener, names in schemes.items()]
    declared += [
        _declared(opener, (other,), address=address)
        for opener, names in schemes.items()
        for name in names
        for other, address in OTHER_BACKENDS.get(name, {}).items()
    ]
    return tuple(sorted(declared, key=lambda adapter: adapter.name))


def _declared(open_adapter: OpenAdapter, schemes: tuple[str, ...], *, address: str = "") -> Declared:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder).resolve()
        options: dict[str, str] = {}
        if schemes[0] == "databricks":
            options["config_file"] = str(home / "profiles")
            (home / "profiles").write_text(PROFILE, encoding="utf-8")
        context = AdapterContext(home=home, options=options, clock_ms=lambda: time.time_ns() // 1_000_000)
        example = address or EXAMPLES.get(schemes[0], f"{schemes[0]}:{home}")
        adapter = open_adapter(example, context=context)
        try:
            return Declared(
                schemes=schemes,
                ports=_ports(adapter),
                capabilities=adapter.capabilities(),
                other=schemes[0] if address else "",
            )
        finally:
            adapter.close()


def _ports(adapter: Adapter) -> tuple[str, ...]:
    return tuple(port for port in PORTS if getattr(adapter, port) is not None)


def capability_table(adapters: Sequence[Declared]) -> str:
    """Return the features of each port by backend, as Markdown, with the reason of each gap below."""
    footnotes: list[str] = []
    rows = [["", *(adapter.name for adapter in adapters)], ["---"] * (len(adapters) + 1)]
    for port in PORTS:
        rows.append([f"**{port}**", *("yes" if port in adapter.ports else "–" for adapter in adapters)])
        if any(port in adapter.ports for adapter in adapters):
            features = [feature for feature in Feature if feature.port == port]
            rows += [
                [_label(feature), *(_cell(a, feature, footnotes) for a in adapters)] for feature in features
            ]
    reasons = [f"{number}. {footnote}" for number, footnote in enumerate(footnotes, 1)]
    return "\n".join(
        [*map(_row, rows), "", "A dash: the adapter does not have this port.", "", *reasons]
    ).rstrip()


def _label(feature: Feature) -> str:
    return feature.value.partition(".")[2].replace("_", " ")


def _cell(adapter: Declared, feature: Feature, footnotes: list[str]) -> str:
    if feature.port not in adapter.ports:
        return "–"
    capability = adapter.capabilities.features.get(feature, _UNDECLARED)
    if capability.supported:
        return "yes"
    footnote = f"{(capability.absence or Absence.NOT_YET).value}: {capability.reason}"
    if footnote not in footnotes:
        footnotes.append(footnote)
    return f"no <sup>{footnotes.index(footnote) + 1}</sup>"


MISSING_NAMED_MAX = 5
"""How many features that a port lacks are named; of one that lacks more, those are that it has."""


def feature_table(adapters: Sequence[Declared]) -> str:
    """Return one line per backend, as Markdown: what each port has of its features, in words."""
    rows = [["backend", *PORTS], ["---"] * (len(PORTS) + 1)]
    rows += [[adapter.name, *(_share(adapter, port) for port in PORTS)] for adapter in adapters]
    return "\n".join(map(_row, rows))


def _share(adapter: Declared, port: str) -> str:
    if port not in adapter.ports:
        return "–"
    features = [feature for feature in Feature if feature.port == port]
    there = [_label(feature) for feature in features if adapter.capabilities.supports(feature)]
    missing = [_label(feature) for feature in features if not adapter.capabilities.supports(feature)]
    if not missing:
        return "all"
    is_long = len(missing) > MISSING_NAMED_MAX
    return f"only {', '.join(there)}" if is_long else f"without {', '.join(missing)}"


LIMIT_ROWS: dict[str, str] = {
    "metrics_per_write_max": "points in a write",
    "params_per_write_max": "params in a write",
    "tags_per_write_max": "tags in a write",
    "write_bytes_max": "bytes in a write",
    "params_per_run_max": "params of a run",
    "tags_per_run_max": "tags of a run, besides those of ours",
    "key_chars_max": "characters of a name",
    "param_value_chars_max": "characters of a param",
    "tag_value_chars_max": "characters of a tag",
    "metric_age_ms_max": "age of a point, in milliseconds",
    "metric_names_per_run_advised": "names of metrics of a run (only told)",
    "artifact_bytes_max": "bytes of a file",
    "model_files_max": "files of a registered version",
    "model_tag_key_chars_max": "characters of a tag's name, of models",
    "model_tag_value_chars_max": "characters of a tag, of models",
    "metric_values_unheld": "values of metrics that are kept beside the run",
    "page_items_max": "items of a page",
    "calls_at_once_max": "calls at once",
}
"""How each limit is called for readers. Patterns of names are left out: they say nothing at a glance."""


def limit_table(adapters: Sequence[Declared]) -> str:
    """Return the limits of the backends that track, as Markdown; rows that nobody has are left out."""
    shown = [adapter for adapter in adapters if "tracking" in adapter.ports]
    rows = [["at most", *(adapter.name for adapter in shown)], ["---", *["--:"] * len(shown)]]
    for field, words in LIMIT_ROWS.items():
        cells = [_limit(getattr(adapter.capabilities.limits, field)) for adapter in shown]
        if set(cells) != {"–"}:
            rows.append([words, *cells])
    return "\n".join(map(_row, rows))


def _limit(value: int | frozenset[ValueKind] | None) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return ", ".join(sorted(kind.value.replace("_", " ") for kind in value)) if value else "–"


def tier_table(adapters: Sequence[Declared]) -> str:
    """Return one line per adapter, as Markdown: how to name it, what it has, and how it is tested."""
    rows = [["adapter", "URI schemes", "ports", "optional features", "contract suites run"], ["---"] * 5]
    rows += [
        [
            adapter.name,
            ", ".join(f"`{scheme}:`" for scheme in adapter.schemes),
            ", ".join(adapter.ports),
            _feature_count(adapter),
            adapter.capabilities.tier.value,
        ]
        for adapter in adapters
    ]
    return "\n".join(map(_row, rows))


def _feature_count(adapter: Declared) -> str:
    features = [feature for feature in Feature if feature.port in adapter.ports]
    supported = [feature for feature in features if adapter.capabilities.supports(feature)]
    return f"{len(supported)} of {len(features)}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


BLOCKS: dict[str, Callable[[Sequence[Declared]], str]] = {
    "capabilities": capability_table,
    "features": feature_table,
    "limits": limit_table,
    "tiers": tier_table,
}


def renewed(text: str, adapters: Sequence[Declared]) -> str:
    """Return a document with every marked table made anew.

    Raises:
        ConfigError: The document marks no table, or only where one begins.
    """
    marked = [name for name in BLOCKS if f"<!-- {name}:begin -->" in text]
    if not marked:
        raise ConfigError(
            "the document marks no table",
            hint="write <!-- capabilities:begin --> and <!-- capabilities:end --> where it belongs",
        )
    for name in marked:
        before, begin, rest = text.partition(f"<!-- {name}:begin -->")
        _, end, after = rest.partition(f"<!-- {name}:end -->")
        if not end:
            raise ConfigError(
                f"the table {name!r} has a begin and no end", hint=f"write <!-- {name}:end --> after it"
            )
        text = f"{before}{begin}\n{BLOCKS[name](adapters)}\n{end}{after}"
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Renew or check the tables of some documents; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m trackbridge.testing.tables", description=__doc__)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--write", action="store_true", help="renew the tables")
    mode.add_argument("--check", action="store_true", help="exit with 4 when a table is not current")
    parser.add_argument("files", nargs="*", type=Path, default=FILES, help="README.md and others")
    options = parser.parse_args(arguments)
    adapters = declared_adapters()
    different = [path for path in options.files if not _is_current(path, adapters, write=options.write)]
    for path in different:
        sys.stdout.write(f"{path}: {'renewed' if options.write else 'not current'}\n")
    return EXIT_DIFFERENT if different and options.check else 0


def _is_current(path: Path, adapters: Sequence[Declared], *, write: bool) -> bool:
    text = path.read_text(encoding="utf-8")
    wanted = renewed(text, adapters)
    if write and wanted != text:
        path.write_text(wanted, encoding="utf-8")
    return wanted == text


if __name__ == "__main__":
    sys.exit(main())
