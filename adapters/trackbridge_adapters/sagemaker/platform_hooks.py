"""What ``bootstrap`` asks of SageMaker, on the machine of a job: only the standard library, Python 3.8.

``platform.json`` beside it says where things are: ``config`` and ``failure`` as paths from here, ``outputs``
as ``s3://`` addresses by name, ``rescue`` as the folder that SageMaker uploads in any case, ``region``,
``suffix`` (of AWS's hosts) and ``main_port``. What AWS is asked is signed with the keys of the job's role.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import shutil
import threading
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple
from urllib.parse import quote, urlsplit
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HERE = os.path.dirname(os.path.abspath(__file__))
CONTAINER_HOST = "http://169.254.170.2"
"""Where AWS gives a container the keys of its role."""
FAILURE_CHARS_MAX = 900
BYTES = {"Content-Type": "application/octet-stream"}
"""Without it, urllib says that a body is a form."""
PART_BYTES = 64 * 1024 * 1024
TIMEOUT_S = 60
TRIES, PAUSE_S = 4, 1.0
OVERLOADED = frozenset({429, 500, 502, 503, 504})


class Refused(Exception):
    """AWS does not do what it is asked; the text says why, and holds no secret."""


class Keys(NamedTuple):
    """The keys of a role; never shown."""

    access_key: str
    secret_key: str
    token: str

    def __repr__(self) -> str:
        return "<Keys>"


class Answer(NamedTuple):
    """What AWS answered; ``tag`` is S3's of an object or a part."""

    content: bytes
    tag: str


def machines() -> dict[str, Any]:
    """Return which of the job's machines this is."""
    told = _read_json(os.path.join(_path(_platform()["config"]), "resourceconfig.json"))
    hosts = told["hosts"]
    return {
        "rank": hosts.index(told["current_host"]),
        "count": len(hosts),
        "main_address": hosts[0],
        "main_port": _platform()["main_port"],
    }


def secret(reference: str) -> str:
    """Return the value of ``secretsmanager:NAME[#KEY]`` or ``ssm:NAME``."""
    kind, _, name = reference.partition(":")
    if kind == "ssm":
        asked = {"Name": name, "WithDecryption": True}
        return str(_ask("ssm", "AmazonSSM.GetParameter", asked)["Parameter"]["Value"])
    if kind != "secretsmanager":
        raise Refused(f"{kind} is no place of secrets here; write secretsmanager:NAME or ssm:NAME")
    name, _, key = name.partition("#")
    text = _ask("secretsmanager", "secretsmanager.GetSecretValue", {"SecretId": name}).get("SecretString")
    if text is None:
        raise Refused(f"{name} holds bytes, not text")
    if not key:
        return str(text)
    try:
        return str(json.loads(text)[key])
    except (ValueError, KeyError, TypeError):
        raise Refused(f"{name} is no JSON object with a key {key!r}") from None


def finish(plan: dict[str, Any], result: dict[str, Any]) -> None:
    """Tell SageMaker why the job failed, and bring its outputs where they belong."""
    failure = _path(_platform()["failure"])
    if result["reason"] and not os.path.exists(failure):  # the program may have told it better
        os.makedirs(os.path.dirname(failure), exist_ok=True)
        with open(failure, "w", encoding="utf-8") as file:
            file.write(result["reason"][:FAILURE_CHARS_MAX])
    for name, address in _platform()["outputs"].items():
        folder = _path(plan["paths"]["outputs"][name])
        try:
            upload(folder, address)
        except (Refused, OSError) as error:
            rescued = shutil.copytree(folder, os.path.join(_path(_platform()["rescue"]), name))
            raise Refused(
                f"the output {name} could not be brought to {address}: {error}; SageMaker takes it "
                f"from {rescued} to the job's own output"
            ) from error


def upload(folder: str, address: str) -> None:
    """Put every file of a folder below an ``s3://`` address."""
    for root, _, names in os.walk(folder):
        for name in sorted(names):
            path = os.path.join(root, name)
            below = os.path.relpath(path, folder).replace(os.sep, "/")
            _put_file(path, f"{address.rstrip('/')}/{below}")


def _put_file(path: str, address: str) -> None:
    bucket, _, key = address[len("s3://") :].partition("/")
    target = f"/{bucket}/{quote(key, safe='/~')}"
    with open(path, "rb") as file:
        if os.path.getsize(path) <= PART_BYTES:
            _send("PUT", "s3", target, {}, file.read(), BYTES)
            return
        _put_parts(file, target)


def _put_parts(file: BinaryIO, target: str) -> None:
    started = _send("POST", "s3", target, {"uploads": ""}, b"", BYTES).content.decode()
    upload_id = started.partition("<UploadId>")[2].partition("</UploadId>")[0]
    tags = []
    for number, part in enumerate(iter(lambda: file.read(PART_BYTES), b""), 1):
        asked = {"partNumber": str(number), "uploadId": upload_id}
        tags.append(_send("PUT", "s3", target, asked, part, BYTES).tag)
    listed = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(tag)}</ETag></Part>"
        for number, tag in enumerate(tags, 1)
    )
    whole = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>"
    _send("POST", "s3", target, {"uploadId": upload_id}, whole.encode(), BYTES)


def _ask(service: str, target: str, asked: dict[str, Any]) -> dict[str, Any]:
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target}
    answer: dict[str, Any] = json.loads(
        _send("POST", service, "/", {}, json.dumps(asked).encode(), headers).content.decode()
    )
    return answer


def _send(
    method: str,
    service: str,
    path: str,
    query: Mapping[str, str],
    body: bytes,
    headers: Mapping[str, str],
) -> Answer:
    """Send a request, again where AWS is overloaded."""
    asked = "&".join(f"{quote(name, safe='~')}={quote(query[name], safe='~')}" for name in sorted(query))
    url = _endpoint(service) + path + (f"?{asked}" if asked else "")
    for tried in range(1, TRIES + 1):
        signed = signed_headers(method, url, service, _platform()["region"], body, headers, _keys())
        request = urllib.request.Request(url, data=body, headers=signed, method=method)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                return Answer(answer.read(), answer.headers.get("ETag", ""))
        except urllib.error.HTTPError as error:
            told = error.read(2000).decode("utf-8", "replace")
            if error.code not in OVERLOADED or tried == TRIES:
                raise Refused(f"{service} answers {error.code}: {told}") from None
        except (OSError, urllib.error.URLError) as error:
            if tried == TRIES:
                raise Refused(f"{service} cannot be reached: {error}") from None
        threading.Event().wait(PAUSE_S * tried)
    raise AssertionError("not reached")


def signed_headers(
    method: str,
    url: str,
    service: str,
    region: str,
    body: bytes,
    headers: Mapping[str, str],
    keys: Keys,
) -> dict[str, str]:
    """Return the headers of a request with AWS's signature, version 4; path and query are encoded already."""
    parts = urlsplit(url)
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    digest = hashlib.sha256(body).hexdigest()
    named = {"host": parts.netloc, "x-amz-date": now, "x-amz-content-sha256": digest}
    named.update({name.lower(): value for name, value in headers.items()})
    if keys.token:
        named["x-amz-security-token"] = keys.token
    listed = ";".join(sorted(named))
    lines = "".join(f"{name}:{named[name]}\n" for name in sorted(named))
    canonical = f"{method}\n{parts.path}\n{parts.query}\n{lines}\n{listed}\n{digest}"
    scope = f"{now[:8]}/{region}/{service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{keys.secret_key}".encode()
    for part in (now[:8], region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    named["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys.access_key}/{scope}, SignedHeaders={listed}, "
        f"Signature={signature}"
    )
    return named


def _endpoint(service: str) -> str:
    for name in (f"AWS_ENDPOINT_URL_{_CALLED[service]}", "AWS_ENDPOINT_URL"):
        if os.environ.get(name):
            return os.environ[name].rstrip("/")
    told = _platform()
    return f"https://{service}.{told['region']}.{told['suffix']}"


_CALLED = {"s3": "S3", "ssm": "SSM", "secretsmanager": "SECRETS_MANAGER"}
"""How AWS's variables for addresses call the services."""


def _keys() -> Keys:
    """Return the keys of the job's role, as AWS gives them to its own client."""
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return Keys(
            os.environ["AWS_ACCESS_KEY_ID"],
            os.environ.get("AWS_SECRET_ACCESS_KEY", ""),
            os.environ.get("AWS_SESSION_TOKEN", ""),
        )
    url = os.environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI", "")
    if os.environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        url = CONTAINER_HOST + os.environ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"]
    if not url:
        raise Refused("this machine has no keys of AWS: was network isolation asked for?")
    request = urllib.request.Request(url, headers=dict(_authorization()))
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        told = json.loads(answer.read().decode())
    return Keys(told["AccessKeyId"], told["SecretAccessKey"], told.get("Token", ""))


def _authorization() -> Iterator[tuple[str, str]]:
    path = os.environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
    if path:
        with open(path, encoding="utf-8") as file:
            yield "Authorization", file.read().strip()
    elif os.environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN"):
        yield "Authorization", os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"]


def _platform() -> dict[str, Any]:
    return _read_json(os.path.join(HERE, "platform.json"))


def _path(path: str) -> str:
    return os.path.normpath(os.path.join(HERE, path))


def _read_json(path: str) -> dict[str, Any]:
    with open(path, encoding="utf-8") as file:
        told: dict[str, Any] = json.load(file)
    return told
