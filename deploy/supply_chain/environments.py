"""The environments of the images, and what pyproject.toml requires for each.

The exporter's image is not among them. PyTorch depends on other packages on each
platform, several gigabytes on some, so its pins can't be written and tested on one
machine. It is built from the ranges in pyproject.toml.
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["ENVIRONMENTS", "ROOT", "machines", "pin_file", "requirements"]

ROOT = Path(__file__).resolve().parents[2]
# The extras of each environment. The last one builds the package for the others.
ENVIRONMENTS = {
    "server": ("server", "signing"),
    "server-gpu": ("server-gpu", "signing"),
    "web": ("web",),
    "build": None,
}
# The machines of each environment; onnxruntime-gpu has wheels for x86_64 only.
_MACHINES = {"server-gpu": ("x86_64",)}
_ALL_MACHINES = ("x86_64", "aarch64")
_OWN = re.compile(r"convscope\[([a-z,-]+)\]")


def pin_file(environment: str) -> Path:
    """Return the path of an environment's pinned requirements."""
    return ROOT / "deploy" / "requirements" / f"{environment}.txt"


def machines(environment: str) -> tuple[str, ...]:
    """Return the machines that an environment is made for, such as "x86_64"."""
    return _MACHINES.get(environment, _ALL_MACHINES)


def requirements(environment: str) -> list[str]:
    """Return what pyproject.toml requires for an environment, without our own extras."""
    content = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = ENVIRONMENTS[environment]
    if extras is None:
        return [str(one) for one in content["build-system"]["requires"]]
    project = content["project"]
    found = [*project["dependencies"]]
    for extra in extras:
        found += _of_extra(project, extra)
    return list(dict.fromkeys(found))


def _of_extra(project: dict[str, Any], extra: str) -> Iterator[str]:
    for requirement in project["optional-dependencies"][extra]:
        if own := _OWN.fullmatch(requirement):
            for name in own[1].split(","):
                yield from _of_extra(project, name)
        else:
            yield requirement
