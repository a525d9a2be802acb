#!/usr/bin/env bash
# UPath.move of a folder into a folder below it deletes all of it, and of an object into its own folder as well.
#
# Guess:    moving `image` to `image/old` is refused, as pathlib, `mv` and rclone do, or leaves the objects below
#           `image/old`, as s3cmd and s3path do. Moving an object to where it lies changes nothing.
# Happens:  universal_pathlib 0.3.10 copies, and then deletes the source with all that lies below it, which is
#           where the copies are. It returns the new path and raises nothing, and the bucket is empty. An object
#           that is moved to its own name, or by `move_into` to the folder that it lies in, is deleted too. There
#           is a check, which compares paths with their options; but for S3 the copy is made from a path whose
#           listings are not cached, so the two differ. Where the caller has switched that cache off itself, or
#           names the target by a string, the move is refused. `rename` loses nothing.
# Versions: universal_pathlib 0.3.10, s3fs 2026.9.0, moto 5.2.5.
# Matters:  `move` is the newer of the two in pathlib, so a clean-up that puts what is old into `archive/` below
#           the same prefix is written with it. A second run meets what is there already.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'universal-pathlib==0.3.10' 's3fs==2026.9.0' 'moto[server]==5.2.5'
cd "$work"

env -u AWS_ENDPOINT_URL AWS_CONFIG_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true \
  "$work/venv/bin/python" - 2>"$work/errors" <<'PYTHON' || { tail -1 "$work/errors"; exit 1; }
import importlib.metadata
import logging
import sys

import boto3
from moto.server import ThreadedMotoServer
from upath import UPath

logging.getLogger("werkzeug").disabled = True
for package in ("universal-pathlib", "s3fs", "moto"):
    print(package, importlib.metadata.version(package))
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
endpoint = f"http://{host}:{port}"
given = {"aws_access_key_id": "finding", "aws_secret_access_key": "on-loopback-only", "region_name": "us-east-1"}
bucket = boto3.resource("s3", endpoint_url=endpoint, **given).create_bucket(Bucket="media")


def path(key: str, **options: bool) -> UPath:
    given = {"key": "finding", "secret": "on-loopback-only", "endpoint_url": endpoint}
    return UPath(f"s3://media/{key}", **given, **options)


def uncached(key: str) -> UPath:
    return path(key, use_listings_cache=False)


TRIED = {
    "move of a folder into one below it": lambda: path("image").move(path("image/old")),
    "move of an object onto itself": lambda: path("image/cat.png").move(path("image/cat.png")),
    "move_into the folder it lies in": lambda: path("image/cat.png").move_into(path("image")),
    "the first, target as a string": lambda: path("image").move("s3://media/image/old"),
    "the first, without a cache": lambda: uncached("image").move(uncached("image/old")),
    "rename of a folder into one below it": lambda: path("image").rename(path("image/old")),
    "rename of an object onto itself": lambda: path("image/cat.png").rename(path("image/cat.png")),
}
left = {}
for name, call in TRIED.items():
    bucket.objects.delete()
    bucket.put_object(Key="image/cat.png", Body=b"cat")
    path("image").fs.invalidate_cache()
    try:
        answer = f"returned {call()}"
    except OSError as error:
        answer = f"raised {type(error).__name__}"
    left[name] = [each.key for each in bucket.objects.all()]
    print(f"{name:38} {answer}, left {left[name]}")
server.stop()

lost = [name for name, keys in left.items() if not keys]
if lost != list(TRIED)[:3]:
    sys.exit("changed: a move into itself is refused, or keeps the objects")
PYTHON
