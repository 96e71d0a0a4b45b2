"""docs/gateway.md: its table of differences, its limits, and the names that it mentions."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from trackbridge.cli.main import bridge
from trackbridge.errors import ConfigError
from trackbridge.gateway.gap_table import gap_table, renewed
from trackbridge.gateway.gaps import Gap
from trackbridge.gateway.limits import BURST_S, Limits
from trackbridge.serving.protocol import HEAD_BYTES_MAX

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/gateway.md").read_text(encoding="utf-8")


def test_the_differences_are_current() -> None:
    assert renewed(TEXT) == TEXT, "python -m trackbridge.gateway.gap_table docs/gateway.md"


def test_a_difference_is_a_row() -> None:
    table = gap_table([Gap("a | b", "why\nso", ("x",)), Gap("c", "d", ("y",), ("azureml", "sagemaker"))])
    assert table.splitlines()[2:] == ["| a \\| b | why so | everywhere |", "| c | d | azureml, sagemaker |"]
    with pytest.raises(ConfigError):
        renewed("no table here")


def test_the_limits_are_those_of_the_code() -> None:
    limits = Limits()
    assert f"| {limits.body_bytes_max >> 20} MiB | `--body-max`" in TEXT
    assert f"| {limits.upload_bytes_max >> 30} GiB | `--upload-max`" in TEXT
    assert BURST_S == 2
    assert f"| {limits.rate_max:,.0f} a second, over two seconds; " in TEXT
    assert f"| {limits.connections_max:,}, or what the system allows | `--connections`" in TEXT
    assert f"| head of a request | {HEAD_BYTES_MAX >> 10} KiB |" in TEXT
    assert f"| time for a head | {limits.header_timeout_s:g} s | `--header-timeout`" in TEXT
    assert f"| silence within a body | {limits.body_timeout_s:g} s | `--body-timeout`" in TEXT
    assert f"| {limits.body_rate_min >> 10} KiB a second |" in TEXT
    assert f"| requests that wait for the backend | {limits.threads} | `--threads`" in TEXT
    assert f"({limits.drain_s:g} s)" in TEXT


def test_every_option_is_one_of_the_command_and_has_its_default() -> None:
    context = click.Context(bridge)
    options: dict[str, click.Parameter] = {}
    for name in ("gateway", "ui"):
        command = bridge.get_command(context, name)
        assert command is not None
        options.update({text: found for found in command.params for text in found.opts})
    mentioned = set(re.findall(r"--[a-z][a-z-]+", TEXT)) - {"--scope"}
    assert mentioned - set(options) == set()
    limits = Limits()
    values = {name: options[f"--{name}"].type_cast_value(context, options[f"--{name}"].default) for name in (
        "body-max", "upload-max", "connections", "threads", "header-timeout", "body-timeout", "drain",
    )}  # fmt: skip
    assert values == {
        "body-max": limits.body_bytes_max,
        "upload-max": limits.upload_bytes_max,
        "connections": limits.connections_max,
        "threads": limits.threads,
        "header-timeout": limits.header_timeout_s,
        "body-timeout": limits.body_timeout_s,
        "drain": limits.drain_s,
    }
    assert f"[default: {limits.rate_max:.0f};" in str(getattr(options["--rate"], "help", None))


def test_every_number_for_prometheus_is_named() -> None:
    source = (ROOT / "src/trackbridge/gateway/telemetry.py").read_text(encoding="utf-8")
    names = set(re.findall(r'"(bridge_gateway_\w+)"', source))
    assert names
    for name in names:
        assert f"`{name}" in TEXT
