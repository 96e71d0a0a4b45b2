"""The generated tables: what they say of an adapter, and that the documents hold them as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from trackbridge.domain.metric_values import ValueKind
from trackbridge.errors import ConfigError
from trackbridge.ports.capabilities import (
    SUPPORTED,
    Absence,
    Capabilities,
    Feature,
    Limits,
    Tier,
    absent,
)
from trackbridge.testing.tables import (
    FILES,
    LIMIT_ROWS,
    Declared,
    capability_table,
    declared_adapters,
    feature_table,
    limit_table,
    main,
    renewed,
    tier_table,
)

ROOT = Path(__file__).resolve().parents[2]

FOLDER = Declared(
    schemes=("file",),
    ports=("tracking", "artifacts"),
    capabilities=Capabilities(
        adapter="folder",
        features={
            Feature.TRACKING_SEARCH: SUPPORTED,
            Feature.ARTIFACTS_DELETE: SUPPORTED,
            Feature.ARTIFACTS_PRESIGN: absent(Absence.NOT_OFFERED, "a folder has no server"),
            Feature.ARTIFACTS_RESUMABLE_UPLOAD: absent(Absence.NEVER, "a copy | is made whole"),
        },
        tier=Tier.EVERY_CHANGE,
    ),
)
SERVER = Declared(
    schemes=("http", "https"),
    ports=("tracking",),
    capabilities=Capabilities(adapter="server", features={Feature.TRACKING_DELETE: SUPPORTED}),
)


def cells(table: str, label: str) -> list[str]:
    (line,) = (line for line in table.splitlines() if line.startswith(f"| {label} |"))
    return [cell.strip() for cell in line.strip("|").split(" | ")][1:]


def test_ports_head_their_features() -> None:
    table = capability_table([FOLDER, SERVER])
    assert table.splitlines()[0] == "|  | folder | server |"
    assert cells(table, "**tracking**") == ["yes", "yes"]
    assert cells(table, "**artifacts**") == ["yes", "–"]
    assert cells(table, "presign")[1] == "–"
    assert cells(table, "search")[0] == "yes"
    assert table.index("**tracking**") < table.index("| search |") < table.index("**artifacts**")


def test_port_that_nobody_has_takes_one_line() -> None:
    table = capability_table([FOLDER, SERVER])
    assert cells(table, "**registry**") == ["–", "–"]
    assert "| alias |" not in table


def test_every_gap_has_its_reason_below_and_a_reason_is_said_once() -> None:
    table = capability_table([FOLDER, SERVER])
    assert table.count("the adapter does not declare it") == 1
    assert "never: a copy | is made whole" in table
    number = cells(table, "presign")[0].removeprefix("no <sup>").removesuffix("</sup>")
    assert f"\n{number}. the service does not offer it: a folder has no server" in table


def test_a_port_names_what_it_lacks_or_the_little_that_it_has() -> None:
    table = feature_table([FOLDER, SERVER])
    assert table.splitlines()[0] == "| backend | tracking | artifacts | registry | jobs | deployments |"
    assert cells(table, "folder") == ["only search", "without presign, resumable upload", "–", "–", "–"]
    whole = dict.fromkeys(Feature, SUPPORTED)
    full = msgspec.structs.replace(SERVER.capabilities, features=whole)
    assert cells(feature_table([replace(SERVER, capabilities=full)]), "server")[:2] == ["all", "–"]


def test_limits_are_those_that_are_declared() -> None:
    kinds = frozenset({ValueKind.INFINITY, ValueKind.NEGATIVE_ZERO})
    limits = Limits(params_per_run_max=1600, metric_values_unheld=kinds)
    small = replace(SERVER, capabilities=msgspec.structs.replace(SERVER.capabilities, limits=limits))
    table = limit_table([FOLDER, small])
    assert cells(table, "params of a run") == ["–", "1,600"]
    assert cells(table, LIMIT_ROWS["metric_values_unheld"]) == ["–", "infinity, negative zero"]
    assert "tags of a run" not in table


def test_every_limit_has_words() -> None:
    numbers = {name for name in Limits.__struct_fields__ if not name.endswith("_pattern")}
    assert set(LIMIT_ROWS) == numbers


def test_tier_table_counts_features_of_the_ports_that_are_there() -> None:
    table = tier_table([FOLDER, SERVER])
    artifacts = [feature for feature in Feature if feature.port in ("tracking", "artifacts")]
    tracking = [feature for feature in artifacts if feature.port == "tracking"]
    assert cells(table, "folder") == [
        "`file:`",
        "tracking, artifacts",
        f"2 of {len(artifacts)}",
        Tier.EVERY_CHANGE.value,
    ]
    assert cells(table, "server")[0] == "`http:`, `https:`"
    assert cells(table, "server")[2] == f"1 of {len(tracking)}"


def test_only_the_marked_part_of_a_document_changes() -> None:
    text = "above\n<!-- tiers:begin -->\nold\n<!-- tiers:end -->\nbelow\n"
    new = renewed(text, [FOLDER])
    assert new == f"above\n<!-- tiers:begin -->\n{tier_table([FOLDER])}\n<!-- tiers:end -->\nbelow\n"
    assert renewed(new, [FOLDER]) == new


@pytest.mark.parametrize("text", ["no table here", "<!-- tiers:begin -->\nand no end"])
def test_document_without_whole_markers_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        renewed(text, [FOLDER])
    assert caught.value.hint


def test_check_sees_what_write_renews(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = tmp_path / "page.md"
    document.write_text("<!-- capabilities:begin -->\n<!-- capabilities:end -->\n")
    assert main(["--check", str(document)]) == 4
    assert "not current" in capsys.readouterr().out
    assert main(["--write", str(document)]) == 0
    assert main(["--check", str(document)]) == 0
    assert "| **tracking** | yes |" in document.read_text()


def test_our_adapters_are_found() -> None:
    local = next(adapter for adapter in declared_adapters() if adapter.name == "local")
    assert local.schemes == ("file",)
    assert local.ports == ("tracking", "artifacts", "registry", "jobs", "deployments")


def test_both_backends_of_one_adapter_are_found() -> None:
    found = {adapter.name: adapter for adapter in declared_adapters() if "sagemaker" in adapter.name}
    assert {name: adapter.schemes for name, adapter in found.items()} == {
        "sagemaker": ("sagemaker",),
        "sagemaker (arn:)": ("arn",),
    }
    declared = [adapter.capabilities.features for adapter in found.values()]
    assert declared[0] != declared[1]


def test_adapters_of_other_distributions_stay_out() -> None:
    assert declared_adapters("another-distribution") == ()


@pytest.mark.parametrize("path", FILES, ids=str)
def test_documents_are_current(path: Path) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert renewed(text, declared_adapters()) == text, "run: python -m trackbridge.testing.tables --write"
