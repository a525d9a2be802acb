"""What this replica knows of itself, for whoever asks it."""

import os
import socket

from reconciler.telemetry.observers import NullObserver


class OwnState(NullObserver):
    """Listens as `ports.Observer`. `halted` is what a person has to do, None where nothing."""

    def __init__(self) -> None:
        self.name = f"{socket.gethostname()}/{os.getpid()}"
        self.leads = False
        self.halt: str | None = None

    def leading(self, *, leader: bool) -> None:
        self.leads = leader

    def halted(self, reason: str | None) -> None:
        self.halt = reason
