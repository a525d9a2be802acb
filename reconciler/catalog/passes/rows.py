"""Passes as rows: their tallies and policies to JSON and back."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from reconciler import model

_DURATIONS = tuple(each.name for each in fields(model.Policy) if each.type == "timedelta")
_FLAGS = tuple(each.name for each in fields(model.Policy) if each.type == "bool")
_TERMS = ("media_retention", "recent_access", "key_grace")
_ENDLESS = timedelta(days=200 * 365)
"""How `FOREVER` is written: longer than any setting, and no error for who adds it to a date."""


def pass_from(row: asyncpg.Record) -> model.Pass:
    """One row of `passes`."""
    return model.Pass(
        id=row["id"],
        kind=model.PassKind(row["kind"]),
        cutoff=row["cutoff"],
        config_hash=row["config_hash"],
        mode=model.Mode(row["mode"]),
        order=model.ListingOrder(row["listing_order"]) if row["listing_order"] else None,
        state=_state(row),
        tally=tally_from(row["tally"]),
        finished_at=row["finished_at"],
        trip_reason=row["trip_reason"],
        both_sides=row["both_sides"],
        policy=policy_from(row["policy"]) if row["policy"] else None,
        decided_by=row["decided_by"],
        decided_at=row["decided_at"],
        superseded_by=row["superseded_by"],
        inventory=_inventory_from(row["inventory"]) if row["inventory"] else None,
    )


def inventory_text(used: model.InventoryUsed) -> str:
    """The inventory of a pass as JSON."""
    times = {name: getattr(used, name).isoformat() for name in ("began_at", "delivered_at")}
    return json.dumps({"name": used.name, "digest": used.digest, **times})


def _inventory_from(text: str) -> model.InventoryUsed:
    stored = json.loads(text)
    times = {name: datetime.fromisoformat(stored[name]) for name in ("began_at", "delivered_at")}
    return model.InventoryUsed(name=stored["name"], digest=stored["digest"], **times)


def _state(row: asyncpg.Record) -> model.PassState:
    state = model.PassState(row["state"])
    superseded = state is model.PassState.FAILED and row["superseded_by"] is not None
    return model.PassState.SUPERSEDED if superseded else state


def tally_text(tally: model.Tally) -> str:
    """A tally as JSON, including those of the prefixes."""
    return json.dumps(_tally(tally))


def _tally(tally: model.Tally) -> Mapping[str, Any]:
    stored: dict[str, Any] = {
        "objects": tally.objects,
        "records": tally.records,
        "bytes": tally.bytes,
        "alone": tally.alone,
        "missing": tally.missing,
        "compared": tally.compared,
        "found": dict(tally.found),
        "found_bytes": dict(tally.found_bytes),
        "kept": dict(tally.kept),
    }
    if tally.expired_by_store:
        stored["expired_by_store"] = tally.expired_by_store
    if tally.named:
        stored["named"] = tally.named
    if tally.newly:
        stored["newly"] = dict(tally.newly)
    if tally.by_prefix:
        stored["by_prefix"] = {prefix: _tally(part) for prefix, part in tally.by_prefix.items()}
    return stored


def tally_from(text: str) -> model.Tally:
    """The tally that `tally_text` wrote; a count that it did not write is 0."""
    return _tally_from(json.loads(text))


def _tally_from(stored: Mapping[str, Any]) -> model.Tally:
    return model.Tally(
        objects=stored.get("objects", 0),
        records=stored.get("records", 0),
        bytes=stored.get("bytes", 0),
        alone=stored.get("alone", 0),
        named=stored.get("named", 0),
        missing=stored.get("missing", 0),
        compared=stored.get("compared", 0),
        expired_by_store=stored.get("expired_by_store", 0),
        found={model.Verdict(name): number for name, number in stored.get("found", {}).items()},
        found_bytes={model.Verdict(name): number for name, number in stored.get("found_bytes", {}).items()},
        kept={model.KeepReason(name): number for name, number in stored.get("kept", {}).items()},
        newly={model.Verdict(name): number for name, number in stored.get("newly", {}).items()},
        by_prefix={prefix: _tally_from(part) for prefix, part in stored.get("by_prefix", {}).items()},
    )


def policy_text(policy: model.Policy) -> str:
    """The policy as JSON, for a later pass to compare its own with; durations in seconds.

    Rules stand apart from what an older program reads. It finds the terms that keep most: what only a rule
    has kept is new to it then, and trips, should the program be rolled back.
    """
    stored = {
        "prefixes": policy.prefixes,
        "key_shape": policy.key_shape.pattern if policy.key_shape else None,
        **{name: _seconds(getattr(policy, name)) for name in _DURATIONS},
        **{name: getattr(policy, name) for name in _FLAGS},
        "quota": _quota(policy.quota),
    }
    if policy.soft_delete_grace is not None:
        stored["soft_delete_grace"] = _seconds(policy.soft_delete_grace)
    if policy.rules:
        everyone: list[model.Terms] = [policy, *policy.rules.each]
        stored |= {
            **{name: max(_terms(each)[name] for each in everyone) for name in _TERMS},
            "delete_revoked": all(each.delete_revoked for each in everyone),
            "rules": {"each": [_rule(each) for each in policy.rules.each], "others": _terms(policy)},
        }
    return json.dumps(stored)


def _rule(rule: model.Rule) -> Mapping[str, Any]:
    return {"name": rule.name, "match": rule.match.given, **_terms(rule), "quota": _quota(rule.quota)}


def _quota(quota: model.Quota | None) -> Mapping[str, Any] | None:
    return asdict(quota) if quota else None


def _quota_from(stored: Mapping[str, Any]) -> model.Quota | None:
    """None also where an older program wrote it: what a quota evicts is new then, and trips."""
    if not (found := stored.get("quota")):
        return None
    return model.Quota(
        **{**found, "owner": model.QuotaOwner(found["owner"]), "evict": model.Evict(found["evict"])}
    )


def _terms(terms: model.Terms) -> Mapping[str, Any]:
    durations = {name: _seconds(getattr(terms, name)) for name in _TERMS}
    if terms.soft_delete_grace is not None:
        durations["soft_delete_grace"] = _seconds(terms.soft_delete_grace)
    return {**durations, "delete_revoked": terms.delete_revoked}


def _terms_from(stored: Mapping[str, Any]) -> dict[str, Any]:
    names = [name for name in (*_TERMS, "soft_delete_grace") if name in stored]
    return {**{name: _duration(stored[name]) for name in names}, "delete_revoked": stored["delete_revoked"]}


def _seconds(duration: timedelta) -> float:
    return min(duration, _ENDLESS).total_seconds()


def _duration(seconds: float) -> timedelta:
    found = timedelta(seconds=seconds)
    return model.FOREVER if found == _ENDLESS else found


def _rule_from(stored: Mapping[str, Any]) -> model.Rule:
    match = model.Match(**{name: tuple(values) for name, values in stored["match"].items()})
    return model.Rule(name=stored["name"], match=match, quota=_quota_from(stored), **_terms_from(stored))


def policy_from(text: str) -> model.Policy | None:
    """The policy that `policy_text` wrote; None where a newer program left out what this one reads."""
    stored = json.loads(text)
    if not {"prefixes", "key_shape", *_FLAGS, *_DURATIONS} <= stored.keys():
        return None
    values: dict[str, Any] = {name: stored[name] for name in _FLAGS}
    values |= {name: _duration(stored[name]) for name in _DURATIONS}
    if "soft_delete_grace" in stored:
        values["soft_delete_grace"] = _duration(stored["soft_delete_grace"])
    if "rules" in stored:
        rules = model.Rules(tuple(_rule_from(each) for each in stored["rules"]["each"]))
        values |= {**_terms_from(stored["rules"]["others"]), "rules": rules}
    shape = model.KeyShape(stored["key_shape"]) if stored["key_shape"] else None
    quota = _quota_from(stored)
    return model.Policy(prefixes=tuple(stored["prefixes"]), key_shape=shape, quota=quota, **values)
