"""Addresses of artifacts, there and back."""

from __future__ import annotations

import pytest

from trackbridge.domain.artifacts import artifact_uri, split_artifact_uri


@pytest.mark.parametrize("path", ["", "model", "a b/ü%20#?/model.bin", "a/b/c", "x:y"])
def test_an_address_is_split_into_what_it_was_made_of(path: str) -> None:
    assert split_artifact_uri(artifact_uri("0193abcd", path)) == ("0193abcd", path)


@pytest.mark.parametrize(
    "uri",
    ["", "model", "/model", "runs:/0193abcd/model", "s3://b/k", "bridge-artifacts", "mlflow-artifacts:/x"],
)
def test_another_address_is_none(uri: str) -> None:
    assert split_artifact_uri(uri) is None
