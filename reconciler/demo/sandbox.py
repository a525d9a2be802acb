"""What the reconciler finds around it when the demo runs it: settings, credentials, a place for its log."""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from reconciler.demo.scene import LIMITED, MANAGED, RECENT_ACCESS_DAYS, RETENTION_DAYS, Scene
from reconciler.demo.seed import BUCKET, DATABASE
from reconciler.embedded.postgres import EmbeddedPostgres
from reconciler.embedded.seaweedfs import EmbeddedS3
from reconciler.telemetry import logs

GRACE_SECONDS = 15
"""Longer than a pass takes to begin after the uploads in flight, short enough to be waited for."""

MAX_FRACTION = "0.1"
"""The default: a third of everything is drift here, so the breaker trips."""

LEAST_RATE = 100
LIVE_SECONDS = 8
"""About how long the deletions take: enough to watch them, at a rate above `LEAST_RATE` if need be."""

IN_THE_WAY = (
    "AWS_PROFILE",
    "AWS_SESSION_TOKEN",
    "HTTP_PROXY",
    "http_proxy",
    "RECONCILER_CONFIG_FILE",
    "RECONCILER_RUNTIME_FILE",
)
"""Variables of the user's that would win over the demo's, or lead its requests elsewhere."""


def settings_for(postgres: EmbeddedPostgres, s3: EmbeddedS3, scene: Scene) -> dict[str, str]:
    """The reconciler's settings, as environment variables."""
    going = len(scene.going())
    return {
        "RECONCILER_DATABASE_URL": postgres.url(DATABASE),
        "RECONCILER_BUCKET__NAME": BUCKET,
        "RECONCILER_BUCKET__ENDPOINT_URL": s3.endpoint_url,
        "RECONCILER_BUCKET__REGION": s3.region,
        "RECONCILER_BUCKET__PREFIXES": json.dumps(MANAGED),
        "RECONCILER_DRY_RUN": "true",
        "RECONCILER_GRACE_PERIOD": f"{GRACE_SECONDS}s",
        "RECONCILER_DELETE_DELAY": "0s",
        "RECONCILER_MEDIA_RETENTION_DAYS": str(RETENTION_DAYS),
        "RECONCILER_RECENT_ACCESS_DAYS": str(RECENT_ACCESS_DAYS),
        "RECONCILER_REVOKED_KEY_POLICY": "delete",
        "RECONCILER_KEY_GRACE": "0s",
        "RECONCILER_RETENTION__RULES": json.dumps(
            [
                {
                    "name": "gallery",
                    "match": {"prefix": LIMITED},
                    "max_objects": scene.quota,
                    "evict": "oldest",
                }
            ]
        ),
        "RECONCILER_BREAKER__MAX_FRACTION": MAX_FRACTION,
        "RECONCILER_BREAKER__MAX_COUNT": str(max(100_000, going)),
        "RECONCILER_BREAKER__MAX_DANGLING": str(max(100, going)),
        "RECONCILER_MAX_DELETES_PER_SECOND": str(max(LEAST_RATE, going // LIVE_SECONDS)),
    }


@contextmanager
def only_credentials(credentials: Mapping[str, str]) -> Iterator[None]:
    """The reconciler takes its credentials from where every AWS client does, so nothing else may be there.

    A profile, a session token or a proxy of the user's would get in the way.
    """
    before = dict(os.environ)
    for name in before:
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ.update(credentials)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def logs_to(path: Path) -> Iterator[Path]:
    """The program's log goes to a file, out of the way of what the demo says."""
    with path.open("w", encoding="utf-8") as file:
        logs.configure("console", "info", file)
        try:
            yield path
        finally:
            logs.configure()


def program() -> str:
    """How to call this program: as was done, where it is in a directory that the shell does not search."""
    called = sys.argv[0]
    return called if Path(called).name == "reconciler" and not shutil.which("reconciler") else "reconciler"
