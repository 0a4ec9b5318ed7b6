"""Write the rules and dashboards, or check that the committed ones are up to date.

python -m deploy.monitoring [--check]
"""

import argparse
import sys

from deploy.monitoring.files import generate, stale, write
from deploy.monitoring.objectives import Objectives


def main() -> int:
    """Run the command. The exit code is 1 if a file is out of date."""
    parser = argparse.ArgumentParser(prog="deploy.monitoring", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing, and list the files that differ"
    )
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
