"""Certificates of a company's own authority, for AWS's services, for S3 and for the parts of a large file."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.scripted_servers import Answer, Request, ScriptedServer, scripted_server
from tests.unit.adapters.sagemaker.place_rig import KEYS, backend
from trackbridge.errors import AuthError
from trackbridge_adapters.sagemaker.artifacts import Runs, SageMakerArtifacts

LARGE_BYTES = 17 * 1024 * 1024
START = b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
DONE = b'<CompleteMultipartUploadResult><ETag>"x"</ETag></CompleteMultipartUploadResult>'
NOTHING = b"<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>0</KeyCount></ListBucketResult>"


class OneRun(Runs):
    def component_of(self, run_id: str) -> str:
        return "component"

    def artifacts_prefix(self, run_id: str) -> str:
        return f"runs/{run_id}/artifacts"


def made(name: str, *, issuer: Any = None) -> tuple[Any, Any]:
    """Return a certificate, signed by an issuer or by itself, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.timezone.utc)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer, signing_key = (subject, key) if issuer is None else (issuer[0].subject, issuer[1])
    local = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(local, critical=False)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .sign(signing_key, hashes.SHA256())
    )
    return certificate, key


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The authority's certificate, and the server's with its key."""
    from cryptography.hazmat.primitives import serialization

    folder, pem = tmp_path_factory.mktemp("tls"), serialization.Encoding.PEM
    authority = made("authority")
    certificate, key = made("server", issuer=authority)
    (folder / "authority.pem").write_bytes(authority[0].public_bytes(pem))
    plain = (pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(certificate.public_bytes(pem) + key.private_bytes(*plain))
    return folder / "authority.pem", folder / "server.pem"


@pytest.fixture
def aws(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files[1])

    def answer(request: Request) -> Answer:
        if request.method == "POST" and "uploads" in request.path:
            return Answer(body=START)
        if request.method == "POST" and "uploadId" in request.path:
            return Answer(body=DONE)
        if request.method == "GET" and "list-type" in request.path:
            return Answer(body=NOTHING)
        if request.method == "HEAD":
            return Answer(status=404 if "trackbridge" in request.path else 200, body=b"")
        return Answer(headers={"ETag": '"x"'})

    with scripted_server(context) as server:
        server.answer = answer
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": server.url}.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.mark.parametrize("how", ["option", "variable"])
def test_a_named_authority_is_trusted_everywhere(
    aws: ScriptedServer, files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    options = {"bucket": "mine"}
    if how == "option":
        options["ca_file"] = str(files[0])
    else:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(files[0]))
    opened = backend(tmp_path, options)
    assert opened.clients.call("sagemaker", "ListTrials") == {}
    assert opened.bucket.put("a", b"1") == '"x"'
    content = b"x" * LARGE_BYTES
    (tmp_path / "large").write_bytes(content)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    SageMakerArtifacts(opened, OneRun()).put_resumable(
        "1" * 32, "large", tmp_path / "large", digest=digest, size=LARGE_BYTES, state=tmp_path / "state"
    )
    parts = [request for request in aws.requests if "partNumber" in request.path]
    assert sum(len(request.body) for request in parts) == LARGE_BYTES


def test_an_unknown_authority_is_trusted_nowhere(aws: ScriptedServer, tmp_path: Path) -> None:
    opened = backend(tmp_path, {"bucket": "mine"})
    for use in (lambda: opened.clients.call("sagemaker", "ListTrials"), lambda: opened.bucket.put("a", b"1")):
        with pytest.raises(AuthError, match="not trusted") as refused:
            use()
        assert "ca_file" in (refused.value.hint or "")
    assert aws.requests == []
