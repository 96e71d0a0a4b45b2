"""Every form of a tracking URI, and everything that is none."""

import os
import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trackbridge.errors import BridgeError, ConfigError
from trackbridge.resolve.home import Surroundings
from trackbridge.resolve.uri import URI_CHARS_MAX, named_scheme, parse, parse_several

AZUREML_REGISTRY = "azureml://westeurope.api.azureml.ms/mlflow/v1.0/registries/all-teams"
AZUREML = (
    "azureml://westeurope.api.azureml.ms/mlflow/v1.0/subscriptions/S/resourceGroups/G/providers/"
    "Microsoft.MachineLearningServices/workspaces/W"
)
SERVER = "sagemaker:eu-west-1:123456789012:mlflow-tracking-server/abc"
ROOT = Surroundings(Path("/"), {"HOME": "/nowhere"})


@pytest.mark.parametrize("text", [None, "", "  ", "file:"])
def test_nothing_means_the_projects_folder(text, around):
    assert parse(text, around=around).path == around.cwd / ".bridge"
    (around.cwd / ".bridge").mkdir()
    below = around.cwd / "a" / "b"
    below.mkdir(parents=True)
    assert parse(text, around=around._replace(cwd=below)).path == around.cwd / ".bridge"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("./a b", "a b"),
        ("a/b", "a/b"),
        (".", ""),
        ("..", ".."),
        (".hidden", ".hidden"),
        ("file:a%20b", "a b"),
        ("file:./100%25", "100%"),
        ("./q?x=1#f,%41", "q?x=1#f,%41"),
        ("./größe/日本", "größe/日本"),
        ("./a:b@c", "a:b@c"),
        ("./back\\slash", "back\\slash"),
    ],
)
def test_folders_are_local_and_absolute(text, path, around):
    uri = parse(text, around=around)
    assert uri.scheme == "file"
    assert uri.path == Path(os.path.normpath(around.cwd / path))
    assert uri.address.startswith("file:/")
    assert parse(uri.text, around=ROOT) == uri


@pytest.mark.parametrize(
    "text", ["/srv/x", "file:/srv/x", "file:///srv/x", "file://localhost/srv/x", "//srv/x", "FILE:/srv/x"]
)
def test_one_spelling_of_an_absolute_folder(text, around):
    assert parse(text, around=around).text == "file:/srv/x"


def test_the_users_home_is_expanded(around):
    assert parse("~/x", around=around).path == (Path.home() / "x").resolve()
    with pytest.raises(ConfigError, match="unknown"):
        parse("~nobody-of-that-name/x", around=around)


def test_a_path_object_is_literal(around):
    assert parse(Path("azureml:"), around=around).path == around.cwd / "azureml:"


@given(st.text(min_size=1, max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_path_round_trips_or_is_refused(name):
    path = "/base/" + name
    try:
        uri = parse(path, around=ROOT)
    except ConfigError:
        return
    assert uri.path == Path(os.path.normpath(path.strip()))
    assert parse(uri.text, around=ROOT) == uri
    assert parse_several(uri.text, around=ROOT) == (uri,)
    assert not set(uri.text) & set(" ,#")


@pytest.mark.parametrize(
    ("text", "scheme", "normal"),
    [
        ("http://LocalHost:5000/", "http", "http://localhost:5000"),
        ("HTTPS://Host.example/Path/", "https", "https://host.example/Path"),
        ("https://[::1]:8080", "https", "https://[::1]:8080"),
        ("https://host:80/@team", "https", "https://host:80/@team"),
        ("azureml:", "azureml", "azureml:"),
        ("azureml://sub/group/workspace/", "azureml", "azureml://sub/group/workspace"),
        (AZUREML, "azureml", AZUREML),
        ("azureml://registries/all-teams/", "azureml", "azureml://registries/all-teams"),
        (AZUREML_REGISTRY, "azureml", AZUREML_REGISTRY),
        (AZUREML + "?", "azureml", AZUREML),
        (AZUREML + "?is-remote=True&auth-type=x", "azureml", AZUREML),
        (f"arn:aws:{SERVER}", "arn", f"arn:aws:{SERVER}"),
        (f"arn:aws-us-gov:{SERVER}", "arn", f"arn:aws-us-gov:{SERVER}"),
        (f"arn:aws-cn:{SERVER}", "arn", f"arn:aws-cn:{SERVER}"),
        (f"arn:aws-iso-b:{SERVER}", "arn", f"arn:aws-iso-b:{SERVER}"),
        (
            "arn:aws:sagemaker:us-west-2:123456789012:mlflow-app/app-ABC123",
            "arn",
            "arn:aws:sagemaker:us-west-2:123456789012:mlflow-app/app-ABC123",
        ),
        ("sagemaker:", "sagemaker", "sagemaker:"),
        ("sagemaker://us-gov-west-1", "sagemaker", "sagemaker://us-gov-west-1"),
        ("sagemaker://eu-west-1/churn-", "sagemaker", "sagemaker://eu-west-1/churn-"),
        ("databricks:", "databricks", "databricks:"),
        ("databricks://profile", "databricks", "databricks://profile"),
        ("databricks-uc://profile", "databricks-uc", "databricks-uc://profile"),
        ("mlflow+sqlite:////abs/m.db", "mlflow", "mlflow+sqlite:////abs/m.db"),
        (
            "mlflow+postgresql://user@host/db?sslmode=require",
            "mlflow",
            "mlflow+postgresql://user@host/db?sslmode=require",
        ),
        ("mlflow+https://Host:1/", "mlflow", "mlflow+https://host:1"),
        ("s3://bucket/x", "s3", "s3://bucket/x"),
        ("their-own://x/y", "their-own", "their-own://x/y"),
    ],
)
def test_remote_forms(text, scheme, normal, around):
    uri = parse(text, around=around)
    assert (uri.scheme, uri.text, uri.path, uri.is_name) == (scheme, normal, None, False)
    assert parse(uri.text, around=ROOT) == uri


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mlflow+sqlite:///m.db", "mlflow+sqlite:///{cwd}/m.db"),
        ("mlflow+sqlite:///:memory:", "mlflow+sqlite:///:memory:"),
        ("mlflow+./mlruns", "mlflow+{cwd}/mlruns"),
        ("mlflow+file:./mlruns", "mlflow+file://{cwd}/mlruns"),
    ],
)
def test_folders_of_mlflow_become_absolute(text, expected, around):
    uri = parse(text, around=around)
    assert uri.text == expected.format(cwd=around.cwd)
    assert parse(uri.text, around=ROOT) == uri


@pytest.mark.parametrize("word", ["prod", "azureml", "databricks", "A_b-1"])
def test_a_bare_word_is_a_name(word, around):
    uri = parse(word, around=around)
    assert uri.is_name
    assert uri.text == word


def test_a_scheme_alone(around):
    assert named_scheme("azureml", around=around).text == "azureml:"
    with pytest.raises(ConfigError, match="no valid host"):
        named_scheme("http", around=around)


def test_options_are_kept_apart_from_the_address(around):
    uri = parse("https://host/?workspace=a%20b&delivery=off", around=around)
    assert uri.address == "https://host"
    assert dict(uri.options) == {"workspace": "a b", "delivery": "off"}
    assert parse(uri.text, around=around) == uri


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("https:", "host"),
        ("https://", "host"),
        ("http:host", "host"),
        ("http://host:99999", "port"),
        ("http://host:port", "credential|port"),
        ("http://a b", "host"),
        ("https://host/#x", "'#'"),
        ("https://host?a=1&a=2", "twice"),
        ("https://host?=1", "malformed option"),
        ("localhost:5000", "no scheme"),
        ("azureml://datastores/D/paths/P/x", "Azure ML workspace"),
        ("azureml:x", "Azure ML workspace"),
        ("azureml://registries", "Azure ML workspace"),
        ("azureml://registries/all-teams/models", "Azure ML workspace"),
        ("arn:aws:s3:::bucket", "ARN"),
        ("arn:aws:sagemaker:eu-west-1:1:mlflow-app/x", "ARN"),
        ("arn:aws:sagemaker:eu-west-1:123456789012:training-job/x", "ARN"),
        ("arn:gcp:sagemaker:eu-west-1:123456789012:mlflow-app/x", "ARN"),
        ("sagemaker://Europe", "region"),
        ("sagemaker://eu-west-1/a/b", "region"),
        ("databricks:x", "profile"),
        ("mlflow+", "no URI"),
        ("mlflow+mlflow+./x", "no URI"),
        ("file://other/x", "host"),
        ("file:/x%zz", "starts no escape"),
        ("file:/%FF", "UTF-8"),
        ("file:/x%00", "control character"),
        ("file:/x%0Ay", "control character"),
        ("C:\\data", "neither"),
        ("c:/data", "neither"),
        ("store.db", "neither"),
        ("a b", "neither"),
        ("./a\nb", "control character"),
        ("./a\0b", "control character"),
        ("./a\udc80", "control character"),
        ("x" * (URI_CHARS_MAX + 1), "characters"),
        ("https://" + "x" * 1_000_000, "characters"),
    ],
)
def test_what_is_no_uri_is_refused_with_a_hint(text, match, around):
    with pytest.raises(ConfigError, match=match) as caught:
        parse(text, around=around)
    assert caught.value.hint
    assert len(str(caught.value)) < 400


SECRET = "hunter2Xy9"


@pytest.mark.parametrize(
    "text",
    [
        f"https://user:{SECRET}@host",
        f"https://{SECRET}@host",
        f"https://user:{SECRET},x@host",
        f"https://user:x,{SECRET}@host",
        f"https://user:a/{SECRET}@host",
        f"mlflow+https://{SECRET}@host",
        f"mlflow+postgresql://user:{SECRET}@host/db",
        f"postgresql://user:a/{SECRET}@host/db",
        f"their-own://u:x,{SECRET}@host",
        f"user:{SECRET}@host",
        f"https://host?token={SECRET}",
        f"https://host?access%54oken={SECRET}",
        f"https://host/x?a=1&sig={SECRET}",
        f"https://host/x#key={SECRET}",
        f"azureml://s/g/w?client_secret={SECRET}",
        f"file:/x?password={SECRET}",
        f"mlflow+mssql://host/db;pwd={SECRET}",
        f"databricks://dapi{'0' * 32}{SECRET}",
        f"https://host/ghp_{'a' * 30}{SECRET}",
    ],
)
def test_credentials_are_refused_and_not_shown(text, around):
    for call in (parse, parse_several):
        with pytest.raises(ConfigError) as caught:
            call(text, around=around)
        error = caught.value
        assert SECRET not in f"{error} {error.hint} {error!r} {error.__dict__}"
    assert "environment" in error.hint


def test_a_password_with_a_comma_is_found_before_the_text_is_split(around):
    with pytest.raises(ConfigError, match="credential") as caught:
        parse_several(f"./folder,their-own://u:x,{SECRET}@host", around=around)
    assert SECRET not in str(caught.value)


@given(st.text(string.printable, max_size=200))
def test_any_text_is_parsed_or_refused_as_ours(text):
    try:
        uri = parse(text, around=ROOT)
    except BridgeError:
        return
    if not uri.is_name:
        assert parse(uri.text, around=ROOT) == uri


@given(
    st.sampled_from(
        ["file:", "https://", "azureml://", "arn:aws:sagemaker:", "mlflow+", "databricks://", "x://"]
    ),
    st.text("ab1:/@?#=&;%,.~+-[] ", max_size=40),
)
def test_texts_near_the_grammar_round_trip(prefix, rest):
    try:
        uri = parse(prefix + rest, around=ROOT)
    except BridgeError:
        return
    if not uri.is_name:
        assert parse(uri.text, around=ROOT) == uri


def test_several(around):
    first, second = parse_several("azureml: , ./x", around=around)
    assert first.text == "azureml:"
    assert second.path == around.cwd / "x"
    assert parse_several(["./a,b"], around=around)[0].path == around.cwd / "a,b"
    cluster, third = parse_several("spark:local-cluster[2,1,1024],./x[0]", around=around)
    assert cluster.text == "spark:local-cluster[2,1,1024]"
    assert third.path == around.cwd / "x[0]"
    assert parse_several([], around=around) == parse_several(None, around=around)
    assert parse_several(Path("a,b"), around=around)[0].path == around.cwd / "a,b"


@pytest.mark.parametrize(
    ("uris", "match"), [("a,,b", "empty"), ("a,", "empty"), (["./a", "./b/../a"], "twice")]
)
def test_several_wrong_ones(uris, match, around):
    with pytest.raises(ConfigError, match=match):
        parse_several(uris, around=around)


def test_only_registries_keep_no_runs(around: Surroundings) -> None:
    for uri in ("azureml://registries/all-teams", AZUREML_REGISTRY, f"{AZUREML_REGISTRY}/"):
        assert not parse(uri, around=around).keeps_runs
    for uri in (
        None,
        "azureml:",
        AZUREML,
        "azureml://registries-of/group/workspace",
        "azureml://s/registries/w",
    ):
        assert parse(uri, around=around).keeps_runs
    assert parse("https://host/mlflow/v1.0/registries/x", around=around).keeps_runs
