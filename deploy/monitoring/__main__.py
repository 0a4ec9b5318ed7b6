"""Write the rules and dashboards, or check that those written are up to date.

python -m deploy.monitoring [--check]
"""

import argparse
import sys

from deploy.monitoring.files import generate, stale, write
from deploy.monitoring.objectives import Objectives


def main() -> int:
    """Run the command; the exit code is 1 if a file isn't what it should be."""
    parser = argparse.ArgumentParser(prog="deploy.monitoring", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; name what differs")
    arguments = parser.parse_args()
    files = generate(Objectives.read())
    if not arguments.check:
        write(files)
        return 0
    differing = stale(files)
    for path in differing:
        print(f"deploy/{path} is out of date; run: make dashboards")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
