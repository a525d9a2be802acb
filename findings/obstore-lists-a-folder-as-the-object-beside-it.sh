#!/usr/bin/env bash
# The empty marker of a folder is listed under the name of the object beside it, and removed in its place.
#
# Guess:    `image/a` and `image/a/` are two keys. A library that cannot name the second leaves it out, or raises,
#           as obstore does for keys that hold two slashes in a row.
# Happens:  obstore 0.12.1 lists `image/a` twice: once with 11 bytes, once with none. delete() of the empty one,
#           by the path that the list returned, removes the object of 11 bytes. The marker stays, and no path
#           reaches it: delete("image/a/") and delete("/image/a") remove `image/a` as well.
# Versions: obstore 0.12.1, moto 5.2.5 as the store, boto3 1.43.117.
# Matters:  consoles and file managers make such markers, so cleaners remove empty objects that end with a slash.
#           By this list the live object is deleted, and the next run finds one empty object as before.
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
"$work/venv/bin/pip" install --quiet 'obstore==0.12.1' 'moto[s3,server]==5.2.5' 'boto3==1.43.117'
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
import obstore
from botocore.config import Config
from obstore.store import S3Store

for package in ("obstore", "moto"):
    print(package, importlib.metadata.version(package))
# The retries wait until the server answers.
s3 = boto3.client("s3", config=Config(retries={"mode": "standard", "total_max_attempts": 12}))
s3.create_bucket(Bucket="media")
s3.put_object(Bucket="media", Key="image/a", Body=b"live object")
s3.put_object(Bucket="media", Key="image/a/", Body=b"")
store = S3Store(
    "media",
    endpoint=os.environ["AWS_ENDPOINT_URL"],
    client_options={"allow_http": True},
    virtual_hosted_style_request=False,
)
found = [(each["path"], each["size"]) for page in obstore.list(store) for each in page]
print("listed:", found)
(empty,) = (path for path, size in found if size == 0)
obstore.delete(store, empty)
left = [each["Key"] for each in s3.list_objects_v2(Bucket="media").get("Contents", [])]
print(f"delete({empty!r}) of the empty one leaves", left)
if sorted(found) != [("image/a", 0), ("image/a", 11)] or left != ["image/a/"]:
    sys.exit("changed: the marker of a folder has a name of its own, or is not listed")
PYTHON
