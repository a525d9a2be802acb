#!/usr/bin/env bash
# `rsync` from a bucket to another file system names objects as copied that it could not read.
#
# Guess:    an object that cannot be read makes rsync raise, or is left out of what it returns. What is to be
#           deleted at the destination waits until all is copied.
# Happens:  fsspec 2026.9.0 swallows every error of a copy between two file systems, at log level DEBUG. It returns
#           the object with its destination, where nothing is, and then deletes what the source lacks. Between two
#           buckets of one store, where the store itself copies, the error is raised.
# Versions: fsspec and s3fs 2026.9.0, moto 5.2.5 as the store, boto3 1.43.117.
# Matters:  a bucket whose rule archives old objects (GLACIER) has objects that a GET refuses. The backup of it
#           lacks them all, and what it returns and its status say that they are there. Nobody knows before the day
#           on which the backup is needed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 's3fs==2026.9.0' 'fsspec==2026.9.0' 'moto[s3,server]==5.2.5' 'boto3==1.43.117'
export AWS_ACCESS_KEY_ID=finding AWS_SECRET_ACCESS_KEY=finding AWS_DEFAULT_REGION=us-east-1
mkdir "$work/backup"
touch "$work/backup/yesterday.png"
cd "$work/backup"

"$work/venv/bin/python" - 2>"$work/errors" <<'PYTHON' || { tail -1 "$work/errors"; exit 1; }
import importlib.metadata
import os
import sys

import boto3
from botocore.exceptions import ClientError
from fsspec.generic import rsync
from moto.server import ThreadedMotoServer

for package in ("fsspec", "s3fs", "moto"):
    print(package, importlib.metadata.version(package))
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
os.environ["AWS_ENDPOINT_URL"] = "http://{}:{}".format(*server.get_host_and_port())
s3 = boto3.client("s3")
for bucket in ("media", "mirror"):
    s3.create_bucket(Bucket=bucket)
s3.put_object(Bucket="media", Key="image/new.png", Body=b"new")
s3.put_object(Bucket="media", Key="image/old.png", Body=b"old", StorageClass="GLACIER")
try:
    s3.get_object(Bucket="media", Key="image/old.png")
    refused = "nothing"
except ClientError as error:
    refused = error.response["Error"]["Code"]
print("GetObject of image/old.png:", refused)

reported = rsync("s3://media/image", f"file://{os.getcwd()}", delete_missing=True)
names, there = sorted(each.rpartition("/")[2] for each in reported.values()), sorted(os.listdir())
print("to a folder: rsync returns", names, "and there is", there)
try:
    rsync("s3://media/image", "s3://mirror/image")
    within = "no error"
except Exception as error:
    within = type(error).__name__
print("to a bucket of the same store:", within)
server.stop()

if (refused, names, there) != ("InvalidObjectState", ["new.png", "old.png"], ["new.png"]) or within == "no error":
    sys.exit("changed: rsync raises, or leaves out of its result what it could not copy")
PYTHON
