"""A request as it came, and what it is for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

_SCOPE = re.compile(r"Credential=(?P<key>[^/,\s]+)/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request")
_STORAGE_ACTIONS: Mapping[tuple[str, bool, str], str] = {
    ("GET", False, "location"): "GetBucketLocation",
    ("GET", False, "uploads"): "ListBucketMultipartUploads",
    ("GET", True, "uploadId"): "ListMultipartUploadParts",
    ("GET", True, "tagging"): "GetObjectTagging",
    ("POST", False, "delete"): "DeleteObject",
    ("DELETE", True, "uploadId"): "AbortMultipartUpload",
    ("GET", False, ""): "ListBucket",
    ("HEAD", False, ""): "ListBucket",
    ("PUT", False, ""): "CreateBucket",
    ("DELETE", False, ""): "DeleteBucket",
    ("GET", True, ""): "GetObject",
    ("HEAD", True, ""): "GetObject",
    ("PUT", True, ""): "PutObject",
    ("POST", True, ""): "PutObject",
    ("DELETE", True, ""): "DeleteObject",
}
"""Method, whether it is of an object, and the subresource: the right that IAM asks for."""
_STORAGE_OPERATIONS: Mapping[tuple[str, bool, str], str] = {
    ("GET", False, "location"): "GetBucketLocation",
    ("GET", False, "uploads"): "ListMultipartUploads",
    ("GET", True, "uploadId"): "ListParts",
    ("GET", True, "tagging"): "GetObjectTagging",
    ("POST", False, "delete"): "DeleteObjects",
    ("DELETE", True, "uploadId"): "AbortMultipartUpload",
    ("PUT", True, "uploadId"): "UploadPart",
    ("POST", True, "uploads"): "CreateMultipartUpload",
    ("POST", True, "uploadId"): "CompleteMultipartUpload",
    ("GET", False, ""): "ListObjectsV2",
    ("HEAD", False, ""): "HeadBucket",
    ("HEAD", True, ""): "HeadObject",
}
"""The same, where the operation is called otherwise than the right."""


@dataclass(frozen=True)
class Request:
    """A request of HTTP. ``headers`` takes names in any case."""

    method: str
    target: str
    headers: Any
    body: bytes

    @cached_property
    def path(self) -> str:
        """The path as it came, with its escapes."""
        return urlsplit(self.target).path

    @cached_property
    def query(self) -> dict[str, str]:
        """The query, unescaped."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @cached_property
    def scope(self) -> tuple[str, str, str]:
        """Access key, region and service that it says it is signed for; empty texts when it does not."""
        found = _SCOPE.search(self.headers.get("Authorization") or "")
        if found is None:
            found = _SCOPE.search("Credential=" + self.query.get("X-Amz-Credential", ""))
        return (found["key"], found["region"], found["service"]) if found else ("", "", "")

    @cached_property
    def service(self) -> str:
        """The service that it is for, as signatures name it."""
        target = self.headers.get("X-Amz-Target") or ""
        if self.scope[2]:
            return self.scope[2]
        if target.startswith("SageMaker."):
            return "sagemaker"
        return "s3" if self.method != "POST" or self.path != "/" else "sts"

    @cached_property
    def action(self) -> str:
        """The operation, as far as it can be told without the service's model; of S3, the right it needs."""
        target = self.headers.get("X-Amz-Target") or ""
        if target:
            return str(target).rpartition(".")[2]
        if self.service == "s3":
            return self._storage_action()
        if self.headers.get_content_type() == "application/x-www-form-urlencoded":
            return dict(parse_qsl(self.body.decode("utf-8", "replace"))).get("Action", "")
        return self.query.get("Action", "")

    @cached_property
    def operation(self) -> str:
        """The operation as botocore names it; as ``action`` where the service's model is needed to tell."""
        if self.service != "s3":
            return self.action
        if self.method == "PUT" and self.headers.get("x-amz-copy-source"):
            return "UploadPartCopy" if "uploadId" in self.query else "CopyObject"
        return self._storage_named(_STORAGE_OPERATIONS) or self.action

    @cached_property
    def bucket(self) -> str:
        """The bucket that a request to S3 names in its path."""
        return unquote(self.path.lstrip("/").partition("/")[0])

    def _storage_action(self) -> str:
        if not self.bucket:
            return "ListAllMyBuckets"
        return self._storage_named(_STORAGE_ACTIONS) or f"{self.method.title()}Bucket"

    def _storage_named(self, table: Mapping[tuple[str, bool, str], str]) -> str:
        is_object = bool(self.path.lstrip("/").partition("/")[2])
        for (method, of_object, part), name in table.items():
            if (method, of_object) == (self.method, is_object) and (not part or part in self.query):
                return name
        return ""
