"""Check what a machine's GPU does with Convscope, and print one JSON document.

It takes at most 8 minutes and needs no network. It uses the bundles of models/ in the checkout, and
exports the others if PyTorch is installed; or it uses those of --models. Each section runs in a
process of its own; one that fails doesn't stop the others. A summary goes to standard error. The
exit code is 1 if a section failed.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.hardware.runner import Runner
from bench.hardware.sections import FIRST, SECTIONS
from convscope.server.runtime.providers import PROVIDERS

__all__ = ["main"]

SECONDS = 480.0
# The seconds of one measurement of speed in a check of the full length.
WINDOW = 1.0
LEAST_WINDOW = 0.2
# So much is kept for the end of the last section.
END_SECONDS = 10.0


def main(arguments: list[str] | None = None) -> int:
    """Run the sections, and print their results."""
    options = _parse(arguments)
    began = time.time()
    window = options.window or max(LEAST_WINDOW, WINDOW * min(1.0, options.seconds / SECONDS))
    document: dict[str, Any] = {
        "provider": options.provider,
        "seconds": options.seconds,
        "window_seconds": window,
        "sections": {},
    }
    with TemporaryDirectory(prefix="gpu-check-") as scratch:
        deadline = began + options.seconds - min(END_SECONDS, 0.1 * options.seconds)
        models = options.models and options.models.resolve()
        runner = Runner(options.provider, models, options.seconds, window, Path(scratch), deadline)
        for name in _in_order(options.only):
            section = document["sections"][name] = runner.run(name)
            _report(name, section)
    document["took_seconds"] = round(time.time() - began, 1)
    text = json.dumps(document, indent=1)
    print(text)
    if options.output:
        options.output.write_text(f"{text}\n")
    failed = [name for name, each in document["sections"].items() if each["status"] == "failed"]
    _say(f"{document['took_seconds']} s; " + (f"failed: {', '.join(failed)}" if failed else "ok"))
    return 1 if failed else 0


def _in_order(names: list[str]) -> list[str]:
    wanted = {*names, FIRST} if set(names) - {"environment"} else set(names)
    return [name for name in SECTIONS if name in wanted]


def _report(name: str, section: dict[str, Any]) -> None:
    words = [f"{name:15} {section['status']:8}"]
    if "seconds" in section:
        words.append(f"{section['seconds']:6} s")
    if reason := section.get("reason"):
        words.append(reason.splitlines()[0][:200])
    if missing := section.get("results", {}).get("not_reached"):
        words.append(f"no time for: {', '.join(missing)}"[:200])
    _say("  ".join(words))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/gpu_check.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--provider", choices=list(PROVIDERS), default="cuda")
    parser.add_argument("--models", type=_directory, metavar="DIR", help="a repository of bundles")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="the longest that it takes; default 480"
    )
    parser.add_argument(
        "--window",
        type=float,
        help="the seconds of one measurement of speed; default 1, less for a short check",
    )
    parser.add_argument(
        "--only",
        type=_sections,
        default=list(SECTIONS),
        metavar="SECTION,...",
        help=", ".join(SECTIONS),
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the document here too")
    return parser.parse_args(arguments)


def _sections(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in SECTIONS]:
        raise argparse.ArgumentTypeError(
            f"no section {unknown[0]!r}; the sections are {', '.join(SECTIONS)}"
        )
    return names


def _directory(text: str) -> Path:
    if not (path := Path(text)).is_dir():
        raise argparse.ArgumentTypeError(f"no directory {text}")
    return path
