"""`./run faults`: the fault bench on real processes. Exit status 1 when anything was lost, doubled, wrong or forged."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.faults import bench
from tests.start.processes import data_folder


def main() -> int:
    options = _parser().parse_args()
    with kept_folder() if options.keep else data_folder() as folder:
        report = bench.run(
            folder,
            seed=options.seed,
            messages=options.messages,
            rate=options.rate,
            mean_pause_s=options.pause,
            patient=options.patient,
            tell=lambda text: print(text, flush=True),
        )
    print("\n".join(report.lines()))
    return 0 if report.reckoning.is_clean else 1


@contextlib.contextmanager
def kept_folder() -> Iterator[Path]:
    """A folder that stays, for looking at what happened."""
    folder = Path(tempfile.mkdtemp(prefix="faults-", dir="/tmp"))
    folder.chmod(0o711)
    yield folder
    print(f"kept: {folder}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./run faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="what is asked for and what goes wrong (default: 1)")
    parser.add_argument("--messages", type=int, default=10_000, help="how many are asked for (default: 10000)")
    parser.add_argument("--rate", type=float, default=40, help="messages asked for in a second (default: 40)")
    parser.add_argument("--pause", type=float, default=1.5, help="mean seconds between faults (default: 1.5)")
    parser.add_argument("--patient", action="store_true", help="heal by the worker's own clock: takes minutes")
    parser.add_argument("--keep", action="store_true", help="keep the folder with database, ledger and logs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
