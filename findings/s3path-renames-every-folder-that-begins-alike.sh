#!/usr/bin/env bash
# s3path renames and removes, with a folder, every key that begins with the folder's name.
#
# Guess:    `S3Path("/media/image/a").rename(…)` moves what lies below `image/a/`, and `rmdir` removes that, if it
#           does not refuse a folder that is not empty, as pathlib does.
# Happens:  s3path 0.6.5 lists by the name without the slash. Renamed to `moved`, the folder takes the object
#           `image/ab` with it, which is `movedb` then, and `image/abc/2`, now `movedbc/2`. `rmdir` deletes all
#           three. Where an object has the folder's own name, `rename` still moves the others, and `rmdir` refuses.
#           `unlink` takes only the object.
# Versions: s3path 0.6.5, boto3 1.40.61, moto 5.2.5.
# Matters:  a folder an owner, named by number: with owner 1 go those of 10 to 19.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 's3path==0.6.5' 'moto[server]==5.2.5' 'boto3==1.40.61'
cd "$work"

env -u AWS_ENDPOINT_URL AWS_CONFIG_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true \
  "$work/venv/bin/python" - 2>"$work/errors" <<'PYTHON' || { tail -1 "$work/errors"; exit 1; }
import importlib.metadata
import logging
import sys

import boto3
from moto.server import ThreadedMotoServer
from s3path import S3Path, register_configuration_parameter

logging.getLogger("werkzeug").disabled = True
for package in ("s3path", "boto3", "moto"):
    print(package, importlib.metadata.version(package))
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
given = {"aws_access_key_id": "finding", "aws_secret_access_key": "on-loopback-only", "region_name": "us-east-1"}
resource = boto3.resource("s3", endpoint_url=f"http://{host}:{port}", **given)
bucket = resource.create_bucket(Bucket="media")
register_configuration_parameter(S3Path("/"), resource=resource)

FOLDER = S3Path("/media/image/a")
BELOW, BESIDE = ["image/a/1"], ["image/ab", "image/abc/2"]
TRIED = {
    "rename of the folder": ([*BELOW, *BESIDE], lambda: FOLDER.rename(S3Path("/media/moved"))),
    "rmdir of the folder": ([*BELOW, *BESIDE], lambda: FOLDER.rmdir()),
    "rename where the name is an object too": (["image/a", *BELOW, *BESIDE], lambda: FOLDER.rename(S3Path("/media/moved"))),
    "rmdir where the name is an object too": (["image/a", *BELOW, *BESIDE], lambda: FOLDER.rmdir()),
    "unlink of the object": (["image/a", *BESIDE], lambda: FOLDER.unlink()),
}
seen = {}
for name, (keys, call) in TRIED.items():
    bucket.objects.delete()
    for key in keys:
        bucket.put_object(Key=key, Body=key.encode())
    try:
        call()
    except OSError as error:
        print(f"{name}: {type(error).__name__}")
    seen[name] = [each.key for each in bucket.objects.all()]
    print(f"{name}: {keys} became {seen[name]}")
server.stop()

if [*seen.values()] != [
    ["moved/1", "movedb", "movedbc/2"],
    [],
    ["moved", "moved/1", "movedb", "movedbc/2"],
    ["image/a", *BELOW, *BESIDE],
    BESIDE,
]:
    sys.exit("changed: a folder is what lies below its slash")
PYTHON
