#!/usr/bin/env bash
# Pages by MaxItems and StartingToken leave out delete markers and folders.
#
# Guess:    MaxItems cuts a long listing into portions, and the token of one portion starts the next. All portions
#           together name what the listing names, each once.
# Happens:  botocore 1.43.117 counts versions, or objects, and not what comes beside them on a page. Where a portion
#           begins within a page, the delete markers of that page are left out, and so are its CommonPrefixes. With
#           pages of three, portions of five versions name one of three markers, and portions of five objects
#           four of six folders. There is no error, and the versions and objects are complete.
# Versions: botocore and boto3 1.43.117, moto 5.2.5 as the store.
# Matters:  a cleaner that works off a large bucket in portions, and stores the token between its runs, never sees
#           some delete markers and some folders. Pages have a thousand entries, so that small tests see nothing.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'boto3==1.43.117' 'botocore==1.43.117' 'moto[s3,server]==5.2.5'
export AWS_ACCESS_KEY_ID=finding AWS_SECRET_ACCESS_KEY=finding AWS_DEFAULT_REGION=us-east-1

"$work/venv/bin/python" - 2>"$work/errors" <<'PYTHON' || { tail -1 "$work/errors"; exit 1; }
import importlib.metadata
import sys
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

for package in ("botocore", "moto"):
    print(package, importlib.metadata.version(package))
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
s3 = boto3.client("s3", endpoint_url="http://{}:{}".format(*server.get_host_and_port()))
for bucket in ("versioned", "folders"):
    s3.create_bucket(Bucket=bucket)
s3.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
for number in range(6):
    for _ in range(2):
        s3.put_object(Bucket="versioned", Key=f"photo{number}", Body=b"")
    if number % 2:
        s3.delete_object(Bucket="versioned", Key=f"photo{number}")
    s3.put_object(Bucket="folders", Key=f"{number}-file", Body=b"")
    s3.put_object(Bucket="folders", Key=f"{number}-folder/file", Body=b"")


def counts(operation: str, kinds: tuple[str, str], most: int | None, **arguments: str) -> tuple[int, int]:
    """How many of each kind all portions name, with pages of three. None for one portion."""
    seen: dict[str, list[Any]] = {kind: [] for kind in kinds}
    token = None
    while True:
        portion = {"PageSize": 3, "MaxItems": most, "StartingToken": token}
        pages = s3.get_paginator(operation).paginate(PaginationConfig=portion, **arguments)
        for page in pages:
            for kind in kinds:
                seen[kind] += page.get(kind) or ()
        token = pages.resume_token
        if token is None:
            return len(seen[kinds[0]]), len(seen[kinds[1]])


versions, entries = {}, {}
for most in (None, 1, 2, 3, 5, 6):
    versions[most] = counts("list_object_versions", ("Versions", "DeleteMarkers"), most, Bucket="versioned")
    entries[most] = counts("list_objects_v2", ("Contents", "CommonPrefixes"), most, Bucket="folders", Delimiter="/")
    print(f"MaxItems {most!s:4} versions, markers: {versions[most]}   objects, folders: {entries[most]}")
server.stop()

whole = versions[None] == (12, 3) and entries[None] == (6, 6)
lost = [most for most, (first, second) in versions.items() if first == 12 and second < 3]
lost_folders = [most for most, (first, second) in entries.items() if first == 6 and second < 6]
if not whole or lost != [1, 2, 5] or lost_folders != [1, 2, 3, 5]:
    sys.exit("changed: portions by MaxItems name all markers and folders, or fail")
PYTHON
