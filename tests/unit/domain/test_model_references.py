"""The names of models: every form is read, everything else is refused with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from trackbridge.domain.model_references import (
    ModelReference,
    PathReference,
    RegisteredReference,
    RunReference,
    checked_model_name,
    parse_model_reference,
)
from trackbridge.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("models:/wine/3", RegisteredReference("wine", version="3")),
        ("models:/wine/003", RegisteredReference("wine", version="3")),
        ("models:/Sdk_Custom/v-x", RegisteredReference("Sdk_Custom", version="v-x")),
        ("models:/wine/1.0_b-2", RegisteredReference("wine", version="1.0_b-2")),
        ("models:/a b/Latest", RegisteredReference("a b")),
        ("models:/wine", RegisteredReference("wine")),
        ("models:/wine@champion", RegisteredReference("wine", alias="champion")),
        ("models:/wine/PRODUCTION", RegisteredReference("wine", stage="Production")),
        ("models:/wine/none", RegisteredReference("wine", stage="None")),
        ("runs:/abc/net/best", RunReference("abc", "net/best")),
        ("./net", PathReference(Path("net"))),
        ("file:/net%20work", PathReference(Path("/net work"))),
    ],
)
def test_every_form(text: str, expected: ModelReference) -> None:
    assert parse_model_reference(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "file:",
        "a\0b",
        "~nobody-of-this-name/net",
        "models:/",
        "models:/wine/",
        "models:/wine/-1",
        "models:/wine/.x",
        "models:/wine/v x",
        "models:/wine/v:x",
        "models:/wine/" + "v" * 256,
        "models:/wine/1/2",
        "models:/wine@",
        "models:/wine@a@b",
        "models:/wine@v3",
        "models:/wine/\u0663",
        "runs:/abc",
        "runs:/abc/",
        "s3://bucket/model",
    ],
)
def test_what_names_no_model(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_model_reference(text)


@pytest.mark.parametrize("name", ["", " ", "a/b", "a:b", "a@b", "a%b", "a\nb", "\ud800", "a" * 251, None, 5])
def test_what_cannot_be_a_name(name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be the name"):
        checked_model_name(name)


def test_secrets_of_an_address_are_not_told() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_model_reference("https://ana:hunter2@host/m?sig=abcdef123456")
    assert "hunter2" not in str(caught.value)
    assert "abcdef123456" not in str(caught.value)
