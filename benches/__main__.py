"""`./run bench [--rows N] [NAME ...]`: every figure of the product beside a baseline measured in the same run."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator

from benches import place
from benches.measure import Line

# In this order: what only reads comes first.
TRIALS = ("partitions",)  # only when named
NAMES = (
    "cards",
    "pages",
    "http",
    "live",
    "admins",
    "export",
    "writes",
    "counting",
    "campaign",
    "campaign_run",
    "callbacks",
    "refresh",
)


def main() -> int:
    options = _parser().parse_args()
    unknown = set(options.names) - {*NAMES, *TRIALS}
    if unknown:
        sys.exit(f"bench: there is no bench {', '.join(sorted(unknown))}; there are: {', '.join((*NAMES, *TRIALS))}")
    wanted = [name for name in (*NAMES, *TRIALS) if name in (options.names or NAMES)]
    lines: list[Line] = []
    with place.opened(options.rows, tell=lambda text: print(text, flush=True)) as here:
        print(f"{'# name':<58} {'value':>11} {'unit':<7} {'ratio':>9}  {'goal':<9} ok|short")
        for line in _measured(here, wanted):
            print(line, flush=True)
            lines.append(line)
    short = [line.name for line in lines if not line.is_ok]
    print(f"{len(lines)} figures, {len(short)} short{': ' if short else ''}{', '.join(short)}")
    return 1 if short else 0


def _measured(here: place.Place, names: list[str]) -> Iterator[Line]:
    for name in names:
        yield from importlib.import_module(f"benches.{name}").measure(here)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="messages in the log (default: 1000000)")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"which benches: {', '.join(NAMES)} (default: all); {', '.join(TRIALS)}",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
