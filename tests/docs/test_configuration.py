"""docs/reference/configuration.md: every key of config.toml, and every option of an adapter, is told."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import tomlkit

from trackbridge.events import subscribers
from trackbridge.resolve.config import REMOTES_TABLE, SETTINGS, WEBHOOKS_TABLE
from trackbridge_adapters.azureml import config as azureml
from trackbridge_adapters.databricks import config as databricks
from trackbridge_adapters.local.config import Settings as LocalSettings
from trackbridge_adapters.mlflow import config as mlflow
from trackbridge_adapters.mlflow import private
from trackbridge_adapters.sagemaker import config as sagemaker
from trackbridge_adapters.spark import config as spark

PAGE = (Path(__file__).resolve().parents[2] / "docs/reference/configuration.md").read_text(encoding="utf-8")
OPTIONS = {
    "a folder": {field.name for field in dataclasses.fields(LocalSettings)} - {"folder"},
    "`http://`, `https://`": mlflow.OPTIONS,
    "`mlflow+…`": private.OPTIONS,
    "`azureml:`": azureml.OPTIONS,
    "`arn:aws:sagemaker:…`": sagemaker.OPTIONS,
    "`sagemaker:`": sagemaker.PLACE_OPTIONS,
    "`databricks:`": databricks.OPTIONS,
    "`spark:`": spark._OPTIONS,
}


def rows(section: str) -> dict[str, str]:
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    found = re.findall(r"^\| (.+?) \| (.+?) \|", text, re.MULTILINE)
    return {name: cell for name, cell in found if not name.startswith(("-", "URI", "key"))}


def test_every_option_of_every_adapter_is_told_and_no_other() -> None:
    told = {name: set(re.findall(r"`(\w+)`", cell)) for name, cell in rows("Remotes").items()}
    assert told == {name: set(options) for name, options in OPTIONS.items()}


def test_every_key_of_a_webhook_is_told() -> None:
    assert {name.strip("`") for name in rows("Webhooks")} == set(subscribers._KEYS)


def test_its_file_has_only_keys_that_there_are() -> None:
    (block,) = re.findall(r"(?ms)^```toml\n(.*?)^```", PAGE)
    document = tomlkit.parse(block).unwrap()
    assert set(document) - {REMOTES_TABLE, WEBHOOKS_TABLE} <= set(SETTINGS)
    assert set(document[REMOTES_TABLE]["prod"]) <= azureml.OPTIONS | {"uri"}
    assert set(document[WEBHOOKS_TABLE]["audit"]) <= set(subscribers._KEYS)
