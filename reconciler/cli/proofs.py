"""What `erase` does with proof: orders, certificates, their check, and what came back with a backup."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from reconciler.cli import running
from reconciler.cli.errors import DONE, FAILED, complain
from reconciler.cli.running import on_database, operator, sure
from reconciler.cli.types import Catalog
from reconciler.errors import ConfigError
from reconciler.model import Certified, ErasureCase, ErasureKind, ErasureState
from reconciler.model.moments import moment
from reconciler.planning.certificates import Checked
from reconciler.planning.formatting import counted


def run(args: argparse.Namespace, way: str) -> int:
    """`way` is the option that was given."""
    ways: Mapping[str, Callable[[argparse.Namespace], int]] = {
        "virtual_key": _prove,
        "key": _prove,
        "list": _list,
        "export": _export,
        "verify": _verify,
        "replay": _replay,
    }
    return ways[way](args)


def _prove(args: argparse.Namespace) -> int:
    if args.despite_hold:
        message = "--despite-hold is for KEY alone: what is live and on hold stays until the hold is lifted"
        raise ConfigError(message)
    patience = running.duration_of(args.wait, "--wait").total_seconds()
    what = f"all {_rows(args)} of virtual key {args.virtual_key}" if args.virtual_key else _named(args.key)
    if not sure(args, f"Erase {what} for good, live media too? None of it can be undone."):
        return FAILED
    args.patience = patience
    return _order(args)


@on_database
async def _rows(catalog: Catalog, args: argparse.Namespace) -> str:
    rows, _ = await catalog.media_list.usage(args.virtual_key)
    return counted(rows, "row")


def _named(keys: Sequence[str]) -> str:
    return counted(len({*keys}), "key")


@on_database
async def _order(catalog: Catalog, args: argparse.Namespace) -> int:
    import anyio

    from reconciler.cli.output import print_json
    from reconciler.operations import as_json, erasures

    kind = ErasureKind.VIRTUAL_KEY if args.virtual_key else ErasureKind.KEYS
    subject = [args.virtual_key] if args.virtual_key else args.key
    case = await erasures.order(catalog, kind, subject, author=operator(args), reason=args.reason)
    if not args.json:
        print(f"erasure {case.id} is written down; the leader does it (not in dry run, nor while paused)")
    with anyio.move_on_after(args.patience):
        async for case in erasures.watch(catalog, case.id):  # noqa: B020 - the same, later
            if case.said and not args.json:
                print(f"  {case.said}")
    document = await erasures.document(catalog, case.id)
    if args.json:
        print_json(as_json.erasure(case, document))
    if document is None:
        complain("it is not done yet, and goes on by itself; `reconciler erase --list` says how far it is")
        return FAILED
    return _certified(case, document["certificate"], quiet=args.json)


def _certified(case: ErasureCase, certificate: Mapping[str, object], *, quiet: bool) -> int:
    kept = certificate["kept"]
    assert isinstance(kept, list)
    if not quiet:
        rows = f"{counted(case.rows_removed, 'row')} removed"
        rest = ", and all that was stored of them" if certificate["complete"] else ", and not all of the rest"
        print(f"certificate {case.number}: {rows}{rest}; `--export` writes it to a file")
    reasons = sorted({each["why"] for each in kept})
    for why in reasons:
        stay = sum(each["why"] == why for each in kept)
        complain(f"{counted(stay, 'key')} stay: {why}")
    return DONE if certificate["complete"] else FAILED


@on_database
async def _list(catalog: Catalog, args: argparse.Namespace) -> int:
    from reconciler.cli.output import console, print_json
    from reconciler.operations import as_json, erasures

    found = await erasures.page(catalog)
    if args.json:
        print_json({"erasures": [as_json.erasure(each) for each in found]})
        return DONE
    if not found:
        print("no erasure with proof was ordered")
        return DONE
    rows = [
        (
            moment(each.ordered_at),
            str(each.id),
            "virtual key" if each.kind is ErasureKind.VIRTUAL_KEY else "keys",
            f"certificate {each.number}" if each.state is ErasureState.DONE else "open",
            each.said or "",
        )
        for each in found
    ]
    console().table(["ordered", "erasure", "of", "state", "waits for"], rows)
    return DONE


def _export(args: argparse.Namespace) -> int:
    from reconciler.cli.output import print_json
    from reconciler.operations import erasures

    written = erasures.write(_all(args), args.export)
    if args.json:
        print_json({"files": [str(file) for file in written]})
    else:
        print(f"{counted(len(written), 'certificate')} written to {args.export}")
    return DONE


@on_database
async def _all(catalog: Catalog, args: argparse.Namespace) -> Sequence[Certified]:  # noqa: ARG001 - see there
    from reconciler.operations import erasures

    return await erasures.certified(catalog)


def _verify(args: argparse.Namespace) -> int:
    from reconciler.cli.output import print_json
    from reconciler.operations import as_json, erasures

    checked = erasures.verify(args.verify, args.public_key or ())
    good = all(each.good for each in checked)
    if args.json:
        print_json({"good": good, "certificates": [as_json.certificate(each) for each in checked]})
        return DONE if good else FAILED
    for each in checked:
        if each.good:
            print(f"{each.name}: good; {_says(each)}")
        for fault in each.faults:
            complain(f"{each.name}: {fault}")
    signers = {each.key for each in checked if each.key}
    if good and signers and not args.public_key:
        print(f"signed by {', '.join(sorted(signers))}: compare this thumbprint with that of your key")
    if "" in {each.key for each in checked if each.good}:
        print("what is unsigned proves only that nobody altered a part of it")
    return DONE if good else FAILED


def _says(each: Checked) -> str:
    of = each.certificate
    whole = "all of it is gone" if of["complete"] else f"{counted(len(of['kept']), 'key')} stay"
    return f"number {each.number} of {of['finished_at']}, {'signed' if each.key else 'unsigned'}, {whole}"


def _replay(args: argparse.Namespace) -> int:
    settings = running.settings_of(args)
    if not args.dry_run and not sure(args, "Erase again what the bucket's certificates name, for good?"):
        return FAILED
    from reconciler import app
    from reconciler.cli.output import print_json
    from reconciler.operations import as_json, erasures
    from reconciler.operations.notary import Verifier

    async def act() -> int:
        async with app.open_both(settings) as (ports, catalog):
            keys = [*(args.public_key or ()), *([own] if (own := settings.erasure.signing_key_file) else ())]
            verifier = Verifier([Path(each) for each in keys])
            author = operator(args)
            done = await erasures.replay(ports, catalog, verifier, author=author, dry_run=args.dry_run)
        if args.json:
            print_json(as_json.replay(done, dry_run=args.dry_run))
            return DONE
        for each in done.newer:
            print(f"{each.name}: {_says(each)}")
        if not done.newer:
            print("the bucket has no certificate that this database does not know")
            return DONE
        found = f"{counted(done.owners, 'virtual key')} and {counted(done.keys, 'storage key')} of them"
        if args.dry_run:
            print(f"{found} are back; nothing was ordered")
        else:
            print(f"{found} are back: the leader erases them again, and certifies it (`--list`)")
        return DONE

    return running.wait_for(act)
