"""Nothing recognisable as a credential survives redaction."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackbridge.domain.secrets import has_secret_shape, is_secret_name, shown
from trackbridge.transport.redaction import ADDRESS_CHARS_MAX, redact, strip_credentials

SECRET = "hunter2Xy9"
plain = st.text(string.ascii_letters + string.digits + "-._~%!$*", min_size=1, max_size=30)
anything = st.text(max_size=300)


@pytest.mark.parametrize(
    "text",
    [
        f"https://user:{SECRET}@host/x",
        f"https://{SECRET}@host/x",
        f"https://user:pa/{SECRET}@host/x",
        f"https://user:p@{SECRET}@host/x",
        f"https://me@corp.example:{SECRET}@host/x",
        f"postgresql+psycopg2://user:{SECRET}@host:5432/db",
        f"failed for url https://a.blob.example/c?sv=2024&sig={SECRET}&se=x",
        f"https://s3/x?X-Amz-Credential={SECRET}/1&X-Amz-Signature={SECRET}&X-Amz-Security-Token={SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"authorization: Basic {SECRET}==",
        f"{{'Authorization': 'Bearer {SECRET}', 'Accept': '*/*'}}",
        f"bearer {SECRET}",
        f"Cookie: a=1; session={SECRET}",
        f'{{"password": "{SECRET} with spaces", "x": 1}}',
        f"api_key={SECRET}",
        f"apiKey: {SECRET}",
        f"AWS_SECRET_ACCESS_KEY={SECRET}",
        f"MLFLOW_TRACKING_TOKEN={SECRET}",
        f"DefaultEndpointsProtocol=https;AccountKey={SECRET}==;EndpointSuffix=x",
        f"client-secret = '{SECRET}'",
        f"run --password {SECRET} --verbose",
        f"password={SECRET},more",
        f"password='{SECRET}",
        f"next=https%3A//h/x%3Fsig%3D{SECRET}",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}",
    ],
)
def test_known_places_are_masked(text):
    assert SECRET not in redact(text)
    assert "***" in redact(text)


@pytest.mark.parametrize(
    "token",
    [
        "ghp_" + "a1" * 18,
        "github_pat_" + "A1" * 20,
        "glpat-" + "a1-b" * 6,
        "dapi" + "0123456789abcdef" * 2,
        "AKIA" + "ABCDEFGH12345678",
        "hf_" + "aB3" * 10,
        "sk-" + "aB3" * 10,
        "xoxb-" + "123456-abcdef",
        "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl",
    ],
)
def test_known_shapes_are_masked_anywhere(token):
    assert redact(f"the answer was ({token}).") == "the answer was (***)."
    assert has_secret_shape(f"x/{token}")


@pytest.mark.parametrize(
    "text",
    [
        "https://host:8080/path@x?page=2",
        "metric key='loss' of run 0193 at step=7",
        "next page in 5 s: retry-after=5",
        "git@github.com:owner/repository.git",
        'token_env = "PROD_TOKEN"',
        "arn:aws:sagemaker:eu-west-1:123456789012:mlflow-app/app-1",
    ],
)
def test_harmless_text_stays(text):
    assert redact(text) == text


@given(
    before=anything, name=st.sampled_from(["password", "api_key", "sig", "clientSecret", "X-Amz-Signature"])
)
def test_assigned_secrets_are_masked_behind_anything(before, name):
    assert SECRET not in redact(f"{before}\n{name}={SECRET}")


@given(user=plain, password=plain, path=plain)
def test_passwords_of_addresses_never_survive(user, password, path):
    secret = f"Q{password}Q"
    address = f"https://{user}:{secret}@host.example/{path}"
    assert secret not in redact(address)
    assert strip_credentials(address) == f"https://host.example/{redact(path)}"


@given(anything)
def test_redacting_twice_equals_redacting_once(text):
    once = redact(text)
    assert redact(once) == once


@given(st.text(alphabet="ab:/@?#=&;\"'.- \n\\*%3Dtoken", max_size=200))
def test_redacting_twice_equals_redacting_once_near_the_grammar(text):
    once = redact(text)
    assert redact(once) == once


@pytest.mark.parametrize(
    "pattern",
    [
        "a://b:x",
        "a=",
        'password="',
        "password='\\",
        "a.a-",
        "-----BEGIN PRIVATE KEY-----",
        "eyJaaaaa.",
        "-a ",
        "://a@:",
        " ",
    ],
)
def test_a_megabyte_of_near_misses_ends(pattern):
    text = pattern * (1_000_000 // len(pattern))
    assert redact(text) is not None
    assert len(strip_credentials(text)) <= ADDRESS_CHARS_MAX


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("token", True),
        ("accessToken", True),
        ("AWS_SESSION_TOKEN", True),
        ("storage_account_key", True),
        ("sig", True),
        ("sas", True),
        ("key", False),
        ("sort_key", False),
        ("token_env", False),
        ("password_file", False),
        ("design", False),
        ("max_tokens", False),
        ("", False),
        ("___", False),
    ],
)
def test_secret_names(name, secret):
    assert is_secret_name(name) is secret


def test_text_is_redacted_before_it_is_cut():
    text = "https://user:" + SECRET * 3 + "@host"
    assert SECRET not in shown(text, chars_max=25)
    assert len(shown("x" * 10**6)) == 501


@pytest.mark.parametrize(
    ("address", "stripped"),
    [
        ("https://user:token@host/x.git", "https://host/x.git"),
        ("https://token@dev.azure.com/o/_git/r@1", "https://dev.azure.com/o/_git/r@1"),
        ("https://host:8443/@scope/x.git", "https://host:8443/@scope/x.git"),
        ("https://user:pa/ss@host/x.git", "https://host/x.git"),
        ("https://user:p?a#s@host/x.git", "https://host/x.git"),
        ("https://me@corp.example:pw@host/x.git", "https://host/x.git"),
        ("https://user:pw@[::1]:80/x?private_token=abc#frag", "https://[::1]:80/x"),
        ("git@host:owner/x.git", "git@host:owner/x.git"),
        ("ssh://git@host:22/x.git", "ssh://git@host:22/x.git"),
        ("ssh://git:pw@host/x.git", "ssh://git@host/x.git"),
        ("user:pw@host:x.git", "user@host:x.git"),
        ("/srv/git/a:b@c.git", "/srv/git/a:b@c.git"),
        ("../x", "../x"),
        ("file:///srv/x.git", "file:///srv/x.git"),
        ("", ""),
        ("https://host/x\n.git\0", "https://host/x.git"),
    ],
)
def test_git_remotes_keep_all_but_credentials(address, stripped):
    assert strip_credentials(address) == stripped


@given(anything)
def test_stripping_accepts_any_text(text):
    stripped = strip_credentials(text)
    assert len(stripped) <= ADDRESS_CHARS_MAX
    assert not any(ord(character) < 32 for character in stripped)
