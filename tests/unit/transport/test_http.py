"""The HTTP client: what is sent, what a broken connection means, and what a status means."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
import traceback
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.scripted_servers import Answer, ScriptedServer, scripted_server
from trackbridge.errors import (
    AuthError,
    BridgeError,
    ConfigError,
    Conflict,
    NotFound,
    NotRunning,
    RateLimited,
    Rejected,
    TimedOut,
    Unavailable,
)
from trackbridge.transport.authentication import BearerToken
from trackbridge.transport.http import CERTIFICATE_VARIABLES, HttpClient, error_of_status, retry_after_s

SECRET = "hunter2Xy9"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def client() -> Iterator[HttpClient]:
    client = HttpClient(adapter="mlflow", answer_s=20)
    yield client
    client.close()


class Renewable:
    """Credentials that are another after each renewal."""

    def __init__(self, renewals: int = 1) -> None:
        self.number = 0
        self.renewals = renewals

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.number}"
        return request

    def renew(self) -> bool:
        self.number += 1
        return self.number <= self.renewals


def sent_tokens(server: ScriptedServer) -> list[str | None]:
    return [request.headers.get("Authorization") for request in server.requests]


def test_query_and_body_arrive_as_they_were_given(server, client):
    client.request("POST", f"{server.url}/a", query={"q": "a b+c/ü", "many": ["1", "2"]}, body=b"\0x")
    (request,) = server.requests
    assert request.path == "/a?q=a%20b%2Bc%2F%C3%BC&many=1&many=2"
    assert (request.method, request.body) == ("POST", b"\0x")
    assert request.headers["User-Agent"].startswith("trackbridge/")


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_renews_the_credentials_once_and_opens_the_body_anew(status, server):
    server.says(Answer(status=status), Answer())
    client = HttpClient(adapter="x", authentication=Renewable())
    opened = []

    def body() -> bytes:
        opened.append(1)
        return b"body"

    assert client.request("PUT", f"{server.url}/a", body=body).status_code == 200
    assert sent_tokens(server) == ["Bearer 0", "Bearer 1"]
    assert [request.body for request in server.requests] == [b"body", b"body"]
    assert len(opened) == 2


def test_a_second_refusal_is_the_answer(server):
    server.says(Answer(status=401))
    client = HttpClient(adapter="x", authentication=Renewable(renewals=5))
    assert client.request("GET", server.url).status_code == 401
    assert len(server.requests) == 2


def test_credentials_that_cannot_be_renewed_are_sent_once(server):
    server.says(Answer(status=403))
    client = HttpClient(adapter="x", authentication=BearerToken("abc", adapter="x"))
    assert client.request("GET", server.url).status_code == 403
    assert sent_tokens(server) == ["Bearer abc"]


def test_an_address_that_is_signed_itself_gets_no_credentials(server):
    client = HttpClient(adapter="x", authentication=Renewable())
    client.request("GET", server.url, authenticate=False)
    assert sent_tokens(server) == [None]


def test_a_netrc_is_never_read(server, client, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login me password {SECRET}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    client.request("GET", server.url)
    assert sent_tokens(server) == [None]


def test_a_body_is_not_sent_on_to_where_a_redirect_points(server, client):
    server.says(Answer(status=307, headers={"Location": "/elsewhere"}))
    assert client.request("POST", server.url, body=b"x").status_code == 307
    assert len(server.requests) == 1


def test_nobody_listening_is_unavailable(client):
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    with pytest.raises(
        Unavailable, match=f"^127.0.0.1:{port} cannot be reached: nothing listens there"
    ) as caught:
        client.request("GET", f"http://127.0.0.1:{port}/?sig={SECRET}")
    assert type(caught.value) is NotRunning
    assert caught.value.hint == "is the server running?"
    assert SECRET not in str(caught.value)


def test_what_to_start_where_nobody_listens_is_for_the_adapter_to_say() -> None:
    client = HttpClient(adapter="mlflow", not_running_hint="start it")
    with closing(client), pytest.raises(NotRunning) as caught:
        client.request("GET", "http://localhost:9/")
    assert caught.value.hint == "start it"


def test_a_proxy_of_this_machine_that_is_gone(client, monkeypatch):
    for name in ("no_proxy", "NO_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", f"http://me:{SECRET}@127.0.0.1:9")
    with pytest.raises(
        NotRunning, match=r"a\.invalid cannot be reached: nothing .* proxy http://127"
    ) as caught:
        client.request("GET", "https://a.invalid/b")
    assert "HTTPS_PROXY" in (caught.value.hint or "")
    assert SECRET not in f"{caught.value}{caught.value.hint}"


def test_an_unknown_host_is_unavailable(client):
    with pytest.raises(Unavailable) as caught:
        client.request("GET", "http://no-such-host.invalid/")
    assert type(caught.value) is Unavailable


@pytest.mark.parametrize("fault", ["reset", "half"])
def test_a_connection_that_breaks_after_the_request_may_have_done_it(fault, server, client):
    server.says(Answer(fault=fault))
    with pytest.raises(TimedOut) as caught:
        client.request("POST", f"{server.url}/a?sig={SECRET}", body=b"x")
    assert caught.value.ambiguous
    assert SECRET not in str(caught.value)


def test_no_answer_in_time_may_have_done_it(server, client):
    server.says(Answer(fault="hang"))
    with pytest.raises(TimedOut) as caught:
        client.request("POST", server.url, body=b"x", answer_s=0.2)
    assert caught.value.ambiguous


def test_an_address_that_cannot_be_asked_is_rejected(client):
    with pytest.raises(Rejected):
        client.request("GET", "http://")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Rejected),
        (401, AuthError),
        (403, AuthError),
        (404, NotFound),
        (407, AuthError),
        (408, TimedOut),
        (409, Conflict),
        (410, NotFound),
        (412, Conflict),
        (413, Rejected),
        (422, Rejected),
        (429, RateLimited),
        (500, Unavailable),
        (501, Rejected),
        (502, Unavailable),
        (503, Unavailable),
        (504, TimedOut),
    ],
)
def test_what_a_status_means(status, kind):
    error = error_of_status(answer_of(status), f"no: Bearer {SECRET}", adapter="x", resource="run r")
    assert type(error) is kind
    assert SECRET not in str(error)
    assert str(status) in str(error)


def test_a_503_with_retry_after_is_throttling():
    error = error_of_status(answer_of(503, {"Retry-After": "7"}), "", adapter="x")
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == 7.0


DATE = "Sat, 21 Nov 2026 08:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "12"}, 12.0),
        ({"Retry-After": " 0.5 "}, 0.5),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "1e9"}, None),
        ({"Retry-After": "Sat, 21 Nov 2026 08:01:30 GMT", "Date": DATE}, 90.0),
        ({"Retry-After": "Sat, 21 Nov 2026 07:00:00 GMT", "Date": DATE}, 0.0),
        ({"Retry-After": "Sat, 21 Nov 2026 08:01:30 GMT"}, None),
    ],
)
def test_retry_after(headers, expected):
    assert retry_after_s(answer_of(429, headers)) == expected


def answer_of(status: int, headers: dict[str, str] | None = None) -> requests.Response:
    answer = requests.Response()
    answer.status_code = status
    answer.headers.update(headers or {})
    return answer


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate for 127.0.0.1 that no system trusts, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "certificate.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return file


@pytest.fixture
def secure_server(certificate: Path) -> Iterator[ScriptedServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with scripted_server(context) as server:
        yield server


@pytest.fixture
def other_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", requests.certs.where())


def test_an_unknown_authority_is_not_trusted(secure_server, client):
    with pytest.raises(AuthError) as caught:
        client.request("GET", secure_server.url)
    assert caught.value.hint
    assert secure_server.requests == []


@pytest.mark.usefixtures("other_bundle")
def test_a_named_authority_is_trusted_whatever_the_environment_says(secure_server, certificate):
    client = HttpClient(adapter="x", verify=str(certificate))
    assert client.request("GET", secure_server.url).status_code == 200


@pytest.mark.usefixtures("other_bundle")
def test_any_authority_is_trusted_on_request_whatever_the_environment_says(secure_server):
    client = HttpClient(adapter="x", verify=False)
    with pytest.warns(Warning, match="certificate"):
        assert client.request("GET", secure_server.url).status_code == 200


def test_our_own_certificate_is_shown(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    with scripted_server(context) as server:
        ours = HttpClient(adapter="x", verify=str(certificate), certificate=str(certificate))
        assert ours.request("GET", server.url).status_code == 200
        with pytest.raises(BridgeError):
            HttpClient(adapter="x", verify=str(certificate)).request("GET", server.url)


# A server behind a local socket.


@pytest.fixture
def local_socket(tmp_path) -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(tmp_path / "socket"))
        listening.listen()
        listening.settimeout(20)
        yield listening


def connected_to(listening: socket.socket) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(listening.getsockname())
    return connection


def answer_once(listening: socket.socket, taken: list[bytes]) -> None:
    connection, _ = listening.accept()
    with closing(connection):
        taken.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK")


def test_a_local_socket_is_used_whatever_proxies_there_are(local_socket, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    client = HttpClient(adapter="mlflow", local_socket=lambda: connected_to(local_socket))
    taken: list[bytes] = []
    for _ in range(2):
        server = threading.Thread(target=answer_once, args=(local_socket, taken))
        server.start()
        assert client.request("GET", "http://localhost/version", query={"a": "b"}).text == "OK"
        server.join(20)
    client.close()
    assert taken[0].startswith(b"GET /version?a=b HTTP/1.1\r\nHost: localhost\r\n")


def test_a_local_socket_where_nobody_listens_is_unavailable(local_socket):
    local_socket.close()

    def refuse() -> socket.socket:
        raise ConnectionRefusedError(111, "Connection refused")

    client = HttpClient(adapter="mlflow", local_socket=refuse)
    with pytest.raises(Unavailable, match="Connection refused") as caught:
        client.request("GET", "http://localhost/version")
    assert type(caught.value) is Unavailable, "the address is not where it was looked for"


def test_a_server_behind_a_local_socket_that_does_not_answer_in_time(local_socket):
    client = HttpClient(adapter="mlflow", answer_s=0.1, local_socket=lambda: connected_to(local_socket))
    with pytest.raises(TimedOut):
        client.request("GET", "http://localhost/version")


def test_a_signed_address_is_in_no_traceback(client):
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        address = f"http://127.0.0.1:{free.getsockname()[1]}/?sig={SECRET}"
    with pytest.raises(Unavailable) as caught:
        client.request("GET", address)
    assert SECRET not in "".join(traceback.format_exception_only(caught.value))
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_trusted_certificates_that_are_not_there(
    variable: str, server, client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable is named; the library says so as an OSError, of which nobody knows whose it is."""
    for name in CERTIFICATE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "gone.pem"))
    with pytest.raises(ConfigError, match=f"gone.pem, which {variable} names") as caught:
        client.request("GET", "https://127.0.0.1:9/a")
    assert caught.value.hint == f"correct {variable}, or unset it; those of bridge emulate go when it ends"
    assert client.request("GET", f"{server.url}/a").status_code == 200, "nothing is encrypted here"


def test_given_certificates_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "gone.pem"))
    given = HttpClient(adapter="mlflow", verify=str(tmp_path / "given.pem"))
    with closing(given), pytest.raises(ConfigError, match=r"at .*given\.pem \["):
        given.request("GET", "https://127.0.0.1:9/a")
    careless = HttpClient(adapter="mlflow", verify=False)
    with closing(careless), pytest.raises(Unavailable):
        careless.request("GET", "https://127.0.0.1:9/a")  # nobody is there, and nothing was wrong before
