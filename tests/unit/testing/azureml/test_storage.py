"""Blob storage of the emulator: a real Azurite, with the signatures and keys that Azure would give."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
import requests

from tests.support.processes import eventually
from trackbridge.testing.emulators.azureml import blob_server
from trackbridge.testing.emulators.azureml.blob_server import BlobServer
from trackbridge.testing.emulators.azureml.emulator import AzureMlEmulator, key_of
from trackbridge.testing.emulators.azureml.storage import ACCOUNT, CONTAINER, READ
from trackbridge.testing.emulators.azureml.tokens import TokenIssuer

CALL_S = 30
NAMES = ("plain.txt", "a/b c/ä€.bin", "per%cent", "plus+and&?#", "quote'(x)")


def address(azure: AzureMlEmulator, path: str, query: str) -> str:
    return f"{azure.blob_url}/{ACCOUNT}/{CONTAINER}/{quote(path)}?{query}"


def code_of(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.headers.get("x-ms-error-code", "")


@pytest.mark.parametrize("name", NAMES)
def test_a_signature_of_a_container_opens_every_name(azure: AzureMlEmulator, name: str) -> None:
    azure.cloud.storage.ensure_container()
    place = address(azure, name, azure.cloud.storage.sas())

    put = requests.put(place, data=b"bytes", headers={"x-ms-blob-type": "BlockBlob"}, timeout=CALL_S)

    assert put.status_code == 201
    assert requests.get(place, timeout=CALL_S).content == b"bytes"
    assert [blob.path for blob in azure.cloud.storage.blobs()] == [name]
    assert azure.cloud.storage.get(name) == b"bytes"


def test_a_signature_of_a_blob_opens_no_other(azure: AzureMlEmulator) -> None:
    for name in ("one", "other"):
        azure.cloud.storage.put(name, name.encode())
    query = azure.cloud.storage.sas(CONTAINER, "one", permissions=READ)

    assert requests.get(address(azure, "one", query), timeout=CALL_S).content == b"one"
    assert code_of(requests.get(address(azure, "other", query), timeout=CALL_S)) == (
        403,
        "AuthenticationFailed",
    )


def test_a_signature_for_reading_does_not_write(azure: AzureMlEmulator) -> None:
    azure.cloud.storage.put("one", b"one")
    place = address(azure, "one", azure.cloud.storage.sas(permissions=READ))

    answer = requests.put(place, data=b"x", headers={"x-ms-blob-type": "BlockBlob"}, timeout=CALL_S)

    assert code_of(answer) == (403, "AuthorizationPermissionMismatch")


def test_an_expired_signature_is_refused_by_azurite_itself(azure: AzureMlEmulator) -> None:
    azure.cloud.storage.put("one", b"one")
    place = address(azure, "one", azure.cloud.storage.sas(seconds=-1))

    assert code_of(requests.get(place, timeout=CALL_S)) == (403, "AuthenticationFailed")


def test_azures_own_host_of_an_account_leads_to_the_same_blobs(azure: AzureMlEmulator) -> None:
    azure.cloud.storage.put("a/b", b"x" * 3_000_000)
    place = azure.cloud.storage.signed(
        f"https://{ACCOUNT}.blob.core.windows.net", CONTAINER, "a/b", permissions=READ
    )
    variables = azure.environment()

    answer = requests.get(
        place, proxies={"https": variables["HTTPS_PROXY"]}, verify=variables["SSL_CERT_FILE"], timeout=CALL_S
    )

    assert (answer.status_code, len(answer.content)) == (200, 3_000_000)


def test_a_listing_goes_on_over_pages(azure: AzureMlEmulator) -> None:
    names = [f"many/{number:04}" for number in range(30)]
    for name in names:
        azure.cloud.storage.put(name, b"x")

    assert [blob.path for blob in azure.cloud.storage.blobs("many/")] == names
    assert {blob.size for blob in azure.cloud.storage.blobs("many/")} == {1}
    assert azure.cloud.storage.blobs("none/") == []


NPM = """#!/bin/sh
mkdir -p node_modules/azurite/dist/src/blob
touch node_modules/azurite/package.json node_modules/azurite/dist/src/blob/main.js
until test -e {told}; do sleep 0.05; done
"""


def test_a_setup_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    npm, told = tmp_path / "bin/npm", tmp_path / "told"
    npm.parent.mkdir()
    npm.write_text(NPM.format(told=told))
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv(blob_server.FOLDER_VARIABLE, str(tmp_path / "cache/azurite"))
    counts = []

    def tell(count: int) -> None:
        counts.append(count)
        if count:
            told.touch()

    assert blob_server.set_up(tell) == tmp_path / "cache/azurite"
    assert counts[-1] == 1
    assert len(blob_server.packages()) > 100
    assert blob_server.is_set_up()


def test_npm_that_hangs_is_given_up_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    npm = tmp_path / "bin/npm"
    npm.parent.mkdir()
    npm.write_text("#!/bin/sh\nexec sleep 1234\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv(blob_server.FOLDER_VARIABLE, str(tmp_path / "cache/azurite"))
    monkeypatch.setattr(blob_server, "SETUP_S", 1.0)
    with pytest.raises(blob_server.NotSetUp, match="not done after 1 s"):
        blob_server.set_up()
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_is_not_set_up_says_how_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(blob_server.FOLDER_VARIABLE, str(tmp_path))

    with pytest.raises(blob_server.NotSetUp, match="--setup"):
        BlobServer({ACCOUNT: key_of(ACCOUNT)})


def test_a_node_that_is_too_old_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    older = tmp_path / "older.js"
    older.write_text(
        "Object.defineProperty(process, 'versions', {value: {...process.versions, node: '12.22.9'}})"
    )
    node = tmp_path / "node"
    node.write_text(f'#!/bin/sh\nexec {shutil.which("node")} --require {older} "$@"\n')
    node.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    with pytest.raises(blob_server.NotSetUp, match=r"Node\.js 18 or later is needed; this is 12\.22\.9"):
        BlobServer({ACCOUNT: key_of(ACCOUNT)}).wait()


def with_token(azure: AzureMlEmulator, token: str, base: str) -> requests.Response:
    """Ask for a blob of the account as somebody who is signed in."""
    headers = {"Authorization": f"Bearer {token}", "x-ms-version": "2021-12-02"}
    trusted = str(azure.certificates.authority)
    place = f"{base}/{ACCOUNT}/{CONTAINER}/one"
    return requests.get(place, headers=headers, verify=trusted, timeout=CALL_S)


def test_a_token_for_storage_opens_it_with_tls_only(azure: AzureMlEmulator) -> None:
    azure.cloud.storage.put("one", b"one")
    token = azure.cloud.issuer.issue(audience="https://storage.azure.com").token

    assert with_token(azure, token, azure.blob_tls_url).content == b"one"
    assert code_of(with_token(azure, token, azure.blob_url)) == (403, "AuthenticationFailed")


def test_a_token_that_is_not_for_storage_or_not_the_tenants_is_refused(azure: AzureMlEmulator) -> None:
    azure.cloud.storage.put("one", b"one")
    issue = azure.cloud.issuer.issue
    other = TokenIssuer(tenant=azure.cloud.tenant, seconds=60)
    tokens = (
        issue().token,
        issue(audience="https://storage.azure.com", seconds=-1).token,
        other.issue(audience="https://storage.azure.com").token,
        "a.b.c",
    )

    for token in tokens:
        assert code_of(with_token(azure, token, azure.blob_tls_url)) == (403, "AuthenticationFailed")


def test_a_key_that_is_wrong_is_refused_as_azure_does(azure: AzureMlEmulator) -> None:
    headers = {"Authorization": f"SharedKey {ACCOUNT}:AAAA", "x-ms-version": "2021-12-02"}

    answer = requests.get(f"{azure.blob_url}/{ACCOUNT}/{CONTAINER}/one", headers=headers, timeout=CALL_S)

    assert code_of(answer) == (403, "AuthenticationFailed")


STARTS_ONE = f"""
import signal
from trackbridge.testing.emulators.azureml.blob_server import BlobServer
print(BlobServer({{{ACCOUNT!r}: {key_of(ACCOUNT)!r}}}).wait(), flush=True)
signal.pause()
"""


def test_azurite_ends_with_the_process_that_started_it() -> None:
    with subprocess.Popen([sys.executable, "-c", STARTS_ONE], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = urlsplit(process.stdout.readline().strip())
        place = (url.hostname or "", url.port or 0)
        socket.create_connection(place, timeout=CALL_S).close()
        process.kill()

    eventually(lambda: not listens(place), "Azurite's end")


def listens(place: tuple[str, int]) -> bool:
    try:
        socket.create_connection(place, timeout=CALL_S).close()
    except ConnectionError:
        return False
    return True
