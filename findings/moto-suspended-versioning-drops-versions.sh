#!/usr/bin/env bash
# PutObject in a bucket with suspended versioning removes every older version, on moto.
#
# Guess:    suspending keeps what there is. PutObject replaces the version `null` and no other.
#           DeleteObject leaves a delete marker `null` in front of the older versions. So it is on S3.
# Happens:  moto 5.2.5 drops all versions of the key at the next PutObject, those with ids as well. A
#           DeleteObject drops them too, leaves no marker, and does not say that it made one.
# Versions: moto 5.2.5, boto3 1.40.61.
# Matters:  moto stands in for S3 in the tests of most programs that delete objects. A test of undo or of
#           purging in a suspended bucket fails there though the program is right. A test that asks only
#           whether the old bytes are gone passes though on S3 they stay, and are billed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'moto[s3,server]==5.2.5' 'boto3==1.40.61'

"$work/venv/bin/python" - 2>"$work/errors" <<'PYTHON' || { tail -1 "$work/errors"; exit 1; }
import importlib.metadata
import sys

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "media"
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
server.start()
host, port = server.get_host_and_port()
s3 = boto3.client(
    "s3",
    endpoint_url=f"http://{host}:{port}",
    region_name="us-east-1",
    aws_access_key_id="finding",
    aws_secret_access_key="finding",
)


def seen(after: str, key: str) -> tuple[list[bytes], int]:
    """The bytes of every version of the key, newest first, and the number of its delete markers."""
    page = s3.list_object_versions(Bucket=BUCKET, Prefix=key)
    versions = [(one["Key"], one["VersionId"]) for one in page.get("Versions", [])]
    bodies = [s3.get_object(Bucket=BUCKET, Key=name, VersionId=of)["Body"].read() for name, of in versions]
    markers = len(page.get("DeleteMarkers", []))
    print(f"{key}: {after:24} versions {bodies}, delete markers {markers}")
    return bodies, markers


print("moto", importlib.metadata.version("moto"))
s3.create_bucket(Bucket=BUCKET)
s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
for key in ("put", "deleted"):
    for body in (b"first", b"second"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=body)
s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"})
kept = [seen("suspended", key) for key in ("put", "deleted")]
s3.put_object(Bucket=BUCKET, Key="put", Body=b"third")
after_put = seen("after PutObject", "put")
answer = s3.delete_object(Bucket=BUCKET, Key="deleted")
after_delete = seen("after DeleteObject", "deleted")
print("DeleteObject says DeleteMarker =", answer.get("DeleteMarker"))
server.stop()

if kept != [([b"second", b"first"], 0)] * 2 or after_put != ([b"third"], 0) or after_delete != ([], 0):
    sys.exit("changed: older versions stay in a suspended bucket, or a marker is made")
PYTHON
