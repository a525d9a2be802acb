#!/usr/bin/env bash
# A webhook that is signed at an aware time of Tokyo is refused by the same library.
#
# Guess:    sign() takes the moment that a datetime means. An aware one means the same in every zone, and a naive
#           one is taken for UTC, or for local time, or refused.
# Happens:  standardwebhooks 1.1.0 throws the zone away: it signs the digits of the clock as if they were UTC.
#           With the header `webhook-timestamp` of the same datetime, verify() says "No matching signature found".
#           A header with the signed number is refused as nine hours too new, or five too old in New York.
# Versions: standardwebhooks 1.1.0.
# Matters:  it works in UTC, where servers and CI run. A payload that is signed with an aware time from the
#           database, in the zone of the session or of the tenant, is refused by every receiver. The message
#           speaks of the signature, so the secret is what gets rotated that night.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'standardwebhooks==1.1.0'

"$work/venv/bin/python" - <<'PYTHON'
import base64
import importlib.metadata
import sys
from datetime import UTC, datetime, timedelta, timezone

from standardwebhooks import Webhook, WebhookVerificationError

print("standardwebhooks", importlib.metadata.version("standardwebhooks"))
webhook = Webhook(base64.b64encode(b"only for this finding, 32 bytes.").decode())
NOW = datetime.now(UTC)
BODY = '{"type": "media.deleted"}'


def verdict(at: datetime, shift: timedelta) -> str:
    """What verify() says of a body that was signed at this moment, with the timestamp moved by this much."""
    stamp = str(int((at + shift).timestamp()))
    signature = webhook.sign("msg_1", at, BODY)
    try:
        webhook.verify(BODY, {"webhook-id": "msg_1", "webhook-timestamp": stamp, "webhook-signature": signature})
    except WebhookVerificationError as error:
        return str(error)
    return "accepted"


verdicts = {}
for city, hours in (("London", 0), ("Tokyo", 9), ("New York", -5)):
    at = NOW.astimezone(timezone(timedelta(hours=hours)))
    verdicts[city] = (verdict(at, timedelta(0)), verdict(at, timedelta(hours=hours)))
    print(f"signed at {at:%H:%M %z} in {city}: {verdicts[city][0]}. Its digits as UTC: {verdicts[city][1]}")

if verdicts != {
    "London": ("accepted", "accepted"),
    "Tokyo": ("No matching signature found", "Message timestamp too new"),
    "New York": ("No matching signature found", "Message timestamp too old"),
}:
    sys.exit("changed: sign() takes the moment, or verify() says something else")
PYTHON
