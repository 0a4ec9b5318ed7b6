"""Attack a server, and print what each attack does to it and to an honest caller.

`python -m bench.attacks [--checkout PATH] [--only ROW,...]`

Without `--checkout`, the server of this checkout is attacked. The attacks stay on loopback, and
are bounded in number and time. Results are kept in bench/results/attacks.json by the commit of
the server; `python -m bench.attacks.page` writes docs/attacks.md from them.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from bench.attacks.record import commit_of, keep
from bench.attacks.results import Result, phrase, spread
from bench.attacks.rows import ROWS
from bench.attacks.run import Run
from bench.attacks.server import Checkout
from bench.context import ROOT
from bench.cpu import Watch

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Attack, print the table and keep the results."""
    options = _parse(arguments)
    watch = Watch()
    print("| row | attack | figures | honest p50, p99 | during the attack | ratio | errors |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        run = Run(
            Checkout(options.checkout),
            Path(scratch),
            options.seconds,
            options.all,
            options.rounds,
            not options.full_priority,
        )
        for name in options.only:
            began = time.monotonic()
            results: list[Result] = []
            for result in ROWS[name].attacks(run):
                results.append(result)
                print(_line(result), flush=True)
            others = watch.read().others
            if options.output:
                keep(options.output, commit_of(options.checkout), results, others)
            print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    print(f"others used {others:.0%} of the machine", file=sys.stderr)


def _line(result: Result) -> str:
    cells = [result.row, result.attack, phrase(result.figures)]
    if result.quiet and result.attacked:
        quiet, attacked = result.quiet, result.attacked
        ratio = spread(attacked.ratio(quiet), result.ratios)
        cells += [quiet.shown(), attacked.shown(), ratio, attacked.failures()]
    return f"| {' | '.join(cells)} |"


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.attacks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--checkout", type=Path, default=ROOT, metavar="PATH")
    parser.add_argument(
        "--only", type=_rows, default=list(ROWS), metavar="ROW,...", help=", ".join(ROWS)
    )
    parser.add_argument("--all", action="store_true", help="also run images like others")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a window; default 3")
    parser.add_argument("--rounds", type=int, default=3, help="of each attack; default 3")
    parser.add_argument(
        "--full-priority",
        action="store_true",
        help="let attackers compete with the server for cores; by default they run only when a "
        "core is free, as they stand for other machines",
    )
    parser.add_argument(
        "--output", type=Path, default=ROOT / "bench/results/attacks.json", metavar="FILE"
    )
    parser.add_argument("--no-output", dest="output", action="store_const", const=None)
    return parser.parse_args(arguments)


def _rows(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in ROWS]:
        raise argparse.ArgumentTypeError(f"no row {unknown[0]!r}; the rows are {', '.join(ROWS)}")
    return names


if __name__ == "__main__":
    main()
