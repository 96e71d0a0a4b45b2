"""What a double of managed MLflow needs of AWS's other services: roles, and the server's description."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from trackbridge.testing.emulators.aws_keys import Key, KeyRing, RefusedError
from trackbridge.testing.emulators.front import Result, json_result

ROLE_SECONDS = (900, 43_200)
SESSION_SECONDS = (900, 129_600)
_XML = 'xmlns="https://sts.amazonaws.com/doc/2011-06-15/"'
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_CODES = {
    "ExpiredTokenException": "ExpiredToken",
    "UnrecognizedClientException": "InvalidClientTokenId",
    "InvalidSignatureException": "SignatureDoesNotMatch",
    "IncompleteSignatureException": "IncompleteSignature",
    "MissingAuthenticationTokenException": "MissingAuthenticationToken",
}
"""STS's names of what other services call otherwise."""


@dataclass(frozen=True, slots=True)
class Role:
    """A role that may be taken on: what it asks for, and how long its keys last whatever is asked for."""

    arn: str
    external_id: str | None
    seconds: float | None


class TokenService:
    """STS: roles taken on by a key or by a web identity's token, session tokens, and who one is."""

    OPERATIONS = ("AssumeRole", "AssumeRoleWithWebIdentity", "GetCallerIdentity", "GetSessionToken")

    def __init__(self, keys: KeyRing, region: str) -> None:
        self._keys = keys
        self._region = region
        self._roles: dict[str, Role] = {}
        self.is_down = False
        self.assumed = 0
        """How often a role was taken on."""

    def allow(self, arn: str, *, external_id: str | None = None, seconds: float | None = None) -> Role:
        """Let everybody take on a role; ``seconds`` shortens the life of its keys."""
        self._roles[arn] = Role(arn, external_id, seconds)
        return self._roles[arn]

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> Result:
        """Answer one request."""
        if self.is_down:
            return _xml_error(503, "ServiceUnavailable", "the service is not there")
        try:
            asked = dict(parse_qsl(body.decode(), keep_blank_values=True))
            if asked.get("Action") == "AssumeRoleWithWebIdentity":
                return self._assume_by_token(asked)
            key = self._keys.signer(method, target, headers, body, region=self._region, service="sts")
            if asked.get("Action") == "GetSessionToken":
                return self._session(key, asked)
            if asked.get("Action") == "GetCallerIdentity":
                return _identity(key)
            if asked.get("Action") == "AssumeRole":
                return self._assume(key, asked)
            raise RefusedError(400, "InvalidAction", f"Could not find operation {asked.get('Action')}")
        except RefusedError as refused:
            return _xml_error(refused.status, _CODES.get(refused.code, refused.code), refused.message)

    def _assume_by_token(self, asked: dict[str, str]) -> Result:
        """Take on a role for whoever holds a token, whatever is in it. Such a request is not signed."""
        if not asked.get("WebIdentityToken"):
            raise RefusedError(400, "InvalidIdentityToken", "No token was given")
        return self._assume(None, asked)

    def _session(self, key: Key, asked: dict[str, str]) -> Result:
        life = int(asked.get("DurationSeconds") or ROLE_SECONDS[1])
        if not SESSION_SECONDS[0] <= life <= SESSION_SECONDS[1]:
            raise RefusedError(400, "ValidationError", "1 validation error detected")
        made = self._keys.issue(seconds=life, principal=key.principal)
        return _xml("GetSessionToken", f"<Credentials>{_fields(made)}</Credentials>")

    def _assume(self, key: Key | None, asked: dict[str, str]) -> Result:
        arn, session = asked.get("RoleArn", ""), asked.get("RoleSessionName", "")
        seconds = int(asked.get("DurationSeconds") or 3600)
        if not _SESSION_NAME.fullmatch(session) or not ROLE_SECONDS[0] <= seconds <= ROLE_SECONDS[1]:
            raise RefusedError(400, "ValidationError", "1 validation error detected")
        role = self._roles.get(arn)
        if role is None or role.external_id not in (None, asked.get("ExternalId")):
            told = "Not" if key is None else f"User: {key.principal} is not"
            message = f"{told} authorized to perform: sts:{asked['Action']} on resource: {arn}"
            raise RefusedError(403, "AccessDenied", message)
        self.assumed += 1
        account, name = arn.split(":")[4], arn.rpartition("/")[2]
        principal = f"arn:aws:sts::{account}:assumed-role/{name}/{session}"
        life = seconds if role.seconds is None else role.seconds
        made = self._keys.issue(seconds=life, principal=principal)
        user = f"<AssumedRoleId>AROA:{session}</AssumedRoleId><Arn>{principal}</Arn>"
        parts = f"<Credentials>{_fields(made)}</Credentials><AssumedRoleUser>{user}</AssumedRoleUser>"
        return _xml(asked["Action"], parts)


class ServerDescription:
    """SageMaker's control plane, as far as it describes the one server or app that there is."""

    def __init__(self, arn: str) -> None:
        self.arn = arn
        self.region = arn.split(":")[3]
        self.is_app = ":mlflow-app/" in arn
        self.status = "Created"
        self.version = "3.0"
        self.is_permitted = True

    def answer(self, keys: KeyRing, method: str, target: str, headers: Any, body: bytes) -> Result:
        """Answer one request of the JSON protocol."""
        try:
            key = keys.signer(method, target, headers, body, region=self.region, service="sagemaker")
            return self._described(key, headers["X-Amz-Target"].partition(".")[2], json.loads(body))
        except RefusedError as refused:
            return json_result(400, {"__type": refused.code, "message": refused.message})

    def _described(self, key: Key, operation: str, asked: dict[str, Any]) -> Result:
        if not self.is_permitted:
            told = f"User: {key.principal} is not authorized to perform: sagemaker:{operation} on resource: *"
            raise RefusedError(400, "AccessDeniedException", told)
        name = self.arn.rpartition("/")[2]
        if operation == "DescribeMlflowTrackingServer" and not self.is_app:
            if asked.get("TrackingServerName") == name:
                named = {"TrackingServerArn": self.arn, "TrackingServerName": name}
                return json_result(
                    200, {**named, "TrackingServerStatus": self.status, "MlflowVersion": self.version}
                )
        elif operation == "DescribeMlflowApp" and self.is_app and asked.get("Arn") == self.arn:
            return json_result(
                200, {"Arn": self.arn, "Name": name, "Status": self.status, "MlflowVersion": self.version}
            )
        raise RefusedError(400, "ResourceNotFound", f"{operation}: the resource does not exist")


def _fields(key: Key) -> str:
    return "".join(f"<{name}>{escape(value)}</{name}>" for name, value in key.as_json("SessionToken").items())


def _identity(key: Key) -> Result:
    account = key.principal.split(":")[4]
    return _xml(
        "GetCallerIdentity",
        f"<Arn>{escape(key.principal)}</Arn><UserId>AIDA</UserId><Account>{account}</Account>",
    )


def _xml(operation: str, result: str) -> Result:
    text = (
        f"<{operation}Response {_XML}><{operation}Result>{result}</{operation}Result>"
        f"<ResponseMetadata><RequestId>0</RequestId></ResponseMetadata></{operation}Response>"
    )
    return Result(200, text.encode(), {"Content-Type": "text/xml"})


def _xml_error(status: int, code: str, message: str) -> Result:
    error = (
        f"<Error><Type>Sender</Type><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
    )
    text = f"<ErrorResponse {_XML}>{error}<RequestId>0</RequestId></ErrorResponse>"
    return Result(status, text.encode(), {"Content-Type": "text/xml"})
