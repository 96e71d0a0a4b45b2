"""Keys of AWS that a double gave out, and the check of signatures made with them (Signature Version 4).

The rules are written from AWS's manual and not taken from its client, so that the two check each other:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from calendar import timegm
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from time import strptime
from typing import Any
from urllib.parse import quote, unquote, urlsplit

ACCOUNT = "123456789012"
SKEW_S_MAX = 300
"""How far a signature's date may be from AWS's clock."""
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/,\s]+)/(?P<date>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)"
    r"/aws4_request, ?SignedHeaders=(?P<signed>[^,\s]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)
_HEX_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """Credentials that the double gave out. A repr shows no secret."""

    access_key: str
    secret_key: str
    token: str | None
    expires_s: float | None
    principal: str

    def environment(self) -> dict[str, str]:
        """Return the variables by which AWS's tools take this key."""
        named = {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}
        return named | ({"AWS_SESSION_TOKEN": self.token} if self.token else {})

    def as_json(self, token_name: str) -> dict[str, str]:
        """Return the key as AWS's services hand keys out."""
        return {
            "AccessKeyId": self.access_key,
            "SecretAccessKey": self.secret_key,
            token_name: self.token or "",
            "Expiration": f"{_utc(self.expires_s or 0.0):%Y-%m-%dT%H:%M:%SZ}",
        }

    def __repr__(self) -> str:
        return f"<Key {self.access_key}>"


class RefusedError(Exception):
    """AWS refuses a request: a status, AWS's name of the error, and its words."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class KeyRing:
    """The keys of one account. ``now_s`` is AWS's clock, in seconds since 1970."""

    def __init__(self, now_s: Callable[[], float], account: str = ACCOUNT) -> None:
        self._now_s = now_s
        self.account = account
        self._keys: dict[str, Key] = {}

    def issue(self, *, seconds: float | None = None, principal: str = "user/someone") -> Key:
        """Give out a key: for good, or with a session token for some seconds."""
        service, kind = ("iam", "AKIA") if seconds is None else ("sts", "ASIA")
        key = Key(
            access_key=kind + secrets.token_hex(8).upper(),
            secret_key=secrets.token_urlsafe(30),
            token=None if seconds is None else secrets.token_urlsafe(60),
            expires_s=None if seconds is None else self._now_s() + seconds,
            principal=principal if ":" in principal else f"arn:aws:{service}::{self.account}:{principal}",
        )
        self._keys[key.access_key] = key
        return key

    def revoke(self, key: Key) -> None:
        """Know a key no longer."""
        del self._keys[key.access_key]

    def find(self, access_key: str) -> Key | None:
        """Return the key with an id, or None."""
        return self._keys.get(access_key)

    def signer(
        self,
        method: str,
        target: str,
        headers: Any,
        body: bytes,
        *,
        region: str,
        service: str,
        needed: Iterable[str] = (),
    ) -> Key:
        """Return whose signature is on a request.

        Args:
            method: Of the request.
            target: Path and query, as they came.
            headers: Of the request; names in any case.
            body: Of the request.
            region: That the signature is to be for.
            service: Likewise.
            needed: Headers in lower case that are to be signed, beside those of AWS.

        Raises:
            RefusedError: It is not right.
        """
        found = _AUTHORIZATION.fullmatch(headers.get("Authorization") or "")
        if found is None:
            raise RefusedError(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
        key = self._keys.get(found["key"])
        if key is None or headers.get("X-Amz-Security-Token") != key.token:
            message = "The security token included in the request is invalid."
            raise RefusedError(403, "UnrecognizedClientException", message)
        if key.expires_s is not None and self._now_s() >= key.expires_s:
            message = "The security token included in the request is expired"
            raise RefusedError(403, "ExpiredTokenException", message)
        self._check_date(str(headers.get("X-Amz-Date") or ""), found["date"])
        _check_scope(found, region, service)
        signed = found["signed"].split(";")
        amazon = {name.lower() for name in headers if name.lower().startswith("x-amz-")}
        _check_names(signed, {"host", *amazon, *needed})
        digest = _digest(headers.get("X-Amz-Content-SHA256"), body, is_storage=service == "s3")
        text = canonical_request(method, target, headers, signed, digest, is_storage=service == "s3")
        expected = signature(key.secret_key, headers["X-Amz-Date"], region, service, text)
        if not hmac.compare_digest(expected, found["signature"]):
            raise RefusedError(
                403,
                "InvalidSignatureException",
                "The request signature we calculated does not match the signature you provided. Check your "
                "AWS Secret Access Key and signing method. Consult the service documentation for details.",
            )
        return key

    def _check_date(self, text: str, scope_date: str) -> None:
        try:
            signed_s = timegm(strptime(text, "%Y%m%dT%H%M%SZ"))
        except ValueError:
            message = "Date must be in ISO-8601 'basic format'."
            raise RefusedError(403, "IncompleteSignatureException", message) from None
        if text[:8] != scope_date:
            message = "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date"
            raise RefusedError(403, "InvalidSignatureException", message)
        now, bound = _utc(self._now_s()), timedelta(seconds=SKEW_S_MAX)
        if signed_s < (now - bound).timestamp():
            told = f"is now earlier than {now - bound:%Y%m%dT%H%M%SZ} ({now:%Y%m%dT%H%M%SZ} - 5 min.)"
            raise RefusedError(403, "InvalidSignatureException", f"Signature expired: {text} {told}")
        if signed_s > (now + bound).timestamp():
            told = f"is still later than {now + bound:%Y%m%dT%H%M%SZ} ({now:%Y%m%dT%H%M%SZ} + 5 min.)"
            raise RefusedError(403, "InvalidSignatureException", f"Signature not yet current: {text} {told}")


def canonical_request(
    method: str,
    target: str,
    headers: Mapping[str, Any],
    signed: Iterable[str],
    digest: str,
    *,
    is_storage: bool = False,
) -> str:
    """Return a request as it is signed, whichever way it was written; ``is_storage`` for S3's own way."""
    parts = urlsplit(target)
    # S3 alone takes a plus for a space, as forms write it.
    asked = parts.query.replace("+", "%20") if is_storage else parts.query
    pairs = (pair.partition("=")[::2] for pair in asked.split("&") if pair)
    query = "&".join(f"{name}={value}" for name, value in sorted((_strict(n), _strict(v)) for n, v in pairs))
    lines = [f"{name}:{' '.join(str(headers.get(name) or '').split())}\n" for name in signed]
    # The path is encoded once more: only S3 takes it as it stands.
    path = _storage_path(parts.path) if is_storage else quote(_normal(parts.path), safe="/-_.~")
    return "\n".join(
        [
            method.upper(),
            path,
            query,
            "".join(lines),
            ";".join(signed),
            digest,
        ]
    )


def signature(secret_key: str, date: str, region: str, service: str, request: str) -> str:
    """Return the signature of a canonical request."""
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", date, f"{date[:8]}/{region}/{service}/aws4_request", digest])
    key = f"AWS4{secret_key}".encode()
    for part in (date[:8], region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _digest(told: str | None, body: bytes, *, is_storage: bool) -> str:
    """Return the digest of a body that is signed: S3 lets a client leave the body out."""
    if is_storage and told is not None and not _HEX_DIGEST.fullmatch(told):
        return told
    digest = hashlib.sha256(body).hexdigest()
    if told not in (None, digest):
        message = "The value passed in as x-amz-content-sha256 does not match the computed SHA-256"
        raise RefusedError(403, "InvalidSignatureException", message)
    return digest


def _storage_path(path: str) -> str:
    text = unquote(path, errors="surrogateescape")
    return quote(text, safe="/-_.~", errors="surrogateescape")


def _normal(path: str) -> str:
    """Return a path without empty and relative parts."""
    kept: list[str] = []
    for part in path.split("/"):
        if part == ".." and kept:
            kept.pop()
        elif part not in ("", ".", ".."):
            kept.append(part)
    ends = "/" if kept and path.endswith("/") else ""
    return "/" + "/".join(kept) + ends


def _strict(text: str) -> str:
    return quote(unquote(text, errors="surrogateescape"), safe="-_.~", errors="surrogateescape")


def _check_scope(found: re.Match[str], region: str, service: str) -> None:
    if found["region"] != region:
        message = f"Credential should be scoped to a valid region, not '{found['region']}'. "
        raise RefusedError(403, "InvalidSignatureException", message.strip())
    if found["service"] != service:
        message = f"Credential should be scoped to correct service: '{service}'."
        raise RefusedError(403, "InvalidSignatureException", message)


def _check_names(signed: list[str], needed: set[str]) -> None:
    if signed != sorted(set(signed)):
        raise RefusedError(403, "IncompleteSignatureException", "SignedHeaders are not in order")
    missing = sorted(needed - set(signed))
    if missing:
        message = f"'{missing[0]}' must be a 'SignedHeader' in the AWS Authorization."
        raise RefusedError(403, "InvalidSignatureException", message)


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=timezone.utc)
