"""What rights requests to an S3 store need, and what an access policy grants: both as AWS documents them.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations.html names for each operation the
permissions that it requires.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree as ET

_ROOT = "arn:aws:s3:::"


@dataclass(frozen=True, slots=True)
class Right:
    """One action on one resource. `prefix` is what a listing asks for, None for anything else."""

    action: str
    resource: str
    prefix: str | None = None


class Policy:
    """An access policy whose BUCKET is the bucket's name."""

    def __init__(self, path: Path, bucket: str) -> None:
        read = json.loads(path.read_text().replace("BUCKET", bucket))
        self._statements: list[dict[str, Any]] = read["Statement"]

    @property
    def actions(self) -> frozenset[str]:
        return frozenset(action for each in self._statements for action in _listed(each["Action"]))

    def allows(self, right: Right) -> bool:
        return any(_grants(statement, right) for statement in self._statements)


def _grants(statement: Mapping[str, Any], right: Right) -> bool:
    assert statement["Effect"] == "Allow"
    assert set(statement) <= {"Sid", "Effect", "Action", "Resource", "Condition"}
    condition = statement.get("Condition", {})
    assert not condition or list(condition) == ["StringLike"]
    prefixes = condition.get("StringLike", {}).get("s3:prefix")
    return (
        right.action in _listed(statement["Action"])
        and any(fnmatchcase(right.resource, each) for each in _listed(statement["Resource"]))
        and (prefixes is None or any(fnmatchcase(right.prefix or "", each) for each in prefixes))
    )


def _listed(one_or_more: str | list[str]) -> list[str]:
    return [one_or_more] if isinstance(one_or_more, str) else one_or_more


def rights_of(method: str, url: str, headers: Mapping[str, str], body: bytes) -> set[Right]:
    """What one path-style request needs."""
    parts = urlsplit(url)
    bucket, _, key = unquote(parts.path).removeprefix("/").partition("/")
    query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    if not key:
        return _of_bucket(method, _ROOT + bucket, query, body)
    return _of_object(method, f"{_ROOT}{bucket}/{key}", query, headers)


def _of_bucket(method: str, bucket: str, query: Mapping[str, str], body: bytes) -> set[Right]:
    asked = {
        ("GET", "versioning"): "s3:GetBucketVersioning",
        ("GET", "object-lock"): "s3:GetBucketObjectLockConfiguration",
        ("GET", "lifecycle"): "s3:GetLifecycleConfiguration",
        ("GET", "uploads"): "s3:ListBucketMultipartUploads",
    }
    for (verb, subresource), action in asked.items():
        if method == verb and subresource in query:
            return {Right(action, bucket)}
    if method == "GET":
        action = "s3:ListBucketVersions" if "versions" in query else "s3:ListBucket"
        return {Right(action, bucket, query.get("prefix", ""))}
    assert (method, "delete" in query) == ("POST", True), f"{method} {bucket} {dict(query)}"
    return {
        Right(
            f"s3:DeleteObject{'Version' if entry.find('{*}VersionId') is not None else ''}", f"{bucket}/{key}"
        )
        for entry in ET.fromstring(body).iterfind("{*}Object")
        if (key := entry.findtext("{*}Key"))
    }


def _of_object(
    method: str, resource: str, query: Mapping[str, str], headers: Mapping[str, str]
) -> set[Right]:
    version = "Version" if "versionId" in query else ""
    if "tagging" in query:
        assert method == "GET"
        return {Right(f"s3:GetObject{version}Tagging", resource)}
    if method in {"GET", "HEAD"}:
        # Who may not list the bucket is answered 403 for what is missing, and not 404.
        bucket = resource[: resource.index("/")]
        return {Right(f"s3:GetObject{version}", resource), Right("s3:ListBucket", bucket)}
    if method == "DELETE":
        aborted = "uploadId" in query
        return {Right("s3:AbortMultipartUpload" if aborted else f"s3:DeleteObject{version}", resource)}
    rights = {Right("s3:PutObject", resource)}
    source = headers.get("x-amz-copy-source")
    if source:
        path, _, of_version = unquote(source).removeprefix("/").partition("?versionId=")
        reading = "s3:GetObjectVersion" if of_version else "s3:GetObject"
        rights.add(Right(reading, _ROOT + path))
        if method == "PUT" and "partNumber" not in query and not of_version:
            rights.add(Right("s3:GetObjectTagging", _ROOT + path))
    if source or "x-amz-tagging" in headers:
        rights |= {Right("s3:PutObjectTagging", resource)} if "partNumber" not in query else set()
    return rights
