"""Write the files that Prometheus and Grafana read, or compare them."""

import json
import math
from pathlib import Path
from typing import Any

import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.monitoring.dashboards import DASHBOARDS
from deploy.monitoring.objectives import Objectives
from deploy.monitoring.rules import rule_groups

__all__ = ["DEPLOY", "generate", "stale", "write"]

DEPLOY = Path(__file__).resolve().parents[1]
_RULES = "prometheus/rules.yml"
_DASHBOARDS = "grafana/dashboards"
_HEADING = """\
# Written by `make dashboards`. Don't edit this file: the numbers are in
# deploy/objectives.toml, the expressions in deploy/monitoring/.
"""


def generate(objectives: Objectives) -> dict[str, str]:
    """Return the content of every file by its path below deploy/."""
    files = {
        f"{_DASHBOARDS}/{name}.json": _json(build(objectives)) for name, build in DASHBOARDS.items()
    }
    return files | {_RULES: _HEADING + _yaml(rule_groups(objectives))}


def write(files: dict[str, str], deploy: Path = DEPLOY) -> None:
    """Write the files, and remove dashboards that no longer exist."""
    for path in _extra(files, deploy):
        (deploy / path).unlink()
    for path, text in files.items():
        (deploy / path).write_text(text)


def stale(files: dict[str, str], deploy: Path = DEPLOY) -> list[str]:
    """Return the paths whose file is missing, superfluous or different."""
    differing = [
        path
        for path, text in files.items()
        if not (deploy / path).is_file() or (deploy / path).read_text() != text
    ]
    return sorted([*differing, *_extra(files, deploy)])


def _extra(files: dict[str, str], deploy: Path) -> list[str]:
    found = [path.relative_to(deploy).as_posix() for path in (deploy / _DASHBOARDS).glob("*.json")]
    return [path for path in found if path not in files]


def _json(dashboard: Any) -> str:
    return json.dumps(dashboard, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _yaml(content: dict[str, Any]) -> str:
    # Lines are not folded, so that an expression can be searched for.
    text: str = yaml.safe_dump(content, sort_keys=False, width=math.inf)
    return text
