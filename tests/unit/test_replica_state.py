"""What a replica says of itself: its mode as it is in force, what it does next, and why it is halted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.app.replica_state import ReplicaState
from reconciler.model import Mode, PassKind, Phase
from reconciler.settings import SettingsSource

NOW = datetime(2026, 11, 30, 3, tzinfo=UTC)
ENVIRONMENT = {
    "RECONCILER_DATABASE_URL": "postgresql://u:p@127.0.0.1/x",
    "RECONCILER_BUCKET__NAME": "media",
    "RECONCILER_BUCKET__PREFIXES": '["image/"]',
}


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(clock: Clock) -> ReplicaState:
    return ReplicaState(clock)


def source_of(environment: Mapping[str, str]) -> SettingsSource:
    return SettingsSource(environment)


def test_the_mode_is_told_with_its_source_and_since_when_it_changed(
    state: ReplicaState, clock: Clock, tmp_path: Path
) -> None:
    file = tmp_path / "runtime.yaml"
    file.write_text("dry_run: true\n", encoding="utf-8")
    source = source_of({**ENVIRONMENT, "RECONCILER_RUNTIME_FILE": str(file)})
    said = state.says(source)
    assert (said.mode, said.mode_from, said.mode_since) == (Mode.DRY_RUN, f"the runtime file {file}", None)
    file.write_text("dry_run: false\n", encoding="utf-8")
    source.refresh()
    clock.now += timedelta(seconds=7)
    said = state.says(source)
    assert (said.mode, said.mode_since) == (Mode.LIVE, clock.now)
    assert state.says(source) == said, "what has not changed is not said again"
    assert state.says(source_of(ENVIRONMENT)).mode_from == "default"


def test_only_a_leader_says_what_it_does_next(state: ReplicaState) -> None:
    source = source_of(ENVIRONMENT)
    state.elected(12)
    assert state.says(source).epoch is None
    state.leading(leader=True)
    state.resting("sweep", 60)
    state.resting("collector", 10)
    state.phase(PassKind.RETENTION, Phase.COMPARING)
    state.blocked("pid 7")
    said = state.says(source)
    assert (said.epoch, said.blocked_by) == (12, "pid 7")
    assert said.next_pass == {PassKind.SWEEP: NOW + timedelta(minutes=1)}
    assert said.phases == {PassKind.RETENTION: Phase.COMPARING}
    state.phase(PassKind.SWEEP, Phase.LISTING)
    state.phase(PassKind.RETENTION, None)
    said = state.says(source)
    assert (said.next_pass, said.phases) == ({}, {PassKind.SWEEP: Phase.LISTING})
    state.leading(leader=False)
    said = state.says(source)
    assert (said.epoch, said.phases, said.blocked_by) == (None, {}, "")


def test_a_halt_is_told_since_it_began(state: ReplicaState, clock: Clock) -> None:
    source = source_of(ENVIRONMENT)
    state.halted("another database's bucket: reconciler adopt-bucket")
    clock.now += timedelta(minutes=1)
    state.halted("another database's bucket: reconciler adopt-bucket")
    said = state.says(source)
    assert (said.halted, said.halted_since) == ("another database's bucket: reconciler adopt-bucket", NOW)
    state.halted("a right is missing")
    assert state.says(source).halted_since == clock.now
    state.halted(None)
    assert (state.says(source).halted, state.says(source).halted_since) == (None, None)
