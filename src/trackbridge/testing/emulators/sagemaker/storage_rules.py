"""What S3 refuses and moto lets through: the wrong region, the wrong owner, two writers at once."""

from __future__ import annotations

from typing import Any

from trackbridge.testing.emulators.sagemaker.core import Cloud
from trackbridge.testing.emulators.sagemaker.refusal import Refused
from trackbridge.testing.emulators.sagemaker.requests import Request


def check(cloud: Cloud, request: Request) -> None:
    """Refuse a request to S3.

    Raises:
        Refused: Its bucket is in another region than it is signed for, or not whose it is said to be.
    """
    found = _bucket(request.bucket)
    if found is None:
        return
    owner, bucket = found
    if request.headers.get("x-amz-expected-bucket-owner", owner) != owner:
        raise Refused("AccessDenied", "Access Denied", 403)
    if request.action == "CreateBucket":
        _check_new(cloud, owner, bucket)
        return
    if owner != cloud.caller_account and not _lets_in(bucket, cloud.caller_account):
        raise Refused("AccessDenied", "Access Denied", 403)
    signed_for = request.scope[1]
    if signed_for and signed_for != bucket.region_name and request.action != "GetBucketLocation":
        message = (
            f"The authorization header is malformed; the region '{signed_for}' is wrong; "
            f"expecting '{bucket.region_name}'"
        )
        raise Refused("AuthorizationHeaderMalformed", message, fields={"Region": bucket.region_name})


def _check_new(cloud: Cloud, owner: str, bucket: Any) -> None:
    """Refuse to make a bucket that is there: only in the oldest region its owner may do so again."""
    if owner != cloud.caller_account:
        message = "The requested bucket name is not available. The bucket namespace is shared by all users."
        raise Refused("BucketAlreadyExists", message, 409)
    if bucket.region_name != "us-east-1":
        message = "Your previous request to create the named bucket succeeded and you already own it."
        raise Refused("BucketAlreadyOwnedByYou", message, 409)


def _lets_in(bucket: Any, account: str) -> bool:
    """Tell whether a bucket's policy names an account, or everybody; what it allows is not looked at."""
    policy = (bucket.policy or b"").decode() if isinstance(bucket.policy, bytes) else bucket.policy or ""
    return account in policy or '"*"' in policy


def _bucket(name: str) -> tuple[str, Any] | None:
    """Return the account of a bucket, and what moto keeps of it."""
    from moto.s3.models import s3_backends

    owner = s3_backends.bucket_accounts.get(name)
    if owner is None:
        return None
    partition, account = owner
    bucket = s3_backends[account][partition].buckets.get(name)
    return None if bucket is None else (account, bucket)
