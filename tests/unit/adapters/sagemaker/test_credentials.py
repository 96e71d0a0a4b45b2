"""Credentials: where they come from, renewed ahead of their end, roles of other accounts, and what fails."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from tests.support.scripted_servers import Answer, ScriptedServer, scripted_server
from tests.unit.adapters.sagemaker.rig import ARN, now_ms, opened, wire_of
from trackbridge.errors import AuthError, BridgeError, ConfigError, MissingExtra, Rejected, Unavailable
from trackbridge.testing.emulators.aws_keys import ACCOUNT
from trackbridge.testing.emulators.signed_mlflow import SignedMlflow
from trackbridge_adapters.sagemaker.arn import parse_arn
from trackbridge_adapters.sagemaker.config import access_of
from trackbridge_adapters.sagemaker.credentials import Credentials

ROLE = f"arn:aws:iam::{ACCOUNT}:role/team/tracking"


def sign_in(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def credentials(options: dict[str, str] | None = None, clock_ms: object = now_ms) -> Credentials:
    arn = parse_arn(ARN)
    return Credentials(arn, access_of(arn, options or {}), clock_ms)  # type: ignore[arg-type]


def search(adapter: object) -> None:
    assert wire_of(adapter).post("experiments/search", {}) == {}  # type: ignore[arg-type]


# Where they come from.


def test_a_profile_of_the_files(aws: SignedMlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = aws.key
    (tmp_path / "aws-credentials").write_text(
        f"[team]\naws_access_key_id={key.access_key}\naws_secret_access_key={key.secret_key}\n"
    )
    sign_in(monkeypatch, {"AWS_ENDPOINT_URL": aws.url})
    adapter = opened(aws.arn, tmp_path, options={"profile": "team"})
    search(adapter)
    adapter.close()
    sign_in(monkeypatch, {"AWS_PROFILE": "team"})
    adapter = opened(aws.arn, tmp_path)
    search(adapter)
    adapter.close()


def test_there_are_none(tmp_path: Path) -> None:
    adapter = opened(ARN, tmp_path)
    with pytest.raises(AuthError, match="no AWS credentials") as refused:
        search(adapter)
    assert "aws sso login" in (refused.value.hint or "")
    adapter.close()


def test_a_profile_that_does_not_exist(tmp_path: Path) -> None:
    adapter = opened(ARN, tmp_path, options={"profile": "nobody"})
    with pytest.raises(ConfigError, match="nobody"):
        search(adapter)
    adapter.close()


def test_without_boto3_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trackbridge_adapters.sagemaker.service.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="boto3") as missing:
        opened(ARN, tmp_path)
    assert missing.value.hint == "pip install 'trackbridge[aws]'"


def test_a_boto3_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = opened(ARN, tmp_path)
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    with pytest.raises(MissingExtra):
        search(adapter)
    assert any("trackbridge[aws]" in finding.fix for finding in adapter.check())
    adapter.close()


def test_opening_contacts_nobody_and_imports_no_sdk(tmp_path: Path) -> None:
    import subprocess

    program = (
        "import sys; from pathlib import Path\n"
        "from trackbridge.ports.adapter import AdapterContext\n"
        "from trackbridge_adapters.sagemaker import open_adapter\n"
        f"context = AdapterContext(home=Path({str(tmp_path)!r}), options={{}}, clock_ms=lambda: 0)\n"
        f"adapter = open_adapter({ARN!r}, context=context); adapter.capabilities(); adapter.close()\n"
        "assert not {'boto3', 'botocore', 'sagemaker_mlflow', 'mlflow'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


# Renewal.


def test_keys_that_last_two_seconds_are_renewed_ahead_of_their_end(
    aws: SignedMlflow, mlflow: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.container_seconds = 2.0
    sign_in(monkeypatch, aws.container_environment())
    adapter = opened(aws.arn, tmp_path)
    until = time.monotonic() + 3.5
    asked = 0
    while time.monotonic() < until:
        search(adapter)
        asked += 1
    paths = [path for _, path in aws.requests]
    fetched, sent = paths.count("/credentials"), len(paths) - paths.count("/credentials")
    assert fetched >= 2
    assert fetched < asked, "keys were fetched for every request"
    assert sent <= asked + fetched, "requests were refused that good keys were there for"
    adapter.close()


def test_keys_that_are_good_go_on_while_renewal_fails(
    aws: SignedMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.tokens.allow(ROLE, seconds=600)
    sign_in(monkeypatch, aws.environment())
    late_ms = 0
    found = credentials({"role_arn": ROLE}, lambda: now_ms() + late_ms)
    first = found.frozen()
    aws.tokens.is_down = True
    late_ms = 450_000  # in the last third of their life
    before = len(aws.requests)
    assert [found.frozen() for _ in range(50)] == [first] * 50
    assert 1 <= len(aws.requests) - before <= 4, "every request tried to renew them"
    late_ms = 601_000
    with pytest.raises(Unavailable):
        found.frozen()
    aws.tokens.is_down = False
    aws.tokens.allow(ROLE, seconds=7200)
    assert found.frozen() != first


def test_many_threads_renew_once(aws: SignedMlflow, monkeypatch: pytest.MonkeyPatch) -> None:
    aws.tokens.allow(ROLE)
    sign_in(monkeypatch, aws.environment())
    found = credentials({"role_arn": ROLE})
    barrier = threading.Barrier(8)

    def take(_: int) -> object:
        barrier.wait()
        return found.frozen()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(take, range(8)))) == 1
    assert aws.tokens.assumed == 1


def test_keys_that_the_server_says_have_expired_are_read_again_from_the_file(
    aws: SignedMlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where another program renews ``~/.aws/credentials`` during a long run."""
    file = tmp_path / "aws-credentials"

    def write(seconds: float) -> None:
        key = aws.keys.issue(seconds=seconds)
        file.write_text(
            f"[default]\naws_access_key_id={key.access_key}\naws_secret_access_key={key.secret_key}\n"
            f"aws_session_token={key.token}\n"
        )

    late_ms = 0
    sign_in(monkeypatch, {"AWS_ENDPOINT_URL": aws.url})
    write(3600)
    adapter = opened(aws.arn, tmp_path, clock_ms=lambda: now_ms() + late_ms)
    search(adapter)
    write(7200)
    aws.clock_skew_s, late_ms = 3700.0, 3_700_000
    search(adapter)
    aws.clock_skew_s, late_ms = 7300.0, 7_300_000
    for _ in range(3):
        with pytest.raises(AuthError, match="expired") as refused:
            search(adapter)
    assert "get new credentials" in (refused.value.hint or "")
    assert "clock" not in (refused.value.hint or "")
    adapter.close()


def test_the_store_of_artifacts_gets_keys_that_are_good(
    aws: SignedMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = aws.keys.issue(seconds=3600)
    sign_in(monkeypatch, aws.environment(key))
    given = credentials().for_store()
    assert (given["access_key_id"], given["secret_access_key"], given["token"]) == (
        key.access_key,
        key.secret_key,
        key.token,
    )
    assert 0 < given["expires_at"].timestamp() - time.time() <= 300


# Roles.


def test_a_role_of_the_servers_account_with_an_external_id(
    aws: SignedMlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.tokens.allow(ROLE, external_id="team:7")
    stranger = aws.keys.issue(principal="arn:aws:iam::999999999999:user/stranger")
    sign_in(monkeypatch, aws.environment(stranger))
    without = opened(aws.arn, tmp_path)
    with pytest.raises(AuthError, match="not authorized to perform: sagemaker-mlflow:SearchExperiments"):
        search(without)
    refused_role = opened(aws.arn, tmp_path, options={"role_arn": ROLE, "external_id": "team:8"})
    with pytest.raises(AuthError, match="sts:AssumeRole") as refused:
        search(refused_role)
    assert "trust policy" in (refused.value.hint or "")
    taken = opened(aws.arn, tmp_path, options={"role_arn": ROLE, "external_id": "team:7"})
    search(taken)
    for adapter in (without, refused_role, taken):
        adapter.close()


def test_a_role_whose_keys_last_seconds(
    aws: SignedMlflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.tokens.allow(ROLE, seconds=2)
    sign_in(monkeypatch, aws.environment())
    adapter = opened(aws.arn, tmp_path, options={"role_arn": ROLE})
    until = time.monotonic() + 60
    while aws.tokens.assumed < 2:
        assert time.monotonic() < until, "the keys have ended, and no others were asked for"
        search(adapter)
    adapter.close()


def test_a_clock_that_is_wrong_for_sts_too(aws: SignedMlflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore signs by the machine's own clock; here it is the double's that is another."""
    aws.tokens.allow(ROLE)
    sign_in(monkeypatch, aws.environment())
    aws.clock_skew_s = 3600.0
    with pytest.raises(AuthError, match="Signature expired") as refused:
        credentials({"role_arn": ROLE}).frozen()
    assert "timedatectl" in (refused.value.hint or "")


def test_a_role_by_the_sts_of_moto(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        sign_in(
            monkeypatch,
            {
                "AWS_ACCESS_KEY_ID": "AKIA" + "X" * 16,
                "AWS_SECRET_ACCESS_KEY": "secret",
                "AWS_ENDPOINT_URL_STS": f"http://{host}:{port}",
            },
        )
        frozen = credentials({"role_arn": ROLE}).frozen()
        assert str(frozen.access_key).startswith("ASIA")
        assert frozen.token
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AccessDenied", AuthError),
        (403, "ExpiredToken", AuthError),
        (403, "InvalidClientTokenId", AuthError),
        (400, "ValidationError", Rejected),
        (400, "Throttling", BridgeError),
        (503, "ServiceUnavailable", Unavailable),
    ],
)
def test_refusals_of_sts_are_ours(
    monkeypatch: pytest.MonkeyPatch, status: int, code: str, kind: type[BridgeError]
) -> None:
    error = f"<Error><Code>{code}</Code><Message>no, said STS</Message></Error>"
    sign_in(monkeypatch, {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "verysecret"})
    with scripted_server() as server:
        sign_in(monkeypatch, {"AWS_ENDPOINT_URL_STS": server.url})
        server.says(Answer(status=status, body=f"<ErrorResponse>{error}</ErrorResponse>"))
        with pytest.raises(kind, match="no, said STS") as refused:
            credentials({"role_arn": ROLE}).frozen()
    assert "verysecret" not in str(refused.value)


def test_an_sts_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}
    sign_in(monkeypatch, {**variables, "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:9"})
    with pytest.raises(Unavailable, match="AWS credentials cannot be had"):
        credentials({"role_arn": ROLE}).frozen()
