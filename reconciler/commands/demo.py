"""`demo`: the whole of it on embedded servers."""

from __future__ import annotations

import argparse

from reconciler.commands import shared


def demo(args: argparse.Namespace) -> int:
    from reconciler import demo as shown

    return shared.wait_for(lambda: shown.demo(shown.DemoOptions(objects=args.objects, keep=args.keep)))
