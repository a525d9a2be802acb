"""The findings of a plan, gathered: by verdict, in bounded memory however many there are."""

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.model import Finding, Verdict

FIRST = 10
"""Findings of each verdict that are kept."""


@dataclass(slots=True)
class Group:
    """The findings of one verdict: counted, and the first few of them by key, those to go before the kept.

    `bytes` is what goes with those to go.
    """

    going: int = 0
    kept: int = 0
    bytes: int = 0
    first: list[Finding] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        self.going += finding.kept is None
        self.kept += finding.kept is not None
        self.bytes += finding.bytes if finding.kept is None else 0
        bisect.insort(self.first, finding, key=lambda one: (one.kept is not None, one.storage_key))
        del self.first[FIRST:]


class Findings:
    """Gathers the findings of one plan."""

    def __init__(self) -> None:
        self._groups: dict[Verdict, Group] = {}

    def add(self, findings: Sequence[Finding]) -> None:
        for finding in findings:
            self._groups.setdefault(finding.verdict, Group()).add(finding)

    @property
    def groups(self) -> Mapping[Verdict, Group]:
        """By verdict, in the verdicts' order."""
        return {verdict: self._groups[verdict] for verdict in Verdict if verdict in self._groups}
