"""What the refusals of AWS's services mean, from the words that they use."""

from __future__ import annotations

from typing import Any

import pytest

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
from trackbridge_adapters.sagemaker.config import place_access
from trackbridge_adapters.sagemaker.errors_services import QuotaReached, translated
from trackbridge_adapters.sagemaker.place import place_in

DENIED = (
    "User: arn:aws:sts::123456789012:assumed-role/reader/me is not authorized to perform: "
    "sagemaker:CreateExperiment on resource: * because no identity-based policy allows it"
)


def meaning(error: Exception, **named: Any) -> BridgeError:
    place = place_in("eu-west-1")
    return translated(
        error, "sagemaker", "CreateExperiment", named, place, place_access(place, {"profile": "team"}, {})
    )


def refused(
    code: str, message: str = "", status: int = 400, headers: dict[str, str] | None = None
) -> BridgeError:
    from botocore.exceptions import ClientError

    answer: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers or {}},
    }
    return meaning(ClientError(answer, "CreateExperiment"), ExperimentName="digits")


@pytest.mark.parametrize(
    ("code", "message", "status", "kind", "hint"),
    [
        ("AccessDeniedException", DENIED, 400, AuthError, "allow sagemaker:CreateExperiment"),
        ("AccessDenied", "Access Denied", 403, AuthError, "aws sts get-caller-identity --profile team"),
        ("403", "Forbidden", 403, AuthError, "policies"),
        ("ExpiredTokenException", "The security token is expired", 400, AuthError, "aws sso login"),
        ("ExpiredToken", "The provided token has expired.", 400, AuthError, "--profile team"),
        ("UnrecognizedClientException", "The security token is invalid", 400, AuthError, "AWS_SESSION_TOKEN"),
        ("InvalidAccessKeyId", "", 403, AuthError, "deleted"),
        ("InvalidSignatureException", "Signature expired: 1 is now earlier", 400, AuthError, "timedatectl"),
        ("InvalidSignatureException", "Signature not yet current: 1", 400, AuthError, "timedatectl"),
        ("RequestTimeTooSkewed", "The difference is too large", 403, AuthError, "timedatectl"),
        ("InvalidSignatureException", "does not match", 400, AuthError, "AWS_SECRET_ACCESS_KEY"),
        (
            "InvalidSignatureException",
            "Credential should be scoped to a valid region, not 'eu-west-1'.",
            400,
            ConfigError,
            "AWS_ENDPOINT_URL",
        ),
        ("PermanentRedirect", "use the endpoint", 301, ConfigError, "option s3_region"),
        (
            "AuthorizationHeaderMalformed",
            "the region 'eu-west-1' is wrong; expecting 'us-west-2'",
            400,
            ConfigError,
            "option s3_region",
        ),
        ("301", "Moved Permanently", 301, ConfigError, "option bucket"),
        ("ThrottlingException", "Rate exceeded", 400, RateLimited, "slowly"),
        ("SlowDown", "Please reduce your request rate.", 503, RateLimited, "slowly"),
        (
            "ResourceLimitExceeded",
            "The account-level service limit 'trials per experiment' is 300",
            400,
            QuotaReached,
            "servicequotas/home?region=eu-west-1",
        ),
        ("ResourceInUse", "Resource Already Exists", 400, Conflict, "already"),
        ("ConflictException", "", 409, Conflict, "already"),
        ("ValidationException", "Model Package Group already exists: arn", 400, Conflict, "already"),
        ("ValidationException", "Cannot create already existing model arn", 400, Conflict, "already"),
        (
            "ValidationException",
            "Experiment names must be unique within an AWS account",
            400,
            Conflict,
            "already",
        ),
        ("ResourceNotFound", "Experiment 'digits' does not exist", 400, NotFound, "eu-west-1"),
        ("ValidationException", "ModelPackageGroup digits does not exist.", 400, NotFound, "eu-west-1"),
        ("404", "Not Found", 404, NotFound, "eu-west-1"),
        ("NoSuchBucket", "The specified bucket does not exist", 404, NotFound, "eu-west-1"),
        ("ServiceUnavailable", "", 503, Unavailable, "health.aws"),
        ("InternalFailure", "", 500, Unavailable, "health.aws"),
        ("502", "Bad Gateway", 502, Unavailable, "health.aws"),
        (
            "ValidationException",
            "1 validation error detected: Value 'a_b' at 'experimentName' failed to satisfy constraint",
            400,
            Rejected,
            "correct the request",
        ),
        ("UnknownOperationException", "", 400, Rejected, "correct the request"),
    ],
)
def test_a_refusal(code: str, message: str, status: int, kind: type[BridgeError], hint: str) -> None:
    error = refused(code, message, status)
    assert type(error) is kind
    assert hint in (error.hint or "")
    assert code in str(error)
    assert f"(status {status})" in str(error)
    assert "sagemaker:CreateExperiment, ExperimentName digits" in str(error)


@pytest.mark.parametrize(("status", "kind"), [(418, Rejected), (599, Unavailable)])
def test_a_code_that_nobody_knows(status: int, kind: type[BridgeError]) -> None:
    assert type(refused("SomethingNew", "of tomorrow", status)) is kind


def test_how_long_to_wait_is_kept() -> None:
    error = refused("ThrottlingException", "Rate exceeded", headers={"retry-after": "7"})
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == 7.0


def test_secrets_in_an_answer_are_not_shown() -> None:
    error = refused("ValidationException", "Value 'password=hunter2-hunter2' at 'x' failed")
    assert "hunter2" not in str(error)


def test_a_value_that_says_not_found_is_no_absence_of_the_service() -> None:
    assert not isinstance(refused("AccessDenied", "policy not found"), NotFound)


def test_no_answer_at_all() -> None:
    from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError

    late = meaning(ReadTimeoutError(endpoint_url="https://x"))
    assert isinstance(late, TimedOut)
    assert late.ambiguous
    signed = "https://user:key@x:9/path?X-Amz-Signature=abc"
    for error in (EndpointConnectionError(endpoint_url=signed), ConnectTimeoutError(endpoint_url=signed)):
        unreached = meaning(error)
        assert type(unreached) is Unavailable
        assert " cannot be reached at https://x:9: " in unreached.message
        assert "AWS_ENDPOINT_URL" in (unreached.hint or "")


def test_an_emulator_that_does_not_run() -> None:
    from botocore.exceptions import EndpointConnectionError

    def at(address: str) -> BridgeError:
        error = EndpointConnectionError(endpoint_url=address)
        error.__context__ = ConnectionRefusedError()
        return meaning(error)

    gone = at("http://127.0.0.1:9/path")
    assert type(gone) is NotRunning
    assert gone.message == "sagemaker cannot be reached: nothing listens at http://127.0.0.1:9"
    assert "bridge emulate sagemaker" in (gone.hint or "")
    assert type(at("https://10.0.0.1:9")) is Unavailable


def test_an_error_of_python_is_a_fault_of_the_request() -> None:
    assert type(meaning(ValueError("Invalid endpoint"))) is Rejected
    assert type(meaning(RuntimeError("of a library"))) is Unavailable
