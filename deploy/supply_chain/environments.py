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

__all__ = ["ENVIRONMENTS", "ROOT", "pin_file", "requirements"]

ROOT = Path(__file__).resolve().parents[2]
# The extras of each environment. The last one builds the package for the others.
ENVIRONMENTS = {"server": ("server", "signing"), "web": ("web",), "build": None}
_OWN = re.compile(r"convscope\[([a-z,-]+)\]")


def pin_file(environment: str) -> Path:
    """Return the path of an environment's pinned requirements."""
    return ROOT / "deploy" / "requirements" / f"{environment}.txt"


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
