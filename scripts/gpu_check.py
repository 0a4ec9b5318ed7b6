"""Check what a machine's GPU does with Convscope; see `--help`.

    python scripts/gpu_check.py --output gpu.json

A checkout is enough: Convscope itself need not be installed, only the packages that it uses.
"""

import os
import sys
import tempfile
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("proto", "bundle", "client", "server", "exporter")


def main() -> int:
    """Make the checkout importable, here and in the processes that are started, and check."""
    with tempfile.TemporaryDirectory(prefix="gpu-check-site-") as site:
        paths = [str(ROOT), *(str(ROOT / room) for room in ROOMS)]
        try:
            metadata.version("convscope")
        except metadata.PackageNotFoundError:
            _write_version(Path(site))
            paths.append(site)
        sys.path[:0] = paths
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([*paths, *([before] if before else [])])
        from bench.hardware.command import main as check

        return check()


def _write_version(site: Path) -> None:
    """Describe the checkout as a package: the server and the exporter look their version up."""
    information = site / "convscope-0.dist-info"
    information.mkdir()
    information.joinpath("METADATA").write_text(
        "Metadata-Version: 2.1\nName: convscope\nVersion: 0\n"
    )


if __name__ == "__main__":
    sys.exit(main())
