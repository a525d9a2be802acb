"""How rules of retention are written, and the rules that could never match."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, model_validator

from reconciler.model import FOREVER, Match, Quota, Rule, Terms, folded
from reconciler.settings import values
from reconciler.settings.sections import CatalogSettings, quota_of
from reconciler.settings.types import (
    RUNTIME,
    Bytes,
    Days,
    Duration,
    Evict,
    Objects,
    QuotaOwner,
    Section,
    written,
)

NAME = re.compile(r"\w[\w .-]{0,62}", re.ASCII)
LONGEST_VALUE = 500
"""Characters of one value of a match."""


def _listed(raw: object) -> object:
    """A JSON list in the environment, a list in YAML."""
    wanted = 'must be a JSON list of rules, such as [{"name": "videos", "match": {"media_type": "video"}, …}]'
    if isinstance(raw, str):
        try:
            raw = json.loads(raw)
        except (ValueError, RecursionError):
            raise ValueError(wanted) from None
    if not isinstance(raw, list | tuple):
        raise ValueError(wanted)  # noqa: TRY004 - pydantic gathers ValueErrors only
    return tuple(raw)


def _name(raw: object) -> str:
    if isinstance(raw, str) and NAME.fullmatch(raw) and raw == raw.strip():
        return raw
    raise ValueError(
        "must be a name of ASCII letters, digits, blanks, dots, dashes and underscores, 63 at most"
    )


def _several(each: Callable[[str], str]) -> Callable[[object], tuple[str, ...]]:
    """One value or a list of them; a number is the text that it is written as."""

    def parse(raw: object) -> tuple[str, ...]:
        wanted = "must be a text or a list of texts"
        listed = raw if isinstance(raw, list | tuple) else [raw]
        if not listed or not all(isinstance(one, str | int) and not isinstance(one, bool) for one in listed):
            raise ValueError(wanted)
        found = tuple(each(str(one)) for one in listed)
        if not all(0 < len(one) <= LONGEST_VALUE and "\0" not in one for one in found):
            raise ValueError(f"{wanted} of 1 to {LONGEST_VALUE} characters")
        if len({*found}) < len(found):
            raise ValueError("names a value twice")
        return found

    return parse


def _prefixes(raw: object) -> tuple[str, ...]:
    found = _several(str)(raw)
    return values.prefixes(list(found))


def _days(raw: object) -> int | str:
    if raw == "forever":
        return "forever"
    try:
        return values.whole(1, values.LONGEST.days, "days")(raw)
    except ValueError as error:
        raise ValueError(f"{error}, or forever") from None


Texts: TypeAlias = Annotated[tuple[str, ...], written(_several(str))]
Words: TypeAlias = Annotated[tuple[str, ...], written(_several(folded))]


class RuleMatch(Section):
    """Which media a rule is for: each property one value or a list; all that are given must match."""

    virtual_key_id: Texts = ()
    key_group: Texts = ()
    media_type: Words = ()
    provider: Words = ()
    model: Words = ()
    prefix: Annotated[tuple[str, ...], written(_prefixes)] = ()

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("matches everything, which is what the global settings are for; name a property")
        return self

    def of_model(self) -> Match:
        return Match(**self.model_dump())


class RetentionRule(Section):
    """One rule. What it does not set is as in the global settings."""

    name: Annotated[str, written(_name)]
    match: RuleMatch
    media_retention_days: Annotated[int | Literal["forever"] | None, written(_days)] = None
    recent_access_days: Days | None = None
    revoked_key_policy: Annotated[
        Literal["keep", "delete"] | None, written(values.one_of("keep", "delete"))
    ] = None
    key_grace: Duration | None = None
    max_bytes: Bytes = None
    max_objects: Objects = None
    quota_owner: QuotaOwner = "virtual_key"
    evict: Evict = "never"

    @model_validator(mode="after")
    def _sets_something(self) -> Self:
        if self.model_fields_set <= {"name", "match"}:
            raise ValueError("sets nothing; give it one of " + ", ".join(TERMS))
        if self.model_fields_set & {"quota_owner", "evict"} and self.max_bytes is self.max_objects is None:
            raise ValueError(
                "has no quota that evict or quota_owner could be about; set max_bytes or max_objects"
            )
        return self

    def of_model(self, others: Terms) -> Rule:
        """The rule with all its terms; `others` has those that it does not set."""
        grace, revoked = self.key_grace, self.revoked_key_policy
        return Rule(
            name=self.name,
            match=self.match.of_model(),
            media_retention=_days_or(self.media_retention_days, others.media_retention),
            recent_access=_days_or(self.recent_access_days, others.recent_access),
            key_grace=others.key_grace if grace is None else grace,
            delete_revoked=others.delete_revoked if revoked is None else revoked == "delete",
            quota=self._own_quota(others),
        )

    def _own_quota(self, others: Terms) -> Quota | None:
        """A limit of its own, also `none`; else the global quota, but not for what is kept for ever."""
        if self.model_fields_set & {"max_bytes", "max_objects"}:
            return quota_of(self.name, self.max_bytes, self.max_objects, self.quota_owner, self.evict)
        return None if self.media_retention_days == "forever" else others.quota


TERMS = tuple(name for name in RetentionRule.model_fields if name not in {"name", "match"})


def _days_or(days: int | str | None, otherwise: timedelta) -> timedelta:
    if isinstance(days, int):
        return timedelta(days=days)
    return otherwise if days is None else FOREVER


def _each_may_match(rules: tuple[RetentionRule, ...]) -> tuple[RetentionRule, ...]:
    """Raises ValueError for a name used twice, and for a rule of whose rows an earlier one takes all."""
    for place, rule in enumerate(rules):
        for earlier in rules[:place]:
            if earlier.name == rule.name:
                raise ValueError(f"two rules are called {rule.name}; give each a name of its own")
            if earlier.match.of_model().covers(rule.match.of_model()):
                raise ValueError(
                    f"rule {rule.name} can never match: rule {earlier.name} before it takes all that it"
                    " would; put it before that one, or remove it"
                )
    return rules


class RetentionSettings(Section):
    """For whose media other retention holds than the global settings."""

    rules: Annotated[
        tuple[RetentionRule, ...], written(_listed), AfterValidator(_each_may_match), RUNTIME
    ] = ()
    """Rules in their order, a list: the first that matches a record sets its retention, recent access,
    revoked key policy, key grace and quota. The global settings hold for all others, and for what a rule does
    not set. See [rules of retention](#rules-of-retention). Default: no rules."""
    source: Annotated[Literal["own", "conduit"], written(values.one_of("own", "conduit"))] = "own"
    """Whose rules hold. `own`: RULES and the global settings. `conduit`: the retention policies in Conduit's
    own tables, by key group and balance, as they are at the moment of each pass and claim. What is in doubt
    there is kept. See [Conduit's policies](#conduits-policies)."""


def misfits(retention: RetentionSettings, prefixes: Sequence[str], catalog: CatalogSettings) -> Iterator[str]:
    """Rules that no record can match with this mapping and these prefixes, one line each."""
    rules = retention.rules
    if retention.source == "conduit":
        if rules:
            yield "RULES never hold under RETENTION__SOURCE conduit; remove them, or take own"
        if not (catalog.keys_table and catalog.key_columns.group_id):
            yield (
                "SOURCE conduit needs the virtual keys' table and its column of groups (CATALOG__KEYS_TABLE,"
                " CATALOG__KEY_COLUMNS__GROUP_ID); name them, or take own"
            )
    for rule in rules:
        for why in _never(rule, prefixes, catalog):
            yield f"rule {rule.name} can never match: {why}"
        if not catalog.keys_table and (rule.revoked_key_policy or rule.key_grace is not None):
            yield f"rule {rule.name} is about virtual keys, and CATALOG__KEYS_TABLE says that there are none"


def _never(rule: RetentionRule, prefixes: Sequence[str], catalog: CatalogSettings) -> Iterator[str]:
    given: dict[str, Any] = rule.match.model_dump(exclude_unset=True)
    for name in given:
        if name == "key_group" and not (catalog.keys_table and catalog.key_columns.group_id):
            yield "no column of a keys' table says a key's group (CATALOG__KEY_COLUMNS__GROUP_ID is empty)"
        elif name not in {"key_group", "prefix"} and not getattr(catalog.media_columns, name):
            yield f"CATALOG__MEDIA_COLUMNS__{name.upper()} is empty"
    inside = [each for each in given.get("prefix", prefixes) if _touches(each, prefixes)]
    if not inside:
        yield f"{', '.join(given['prefix'])} lies outside the managed prefixes ({', '.join(prefixes)})"


def _touches(prefix: str, managed: Sequence[str]) -> bool:
    return any(prefix.startswith(each) or each.startswith(prefix) for each in managed)
