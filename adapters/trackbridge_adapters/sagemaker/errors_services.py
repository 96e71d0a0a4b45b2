"""From the refusals of AWS's services, as botocore raises them, to our errors: one table."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from trackbridge.domain.secrets import shown
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
from trackbridge.transport.loopback import refused_here
from trackbridge_adapters._mlflow_rest.errors import MESSAGE_CHARS_MAX
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.config import Access
from trackbridge_adapters.sagemaker.errors import (
    EXPIRED_KEY,
    NO_SIGNATURE,
    NO_SUCH_KEY,
    THROTTLED,
    WRONG_CLOCK,
    WRONG_SIGNATURE,
    Rule,
    of_profile,
)
from trackbridge_adapters.sagemaker.place import Place

NOT_RUNNING_HINT = "is the emulator running? bridge emulate sagemaker; AWS_ENDPOINT_URL leads to this machine"


class QuotaReached(Rejected):
    """A quota of the account is used up: what is there stays, nothing more is taken."""


RULES: tuple[Rule[Place], ...] = (
    WRONG_CLOCK,
    Rule(
        re.compile(r"not authorized to perform:? (?P<action>[\w-]+:\w+)"),
        AuthError,
        lambda found, place, access: (
            f"allow {found['action']} in the policies of {access.role_arn or 'your user or role'}"
        ),
    ),
    EXPIRED_KEY,
    NO_SUCH_KEY,
    Rule(
        re.compile(
            r"^(?:PermanentRedirect|TemporaryRedirect|301|307|AuthorizationHeaderMalformed|IllegalLocationConstraint)"
            r"|scoped to a valid region"
        ),
        ConfigError,
        lambda found, place, access: (
            f"it is not in {access.s3_region}: say where the bucket is (option s3_region), name one in "
            f"{place.region} (option bucket), or correct the region of AWS_ENDPOINT_URL"
        ),
    ),
    WRONG_SIGNATURE,
    NO_SIGNATURE,
    THROTTLED,
    Rule(
        re.compile(r"^(?:ResourceLimitExceeded|LimitExceeded|ServiceQuotaExceeded|TooManyBuckets)"),
        QuotaReached,
        lambda found, place, access: (
            "delete what is not needed, or ask for a higher quota: "
            f"https://console.aws.amazon.com/servicequotas/home?region={place.region}"
        ),
    ),
    Rule(
        re.compile(
            r"^(?:ResourceInUse|Conflict|PreconditionFailed|ConditionalRequestConflict|BucketAlready"
            r"|OperationAborted|ValidationException.*(?:already exist|must be unique))"
        ),
        Conflict,
        lambda found, place, access: "look at what is there already",
    ),
    Rule(
        re.compile(
            r"^(?:(?:Resource|Record|Repository|Parameter|Object)NotFound|NoSuch|NotFound|404|ValidationException.*"
            r"(?:not find|does not exist|doesn't exist|not found|not exist)|ValidationError: .* not found)"
        ),
        NotFound,
        lambda found, place, access: f"check the name, and the region: {place.region}",
    ),
    Rule(
        re.compile(r"^(?:AccessDenied|Forbidden|NotAuthorized|Unauthorized|403|AuthFailure|OptInRequired)"),
        AuthError,
        lambda found, place, access: (
            f"allow it in the policies of {access.role_arn or 'your user or role'}; "
            f"who you are: aws sts get-caller-identity{of_profile(access)}"
        ),
    ),
    Rule(
        re.compile(r"^ModelNotReady"),
        Unavailable,
        lambda found, place, access: "its machines are being started: ask again in a moment",
    ),
    Rule(
        re.compile(r"^(?:ServiceUnavailable|Internal|ServiceFault|5\d\d)"),
        Unavailable,
        lambda found, place, access: "it is tried again; https://health.aws.amazon.com tells of outages",
    ),
    Rule(
        re.compile(r"^(?:Validation|InvalidParameter|Serialization|MalformedInput|Invalid|UnknownOperation)"),
        Rejected,
        lambda found, place, access: "correct the request: the same one will never be taken",
    ),
)


def translated(
    error: Exception, service: str, operation: str, named: Mapping[str, Any], place: Place, access: Access
) -> BridgeError:
    """Return what an error of botocore means.

    Args:
        error: Of any kind.
        service: As botocore names it.
        operation: As AWS names it.
        named: The parameters, whose first name says what it was about.
        place: For hints.
        access: For hints.
    """
    from botocore.exceptions import (
        ClientError,
        ConnectTimeoutError,
        HTTPClientError,
        NoRegionError,
        ParamValidationError,
        ReadTimeoutError,
        SSLError,
    )
    from botocore.exceptions import (
        ConnectionError as Unreachable,
    )

    where: dict[str, Any] = {
        "adapter": ADAPTER,
        "operation": f"{service}:{operation}",
        "resource": _resource(named),
    }
    if isinstance(error, ClientError):
        return _refused(error, place, access, where)
    text = shown(str(error), chars_max=MESSAGE_CHARS_MAX)
    if isinstance(error, ReadTimeoutError):
        return TimedOut(f"no answer of {service} in time", ambiguous=True, **where)
    if isinstance(error, SSLError):
        hint = "name the file of your company's certificates: option ca_file, or AWS_CA_BUNDLE"
        return AuthError(f"the certificate of {service} is not trusted: {text}", hint=hint, **where)
    if isinstance(error, (ConnectTimeoutError, Unreachable, HTTPClientError)):
        return _unreached(error, service, where)
    if isinstance(error, (ParamValidationError, TypeError, ValueError)):
        return Rejected(text, hint="correct the value that is named", **where)
    if isinstance(error, NoRegionError):
        return ConfigError(text, hint="write sagemaker://REGION", **where)
    return Unavailable(f"{service} failed: {type(error).__name__}: {text}", **where)


def _unreached(error: Any, service: str, where: dict[str, Any]) -> Unavailable:
    here = refused_here(error, str(error.kwargs.get("endpoint_url") or ""))
    if here is not None:
        why = f"{service} cannot be reached: nothing listens at {shown(here)}"
        return NotRunning(why, hint=NOT_RUNNING_HINT, **where)
    why = f"{service} cannot be reached{_address(error)}: {type(error).__name__}"
    return Unavailable(why, hint="check the network, and AWS_ENDPOINT_URL where it is set", **where)


def _address(error: Any) -> str:
    """Return where an error of a connection happened, without path and query, which may be signed."""
    url = urlsplit(str(error.kwargs.get("endpoint_url") or ""))
    return f" at {url.scheme}://{shown(url.netloc.rpartition('@')[2])}" if url.netloc else ""


def _refused(error: Any, place: Place, access: Access, where: dict[str, Any]) -> BridgeError:
    told = error.response.get("Error", {})
    metadata = error.response.get("ResponseMetadata", {})
    status = metadata.get("HTTPStatusCode", 0)
    code = shown(str(told.get("Code", "")))
    if code == "ModelError":
        status, text = error.response.get("OriginalStatusCode"), error.response.get("OriginalMessage")
        return model_meaning(status, str(text or told.get("Message", "")), where["operation"])
    text = shown(str(told.get("Message", "")), chars_max=MESSAGE_CHARS_MAX)
    said = f"{code}: {text}" if text else code
    message = f"{said} (status {status})"
    for rule in RULES:
        found = rule.pattern.search(said)
        if found is None:
            continue
        hint = rule.hint(found, place, access)
        if rule.kind is RateLimited:
            wait_s = _retry_after_s(metadata.get("HTTPHeaders", {}))
            return RateLimited(message, retry_after_s=wait_s, hint=hint, **where)
        return rule.kind(message, hint=hint, **where)
    if isinstance(status, int) and 400 <= status < 500:
        return Rejected(message, **where)
    return Unavailable(message, **where)


def model_meaning(status: int | None, text: str, operation: str) -> BridgeError:
    """Return what it means that a model's container did not answer with a prediction.

    Args:
        status: The container's; 0 where it gave none, None where that is not told.
        text: Its answer, in mlflow's form (JSON with a ``message``) or any other.
        operation: What was tried.
    """
    said = shown(_model_message(text), chars_max=MESSAGE_CHARS_MAX)
    message = f"{said} (status {status})" if status else said
    where: dict[str, Any] = {"adapter": ADAPTER, "operation": operation}
    if status == 429:
        hint = "send fewer requests at once, or give the deployment more instances"
        return RateLimited(message, hint=hint, **where)
    if status == 503:
        return Unavailable(message, hint="'bridge endpoints logs' says how it is", **where)
    if status in (0, 408, 502, 504):
        return TimedOut(message, ambiguous=True, hint="it may have been scored all the same", **where)
    return Rejected(message, hint="look at the payload, and at the logs of the deployment", **where)


def _model_message(text: str) -> str:
    try:
        told = json.loads(text)
    except ValueError:
        return text
    return str(told.get("message") or text) if isinstance(told, dict) else text


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    text = str(headers.get("retry-after", ""))
    return float(text) if text.isdecimal() else None


def _resource(named: Mapping[str, Any]) -> str | None:
    """Return what a call is about: the first name, ARN or bucket among its parameters."""
    for name, value in named.items():
        if isinstance(value, str) and name.endswith(("Name", "Arn", "Bucket", "Id")):
            return f"{name} {shown(value)}"
    return None
