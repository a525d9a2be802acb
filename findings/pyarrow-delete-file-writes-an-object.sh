#!/usr/bin/env bash
# To delete the file of a folder writes an object: the folder's own, empty, ends with a slash.
#
# Guess:    delete_file() sends one DeleteObject. A bucket has no folders, so nothing is left behind.
# Happens:  pyarrow 25.0.0 puts an empty object `image/01/` after it has deleted `image/01/a`, also where other
#           files are left in that folder, and move() does the same for the folder that it moves from. With a
#           folder for each day, every day leaves one object that nobody uploaded.
# Versions: pyarrow 25.0.0, moto 5.2.5 as the store, boto3 1.43.117.
# Matters:  a program that only deletes needs the right to write. Where objects without a record are collected,
#           each run of one cleaner makes orphans for the other, and a bucket that was emptied is not empty.
set -euo pipefail

work=$(mktemp -d)
server=
finish() {
  if [ -n "$server" ]; then
    kill "$server" && wait "$server" || true
  fi 2>/dev/null
  rm -rf "$work"
}
trap finish EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'pyarrow==25.0.0' 'moto[s3,server]==5.2.5' 'boto3==1.43.117'
python=$work/venv/bin/python
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export AWS_ACCESS_KEY_ID=finding AWS_SECRET_ACCESS_KEY=on-loopback-only AWS_DEFAULT_REGION=us-east-1
export AWS_ENDPOINT_URL="http://127.0.0.1:$port"
"$work/venv/bin/moto_server" -H 127.0.0.1 -p "$port" >"$work/server.log" 2>&1 &
server=$!

"$python" - <<'PYTHON'
import importlib.metadata
import os
import sys

import boto3
from botocore.config import Config
from pyarrow import fs

for package in ("pyarrow", "moto"):
    print(package, importlib.metadata.version(package))
# The retries wait until the server answers.
s3 = boto3.client("s3", config=Config(retries={"mode": "standard", "total_max_attempts": 12}))
s3.create_bucket(Bucket="media")
files = fs.S3FileSystem(
    endpoint_override=os.environ["AWS_ENDPOINT_URL"].removeprefix("http://"),
    scheme="http",
    access_key=os.environ["AWS_ACCESS_KEY_ID"],
    secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
    region="us-east-1",
)
for key in ("image/01/a", "image/01/b", "image/02/c", "image/03/d"):
    s3.put_object(Bucket="media", Key=key, Body=b"media")


def keys() -> list[str]:
    return [each["Key"] for each in s3.list_objects_v2(Bucket="media").get("Contents", [])]


files.delete_file("media/image/01/a")
one = keys()
print("after delete_file of image/01/a:", one)
files.delete_file("media/image/02/c")
two = keys()
print("after delete_file of image/02/c:", two)
files.move("media/image/03/d", "media/kept/d")
three = keys()
print("after move of image/03/d:       ", three)
if (one, two, three) != (
    ["image/01/", "image/01/b", "image/02/c", "image/03/d"],
    ["image/01/", "image/01/b", "image/02/", "image/03/d"],
    ["image/01/", "image/01/b", "image/02/", "image/03/", "kept/d"],
):
    sys.exit("changed: delete_file() leaves nothing behind")
PYTHON
