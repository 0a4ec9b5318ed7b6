"""Draw docs/images/overview.png from some minutes of real load on the demo's models.

python -m deploy.monitoring.picture [--again]
"""

import argparse
import json
import sys
from pathlib import Path

from deploy.monitoring.files import DEPLOY
from deploy.monitoring.picture.page import draw
from deploy.monitoring.picture.recording import record

_ROOT = DEPLOY.parent
_RECORDED = _ROOT / ".cache" / "overview.json"
_PICTURE = _ROOT / "docs" / "images" / "overview.png"


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="deploy.monitoring.picture", description=__doc__)
    parser.add_argument(
        "--again", action="store_true", help="draw the last recording again, without a new one"
    )
    parser.add_argument("--models", type=Path, default=_ROOT / "models", help="the demo's bundles")
    arguments = parser.parse_args()
    if not arguments.again:
        recorded = record(arguments.models, DEPLOY / "grafana" / "dashboards" / "overview.json")
        _RECORDED.parent.mkdir(exist_ok=True)
        _RECORDED.write_text(json.dumps(recorded))
    draw(json.loads(_RECORDED.read_text())).save(_PICTURE, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
