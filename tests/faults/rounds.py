"""How often and by which seeds: from the environment, with what CI can afford as the default.

`FAULT_SEED=7 pytest tests/faults` repeats what a failure printed; `KILL_ROUNDS=200`, `UPLOAD_ROUNDS=400` and
`NETWORK_ROUNDS=100` take longer and find more.
"""

from __future__ import annotations

import os
import secrets

KILL_ROUNDS = int(os.environ.get("KILL_ROUNDS", "30"))
UPLOAD_ROUNDS = int(os.environ.get("UPLOAD_ROUNDS", "50"))
NETWORK_ROUNDS = int(os.environ.get("NETWORK_ROUNDS", "6"))
SEED = int(os.environ.get("FAULT_SEED") or secrets.randbelow(10**6))


def say(what: str) -> None:
    """For whoever has to repeat a failure; pytest shows it with the failure alone."""
    print(f"FAULT_SEED={SEED}: {what}")
