"""Tokens: chosen once, kept, renewed ahead of their end, taken anew once after a refusal, never shown."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.unit.adapters.azureml.rig import asked_for, milliseconds, opened
from trackbridge.domain.runs import LifecycleStage
from trackbridge.errors import AuthError, BridgeError, ConfigError, MissingExtra, Unavailable
from trackbridge.testing.emulators.azureml.core import TENANT
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator
from trackbridge.testing.emulators.azureml.tokens import AUTHORITY, CLIENT, CLIENT_PASSWORD
from trackbridge_adapters._mlflow_rest.adapter import RestAdapter
from trackbridge_adapters.azureml.clouds import PUBLIC
from trackbridge_adapters.azureml.errors import refusal_hint
from trackbridge_adapters.azureml.identity import AzureTokens, Token, authentication_of, claims_of
from trackbridge_adapters.azureml.job import JobCredential
from trackbridge_adapters.azureml.sign_in import WAYS, way_of


@dataclass
class Given:
    token: str
    expires_on: int


class Credential:
    """Gives tokens ``t1``, ``t2`` …, each for ``life_s``; fails while ``error`` is set."""

    def __init__(self, clock: Clock, life_s: int) -> None:
        self.clock, self.life_s = clock, life_s
        self.scopes: list[tuple[str, ...]] = []
        self.error: Exception | None = None

    def get_token(self, *scopes: str) -> Token:
        if self.error is not None:
            raise self.error
        self.scopes.append(scopes)
        return Given(f"t{len(self.scopes)}", int(self.clock.now_s) + self.life_s)


class Clock:
    now_s = 1_000_000.0

    def __call__(self) -> int:
        return int(self.now_s * 1000)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def tokens_of(credential: Credential) -> AzureTokens:
    return AzureTokens(lambda: credential, PUBLIC.scope, credential.clock)


def header(tokens: AzureTokens) -> str:
    request = requests.Request("GET", "https://host.example/").prepare()
    return tokens(request).headers["Authorization"]


def listed(adapter: RestAdapter) -> None:
    adapter.tracking.list_experiments(stage=LifecycleStage.ACTIVE)


def test_a_token_is_kept_and_renewed_ahead_of_its_end(clock: Clock) -> None:
    credential = Credential(clock, life_s=3600)
    tokens = tokens_of(credential)
    assert {header(tokens) for _ in range(50)} == {"Bearer t1"}
    clock.now_s += 3600 - 301
    assert header(tokens) == "Bearer t1"
    clock.now_s += 2
    assert header(tokens) == "Bearer t2"
    assert credential.scopes == [("https://management.azure.com/.default",)] * 2


def test_a_short_token_is_not_renewed_with_every_request(clock: Clock) -> None:
    credential = Credential(clock, life_s=30)
    tokens = tokens_of(credential)
    assert {header(tokens) for _ in range(100)} == {"Bearer t1"}
    clock.now_s += 21
    assert header(tokens) == "Bearer t2"


def test_a_failed_renewal_is_no_trouble_while_the_old_token_lasts(clock: Clock) -> None:
    credential = Credential(clock, life_s=3600)
    tokens = tokens_of(credential)
    header(tokens)
    credential.error = RuntimeError("the sign-in is down")
    clock.now_s += 3500
    assert header(tokens) == "Bearer t1"
    clock.now_s += 101
    with pytest.raises(AuthError, match="the sign-in is down"):
        header(tokens)
    credential.error = None
    assert header(tokens) == "Bearer t2"


def test_the_credential_is_made_once_by_many_threads(clock: Clock) -> None:
    made: list[Credential] = []
    together = threading.Barrier(8)

    def make() -> Credential:
        made.append(Credential(clock, 3600))
        return made[-1]

    tokens = AzureTokens(make, PUBLIC.scope, clock)

    def ask(_: int) -> str:
        together.wait(30)
        return header(tokens)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {"Bearer t1"}
    assert (len(made), len(made[0].scopes)) == (1, 1)


def test_threads_that_were_refused_together_take_one_new_token(clock: Clock) -> None:
    credential = Credential(clock, life_s=3600)
    tokens = tokens_of(credential)
    together = threading.Barrier(8)

    def refused(_: int) -> bool:
        header(tokens)
        together.wait(30)
        return tokens.renew()

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(refused, range(8)))
    assert len(credential.scopes) == 2


def test_no_token_is_shown(clock: Clock) -> None:
    tokens = tokens_of(Credential(clock, 3600))
    header(tokens)
    assert "t1" not in f"{tokens!r}{tokens!s}"


def test_causes_of_a_failed_sign_in() -> None:
    def failing(error: Exception) -> BridgeError:
        credential = Credential(Clock(), 1)
        credential.error = error
        with pytest.raises(BridgeError) as told:
            tokens_of(credential).current()
        return told.value

    class ServiceRequestError(Exception):
        pass

    chain = (
        "DefaultAzureCredential failed to retrieve a token from the included credentials.\n"
        "\tEnvironmentCredential: authentication unavailable. Variables are not fully configured.\n"
        "\tAzureCliCredential: Azure CLI not found on path\nTo mitigate this issue, please refer to …"
    )
    told = failing(RuntimeError(chain))
    assert isinstance(told, AuthError)
    assert "EnvironmentCredential" in told.message
    assert "Azure CLI not found on path" in told.message
    assert "az login" in (told.hint or "")
    assert "client secret" in (failing(RuntimeError("AADSTS7000222: expired")).hint or "")
    assert "--tenant" in (failing(RuntimeError("AADSTS90002: no tenant")).hint or "")
    refused = "port=9): Failed to establish a new connection: [Errno 111] Connection refused"
    gone = f"Attempted credentials:\n\tManagedIdentityCredential: HTTPConnection(host='127.0.0.1', {refused}"
    assert failing(RuntimeError(gone)).hint == "is the emulator running? bridge emulate azureml"
    assert "az login" in (failing(RuntimeError(f"{chain}\n{gone}")).hint or "")
    assert "az login" in (failing(RuntimeError(gone.replace("127.0.0.1", "10.0.0.1"))).hint or "")
    assert isinstance(failing(ServiceRequestError("no route to login.microsoftonline.com")), Unavailable)


def test_without_azure_identity(
    azure: AzureMlEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    with pytest.raises(MissingExtra) as told:
        listed(opened(azure, tmp_path, options={"sign_in": "default"}))
    assert told.value.hint == "pip install 'trackbridge[azure]'"


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"sign_in": "magic"}, "no credential 'magic'"),
        ({"token_env": "NOT_THERE"}, "NOT_THERE is not set"),
    ],
)
def test_wrong_options(options: dict[str, str], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        authentication_of(options, {}, PUBLIC, milliseconds, None)


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "a.e30.c", "a.W10.c", "\0.\0.\0"])
def test_claims_of_anything(text: str) -> None:
    assert claims_of(text) == {}


# Against the emulator.


def test_requests_share_one_token(azure: AzureMlEmulator, tmp_path: Path) -> None:
    credential = azure.credential()
    adapter = opened(azure, tmp_path, credential=credential)
    for _ in range(5):
        listed(adapter)
    assert credential.asked == 1


def test_a_token_that_lasts_three_seconds(azure: AzureMlEmulator, tmp_path: Path) -> None:
    azure.cloud.clock.stop()  # however long the requests take
    azure.cloud.issuer.seconds = 3
    credential = azure.credential()
    adapter = opened(azure, tmp_path, credential=credential)
    for _ in range(60):
        listed(adapter)
        azure.cloud.clock.advance(0.2)
    assert 4 <= credential.asked <= 8
    assert len(asked_for(azure, "experiments/search")) == 60  # none was refused


def test_a_refused_token_is_taken_anew_once(azure: AzureMlEmulator, tmp_path: Path) -> None:
    credential = azure.credential()
    adapter = opened(azure, tmp_path, credential=credential)
    listed(adapter)
    azure.cloud.issuer.revoke()
    before = len(azure.calls)
    listed(adapter)
    assert (credential.asked, len(azure.calls) - before) == (2, 2)


def test_a_lasting_refusal_is_told_after_one_renewal(azure: AzureMlEmulator, tmp_path: Path) -> None:
    azure.permissions.clear()
    credential = azure.credential()
    adapter = opened(azure, tmp_path, credential=credential, uri=f"azureml://x.example{azure.scope}")
    with pytest.raises(AuthError, match="does not have authorization") as told:
        listed(adapter)
    assert "AzureML Data Scientist" in (told.value.hint or "")
    assert (credential.asked, len(azure.calls)) == (2, 2)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"audience": "https://storage.azure.com"}, "another service"),
        ({"tenant": "00000000-0000-0000-0000-000000000001"}, "put one of the tenant 99999999-"),
        ({"seconds": -60}, "has expired"),
    ],
)
def test_why_a_token_is_refused(
    azure: AzureMlEmulator, given: dict[str, object], hint: str, tmp_path: Path
) -> None:
    token = azure.cloud.issuer.issue(**given)  # type: ignore[arg-type]
    adapter = opened(azure, tmp_path, options={"token_env": "MY"}, environment={"MY": token.token})
    with pytest.raises(AuthError) as told:
        listed(adapter)
    assert hint in (told.value.hint or "")
    assert token.token not in f"{told.value!s} {told.value!r} {told.value.hint}"


def test_a_token_file_is_read_again(azure: AzureMlEmulator, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(azure.cloud.issuer.issue().token)
    adapter = opened(azure, tmp_path, options={"token_file": str(file)})
    listed(adapter)
    azure.cloud.issuer.revoke()
    file.write_text(azure.cloud.issuer.issue().token)
    listed(adapter)


# azure-identity itself.


def test_the_managed_identity_of_a_machine(
    azure: AzureMlEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in azure.environment().items():
        monkeypatch.setenv(name, value)
    for option in ("managed", "default"):
        listed(opened(azure, tmp_path, options={"sign_in": option}))
    assert len(asked_for(azure, "/identity/token")) == 2
    monkeypatch.setenv("IDENTITY_HEADER", "wrong")
    with pytest.raises(AuthError, match="not signed in to Azure"):
        listed(opened(azure, tmp_path, options={"sign_in": "managed"}))


@pytest.mark.parametrize(
    ("client", "password", "hint"),
    [
        (CLIENT, CLIENT_PASSWORD, None),
        (CLIENT, "0wr0ng", "the client secret is wrong"),
        ("another", CLIENT_PASSWORD, "check the tenant"),
    ],
)
def test_a_service_principal(
    azure: AzureMlEmulator, client: str, password: str, hint: str | None, tmp_path: Path
) -> None:
    credential = principal(azure, client, password)
    adapter = opened(azure, tmp_path, credential=credential)
    if hint is None:
        listed(adapter)
        listed(adapter)
        assert len(asked_for(azure, f"{TENANT}/oauth2/v2.0/token")) == 1
        return
    with pytest.raises(AuthError) as told:
        listed(adapter)
    assert hint in (told.value.hint or "")
    assert "0wr0ng" not in f"{told.value!s}{told.value.hint}"


def principal(azure: AzureMlEmulator, client: str, password: str) -> object:
    """Return azure-identity's own credential, whose sign-in host is the emulator."""
    from azure.core.pipeline.transport import RequestsTransport
    from azure.identity import ClientSecretCredential
    from requests.adapters import HTTPAdapter

    class ToTheEmulator(HTTPAdapter):
        def send(self, request, **named):  # type: ignore[no-untyped-def]
            request.url = request.url.replace(AUTHORITY, azure.url)
            return super().send(request, **named)

    session = requests.Session()
    session.mount(AUTHORITY, ToTheEmulator())
    return ClientSecretCredential(
        TENANT,
        client,
        password,
        authority=AUTHORITY,
        disable_instance_discovery=True,
        transport=RequestsTransport(session=session, session_owner=False),
    )


@pytest.mark.parametrize("kept_in", ["variable", "file"])
def test_a_refused_token_is_renewed_where_it_is_kept(
    azure: AzureMlEmulator, tmp_path: Path, kept_in: str
) -> None:
    """``az login`` would not help: nobody asks it."""
    file = tmp_path / "a {token} of mine"
    issue = azure.cloud.issuer.issue
    refused = [issue(seconds=-60), issue(audience="https://storage.azure.com"), issue(tenant=CLIENT)]
    for token in (*(item.token for item in refused), "no-token-at-all"):
        file.write_text(token)
        options = {"token_env": "MY_TOKEN"} if kept_in == "variable" else {"token_file": str(file)}
        adapter = opened(azure, tmp_path, options=options, environment={"MY_TOKEN": token})
        with pytest.raises(AuthError) as caught:
            listed(adapter)
        assert f"into {'MY_TOKEN' if kept_in == 'variable' else f'the file {file}'}" in caught.value.hint
        assert "az login" not in caught.value.hint
        adapter.close()


@pytest.mark.parametrize("kind", WAYS)
def test_what_to_do_is_of_the_way_that_was_chosen(clock: Clock, kind: str) -> None:
    way = way_of(authentication_of({"sign_in": kind}, {}, PUBLIC, clock, None))
    credential = Credential(clock, 1)
    hints = [refusal_hint(code, "", 401, way) for code in ("Tenant", "ExpiredAuthenticationToken", "")]
    for said in ("", "AADSTS90002", "AADSTS50076", "AADSTS700082"):
        credential.error = RuntimeError(said)
        with pytest.raises(AuthError) as caught:
            AzureTokens(lambda: credential, PUBLIC.scope, clock, way).current()
        hints.append(caught.value.hint or "")
    helps = kind in ("default", "cli")
    assert [hint for hint in hints if ("az login" in hint) is not helps] == []
    assert not any("{" in hint for hint in hints)


def test_a_given_credential_and_a_job_are_not_told_to_log_in(clock: Clock) -> None:
    given = way_of(authentication_of({}, {}, PUBLIC, clock, Credential(clock, 1)))
    for way in (given, JobCredential.way):
        for code in ("Tenant", "ExpiredAuthenticationToken", ""):
            assert "az login" not in refusal_hint(code, "", 401, way)


def test_what_was_tried_is_told_in_whole_words(clock: Clock) -> None:
    address = "https://aka.ms/azsdk/python/identity/environmentcredential/troubleshoot"
    reason = f"EnvironmentCredential authentication unavailable. {'Variables are not configured. ' * 4}"
    text = "DefaultAzureCredential failed to retrieve a token.\nAttempted credentials:\n" + "\n".join(
        f"\t{name}Credential: {reason}Visit {address} to troubleshoot this issue."
        for name in ("Environment", "ManagedIdentity", "AzureCli", "AzurePowerShell", "Workload") * 3
    )
    credential = Credential(clock, life_s=3600)
    credential.error = RuntimeError(f"{text}\nTo mitigate this issue, please refer to {address}")
    with pytest.raises(AuthError) as caught:
        header(tokens_of(credential))
    told = caught.value.message
    assert "none of these signed in: EnvironmentCredential (EnvironmentCredential auth" in told
    assert "http" not in told
    assert {word.strip("();….") for word in told.split()} <= {
        *("not", "signed", "in", "to", "Azure", "none", "of", "these", "in:"),
        *("authentication", "unavailable", "Variables", "are", "configured"),
        *(f"{name}Credential" for name in ("Environment", "ManagedIdentity", "AzureCli", "AzurePowerShell")),
        "WorkloadCredential",
    }
    assert told.endswith("…")
