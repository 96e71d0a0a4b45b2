"""Who may do what: signatures, roles, and rights that somebody lacks."""

from __future__ import annotations

import hmac
from calendar import timegm
from fnmatch import fnmatchcase
from time import strptime

from trackbridge.testing.emulators.aws_keys import (
    SKEW_S_MAX,
    Key,
    KeyRing,
    RefusedError,
    canonical_request,
    signature,
)
from trackbridge.testing.emulators.aws_services import TokenService
from trackbridge.testing.emulators.sagemaker.core import Cloud
from trackbridge.testing.emulators.sagemaker.refusal import Refused
from trackbridge.testing.emulators.sagemaker.requests import Request

ADDRESS_SECONDS_MAX = 604_800
"""How long a signed address may last: seven days."""


class Access:
    """The keys, roles and rights of one cloud.

    Args:
        cloud: It.
        check_signatures: Whether a request must be signed with a key that was given out.
    """

    def __init__(self, cloud: Cloud, *, check_signatures: bool) -> None:
        self.cloud = cloud
        self.check_signatures = check_signatures
        self.keys = KeyRing(cloud.signing_now_s, cloud.account)
        self.roles = TokenService(self.keys, cloud.region)
        """Who may be taken on: ``roles.allow(arn)``."""
        self._denied: list[tuple[str, str]] = []

    def deny(self, action: str, *, principal: str = "*") -> None:
        """Take a right away, such as ``sagemaker:Create*`` or ``s3:PutObject``, from principals by ARN."""
        self._denied.append((action, principal))

    def allow_all(self) -> None:
        """Give all rights back."""
        self._denied.clear()

    def caller_of(self, request: Request) -> str | None:
        """Return the ARN of who signed a request; None when signatures are not looked at.

        Raises:
            Refused: The signature is not right.
        """
        if not self.check_signatures:
            return None
        try:
            if "X-Amz-Signature" in request.query:
                return self._signer_of_address(request).principal
            region = self.cloud.region if request.service == "sagemaker" else request.scope[1]
            return self.keys.signer(
                request.method,
                request.target,
                request.headers,
                request.body,
                region=region,
                service=request.service,
            ).principal
        except RefusedError as refused:
            raise Refused(refused.code, refused.message, refused.status) from None

    def check(self, request: Request, operation: str) -> None:
        """Refuse what the caller has no right to."""
        action, caller = f"{request.service}:{operation}", self.cloud.caller
        for denied, principal in self._denied:
            if fnmatchcase(action, denied) and fnmatchcase(caller, principal):
                told = "because no identity-based policy allows the action"
                message = f"User: {caller} is not authorized to perform: {action} on resource: * {told}"
                raise Refused("AccessDeniedException", message, 403 if request.service == "s3" else 400)

    def denies(self, action: str) -> bool:
        """Tell whether a right was taken away from who calls now."""
        caller = self.cloud.caller
        return any(fnmatchcase(action, denied) and fnmatchcase(caller, who) for denied, who in self._denied)

    def _signer_of_address(self, request: Request) -> Key:
        asked = request.query
        access_key, region, service = request.scope
        key = self.keys.find(access_key)
        if key is None or asked.get("X-Amz-Security-Token") != key.token:
            message = "The AWS Access Key Id you provided does not exist in our records."
            raise RefusedError(403, "UnrecognizedClientException", message)
        date = asked.get("X-Amz-Date", "")
        self._check_life(date, asked.get("X-Amz-Expires", ""))
        path, _, query = request.target.partition("?")
        kept = "&".join(pair for pair in query.split("&") if not pair.startswith("X-Amz-Signature="))
        signed = asked.get("X-Amz-SignedHeaders", "host").split(";")
        text = canonical_request(
            request.method, f"{path}?{kept}", request.headers, signed, "UNSIGNED-PAYLOAD", is_storage=True
        )
        expected = signature(key.secret_key, date, region, service, text)
        if not hmac.compare_digest(expected, asked["X-Amz-Signature"]):
            message = "The request signature we calculated does not match the signature you provided."
            raise RefusedError(403, "InvalidSignatureException", message)
        return key

    def _check_life(self, date: str, seconds: str) -> None:
        """Refuse an address that is not valid yet, or no longer."""
        try:
            made_s, life_s = timegm(strptime(date, "%Y%m%dT%H%M%SZ")), int(seconds)
        except ValueError:
            message = "X-Amz-Date and X-Amz-Expires must be a time and a number of seconds"
            raise RefusedError(400, "AuthorizationQueryParametersError", message) from None
        age_s = self.cloud.signing_now_s() - made_s
        if not -SKEW_S_MAX <= age_s < min(life_s, ADDRESS_SECONDS_MAX):
            raise RefusedError(403, "AccessDenied", "Request has expired")
