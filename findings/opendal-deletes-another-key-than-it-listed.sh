#!/usr/bin/env bash
# A key with two slashes is listed as it is, and to read or delete it reads or deletes the key with one.
#
# Guess:    a path that list() returns is one that delete() takes: it removes that object, or it raises.
# Happens:  opendal 0.47.12 lists `image//a` and `image/a` as two objects. delete("image//a") removes `image/a`;
#           read("image//a") returns the bytes of `image/a`, and stat() its size. remove_all("image//") removes
#           all that lies under `image/`. Nothing raises.
# Versions: opendal 0.47.12, moto 5.2.5 as the store, boto3 1.43.117.
# Matters:  a gateway that joins a prefix that ends with a slash to a name leaves keys with two. A cleaner lists such
#           an orphan, looks at it, and deletes the live object beside it. The orphan is there at the next run,
#           which deletes nothing and reports success.
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
"$work/venv/bin/pip" install --quiet 'opendal==0.47.12' 'moto[s3,server]==5.2.5' 'boto3==1.43.117'
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
import opendal
from botocore.config import Config

for package in ("opendal", "moto"):
    print(package, importlib.metadata.version(package))
# The retries wait until the server answers.
s3 = boto3.client("s3", config=Config(retries={"mode": "standard", "total_max_attempts": 12}))
s3.create_bucket(Bucket="media")
files = opendal.Operator(
    "s3",
    bucket="media",
    endpoint=os.environ["AWS_ENDPOINT_URL"],
    region="us-east-1",
    access_key_id=os.environ["AWS_ACCESS_KEY_ID"],
    secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
)


def keys() -> list[str]:
    return [each["Key"] for each in s3.list_objects_v2(Bucket="media").get("Contents", [])]


def put() -> None:
    s3.put_object(Bucket="media", Key="image//a", Body=b"orphan")
    s3.put_object(Bucket="media", Key="image/a", Body=b"live object")


put()
(orphan,) = (entry.path for entry in files.list("", recursive=True) if "//" in entry.path)
read, size = bytes(files.read(orphan)), files.stat(orphan).content_length
print(f"list() names {orphan!r}; read() of it returns {read!r}, stat() {size} bytes")
files.delete(orphan)
after_delete = keys()
print("delete() of it leaves    ", after_delete)
put()
files.remove_all("image//")
after_remove_all = keys()
print("remove_all('image//') leaves", after_remove_all)
if (read, after_delete, after_remove_all) != (b"live object", ["image//a"], []):
    sys.exit("changed: what list() names is what delete() removes")
PYTHON
