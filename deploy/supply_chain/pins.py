"""Write deploy/requirements/*.txt: exact versions with the hashes of their wheels.

python -m deploy.supply_chain.pins [ENVIRONMENT ...]

pip chooses the versions, from the index that it is configured for. The files have
names, versions and hashes, and no address. The hashes are those of the wheels that
pip installs on Linux with Python 3.11, on each machine of the environment.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from deploy.supply_chain.environments import ENVIRONMENTS, machines, pin_file, requirements

__all__ = ["main"]

PYTHON = (3, 11)
# A newer C library may lead pip to another wheel of the same release.
GLIBC_MINORS = (41, 36, 28)
_OLDEST_MINOR = 5
_HEADER = """\
# Written by: make requirements
# For the image `{environment}`: Python 3.11 on Linux, {machines}.
"""

Hashes = dict[str, tuple[str, set[str]]]
"""The version and the hashes of each package, by its normalized name."""


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="deploy.supply_chain.pins")
    parser.add_argument("environments", nargs="*", default=list(ENVIRONMENTS))
    arguments = parser.parse_args()
    if sys.version_info[:2] != PYTHON or sys.platform != "linux":
        print("make requirements needs Python 3.11 on Linux, as in the images", file=sys.stderr)
        return 1
    for environment in arguments.environments:
        pins = resolve(requirements(environment), machines(environment))
        pin_file(environment).write_text(render(environment, pins))
        print(f"{pin_file(environment).name}: {len(pins)} packages")
    return 0


def resolve(required: Iterable[str], machines: Iterable[str]) -> Hashes:
    """Choose a version of each package, and return the hashes of its wheels."""
    chosen = _report(required, [])
    exact = [f"{name}=={version}" for name, (version, _) in chosen.items()]
    for machine in machines:
        for minor in GLIBC_MINORS:
            for name, (_, hashes) in _report(exact, _platform(machine, minor)).items():
                chosen[name][1].update(hashes)
    return chosen


def render(environment: str, pins: Hashes) -> str:
    """Return the content of a requirements file."""
    lines = [_HEADER.format(environment=environment, machines=" and ".join(machines(environment)))]
    for name, (version, hashes) in sorted(pins.items()):
        listed = "".join(f" \\\n    --hash=sha256:{one}" for one in sorted(hashes))
        lines.append(f"{name}=={version}{listed}\n")
    return "".join(lines)


def _platform(machine: str, minor: int) -> list[str]:
    """Return pip's options for another platform, whose preferred tags come first."""
    tags = [f"manylinux_2_{one}_{machine}" for one in range(minor, _OLDEST_MINOR - 1, -1)]
    named = [option for tag in tags for option in ("--platform", tag)]
    return ["--no-deps", "--python-version", "3.11", "--implementation", "cp", *named]


def _report(required: Iterable[str], options: Iterable[str]) -> Hashes:
    """Return what pip would install into an empty environment."""
    with tempfile.TemporaryDirectory() as scratch:
        listed, report = Path(scratch, "requirements.in"), Path(scratch, "report.json")
        listed.write_text("\n".join(required))
        where = ["--target", str(Path(scratch, "target"))]
        flags = ["--dry-run", "--ignore-installed", "--only-binary=:all:", "--quiet"]
        command = [sys.executable, "-m", "pip", "install", *flags, *where, *options]
        subprocess.run([*command, "--report", str(report), "-r", str(listed)], check=True)
        installed: list[dict[str, Any]] = json.loads(report.read_text())["install"]
    return {
        canonicalize_name(one["metadata"]["name"]): (
            one["metadata"]["version"],
            {one["download_info"]["archive_info"]["hashes"]["sha256"]},
        )
        for one in installed
    }


if __name__ == "__main__":
    sys.exit(main())
