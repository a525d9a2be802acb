#!/usr/bin/env bash
# `rm` of the key `cat[1].png` removes `cat1.png`, and leaves `cat[1].png`.
#
# Guess:    rm removes the key that it is given, above all where it is given a list of keys from find(). A
#           pattern is a pattern where it is asked for, in glob().
# Happens:  s3fs 2026.9.0 takes each key with `*`, `?` or `[` for a pattern, even where an object of that very
#           name is there. `cat[1].png` matches `cat1.png` and not itself. exists(), info(), cat_file() and
#           rm_file() mean the key itself. mv() moves the other one too, into a folder named `cat[1].png/`.
#           Where nothing matches, rm says FileNotFoundError for an object that exists.
# Versions: s3fs 2026.9.0 with fsspec 2026.9.0, moto 5.2.5 as the store, boto3 1.43.117.
# Matters:  browsers and mail programs name the second download `cat[1].png`, and people upload it. A cleaner that
#           asks exists() and info() about an orphan and then hands it to rm() deletes a live object, for good.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 's3fs==2026.9.0' 'fsspec==2026.9.0' 'moto[s3,server]==5.2.5' 'boto3==1.43.117'
export AWS_ACCESS_KEY_ID=finding AWS_SECRET_ACCESS_KEY=finding AWS_DEFAULT_REGION=us-east-1

"$work/venv/bin/python" - 2>"$work/errors" <<'PYTHON' || { tail -1 "$work/errors"; exit 1; }
import importlib.metadata
import sys

import boto3
import s3fs
from moto.server import ThreadedMotoServer

for package in ("s3fs", "fsspec", "moto"):
    print(package, importlib.metadata.version(package))
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
address = "http://{}:{}".format(*server.get_host_and_port())
s3 = boto3.client("s3", endpoint_url=address)
files = s3fs.S3FileSystem(endpoint_url=address, use_listings_cache=False)
s3.create_bucket(Bucket="media")
ORPHAN = "media/cat[1].png"


def left(what: str, call) -> list[str]:
    """The keys that are there after a call, which finds a live `cat1.png` beside the orphan."""
    for one in s3.list_objects_v2(Bucket="media").get("Contents", []):
        s3.delete_object(Bucket="media", Key=one["Key"])
    for key in ("cat1.png", "cat[1].png"):
        s3.put_object(Bucket="media", Key=key, Body=key.encode())
    call()
    keys = [one["Key"] for one in s3.list_objects_v2(Bucket="media")["Contents"]]
    print(f"{what:28} leaves {keys}")
    return keys


asked = []
outcomes = [
    left("exists(), cat_file()", lambda: asked.extend((files.exists(ORPHAN), files.cat_file(ORPHAN)))),
    left("rm_file(key)", lambda: files.rm_file(ORPHAN)),
    left("rm(key)", lambda: files.rm(ORPHAN)),
    left("rm([key])", lambda: files.rm([ORPHAN])),
    left("mv(key, trash/key)", lambda: files.mv(ORPHAN, "media/trash/cat[1].png")),
]
server.stop()

expected = [
    ["cat1.png", "cat[1].png"],
    ["cat1.png"],
    ["cat[1].png"],
    ["cat[1].png"],
    ["cat[1].png", "trash/cat[1].png/cat1.png"],
]
if asked != [True, b"cat[1].png"] or outcomes != expected:
    sys.exit("changed: rm or mv takes the key as it is named")
PYTHON
