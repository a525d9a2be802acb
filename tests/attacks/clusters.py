"""A Postgres of a test's own that can be backed up, put back and promoted, as an operator does."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.embedded.client import Supervisor
from reconciler.embedded.postgres import EmbeddedPostgres, start_postgres
from tests.faults.servers import Restartable, restartable_postgres

SETTINGS = {"wal_level": "logical", "max_wal_senders": "8", "max_replication_slots": "8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Its address and its files. Every method leaves it running."""

    server: EmbeddedPostgres
    program: Restartable
    files: Path

    def back_up(self) -> Path:
        """A copy of its files as they stand, from which it starts as after a crash."""
        self.program.stop()
        copy = self.files.with_name("backup")
        shutil.rmtree(copy, ignore_errors=True)
        subprocess.run(["cp", "-a", f"{self.files}", f"{copy}"], check=True)
        self.program.start()
        return copy

    def put_back(self, copy: Path) -> None:
        """As a snapshot of the disk is put back: nothing in it says so."""
        self.program.stop()
        shutil.rmtree(self.files)
        copy.rename(self.files)
        self.program.start()

    def recover(self) -> None:
        """A recovery from an archive, or a promotion: it goes on on a new timeline."""
        self.program.stop()
        shutil.copy(self.files / "postgresql.conf", self.files / "recovery.signal")
        shutil.copystat(self.files / "postgresql.conf", self.files / "recovery.signal")
        account = self.program.account
        if account:
            shutil.chown(self.files / "recovery.signal", account.uid, account.gid)
        replace(self.program, argv=(*self.program.argv, "-c", "restore_command=false")).start()


def start_cluster(supervisor: Supervisor, name: str, binaries: Path | None = None) -> Cluster:
    server = start_postgres(supervisor, name=name, settings=SETTINGS, binaries=binaries)
    program = restartable_postgres(supervisor, server, name)
    return Cluster(server=server, program=program, files=supervisor.directory / name / "cluster")
