#!/usr/bin/env bash
# To remove all of the folder `owner/1` removes the folders `owner/10` and `owner/12` with it.
#
# Guess:    remove_all() takes a folder, with or without a slash at its end, and removes what lies in it: it is
#           said to be `rm -rf`. list() by characters, as S3 has it, is another matter.
# Happens:  opendal 0.47.12 takes `owner/1` for the beginning of a key: owner 10 and owner 12 lose all they have,
#           and so does a file `owner/1.json`. Nothing is raised or returned. With `owner/1/` it is that folder
#           alone. On a local disk (scheme fs) the same call removes the one folder.
# Versions: opendal 0.47.12, moto 5.2.5 as the store, boto3 1.43.117.
# Matters:  a key is deleted, and its folder is removed by its number. What is tried on a local disk, or with one
#           owner, is right. In the bucket it takes the media of every owner whose number begins alike.
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
import pathlib
import sys
import tempfile

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


KEYS = ["owner/1.json", "owner/1/a", "owner/10/b", "owner/12/c", "owner/2/d"]


def left(path: str) -> list[str]:
    """The keys that are there once all of a path was removed."""
    for key in KEYS:
        s3.put_object(Bucket="media", Key=key, Body=b"media")
    files.remove_all(path)
    keys = [each["Key"] for each in s3.list_objects_v2(Bucket="media").get("Contents", [])]
    print(f"remove_all({path!r:10}) leaves {keys}")
    return keys


by_slash, by_number = left("owner/1/"), left("owner/1")
with tempfile.TemporaryDirectory() as folder:
    disk = opendal.Operator("fs", root=folder)
    for key in KEYS:
        disk.write(key, b"media")
    disk.remove_all("owner/1")
    on_disk = sorted(str(each.relative_to(folder)) for each in pathlib.Path(folder).rglob("*") if each.is_file())
print("on a disk it leaves   ", on_disk)
others = [key for key in KEYS if key != "owner/1/a"]
if (by_slash, by_number, on_disk) != (others, ["owner/2/d"], others):
    sys.exit("changed: remove_all() of a folder removes that folder alone")
PYTHON
