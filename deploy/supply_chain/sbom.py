"""Write an SBOM of each image's environment: CycloneDX, in JSON, validated by its schema.

python -m deploy.supply_chain.sbom [--output FOLDER] [IMAGE ...]

No Docker is needed: each environment is installed as the image's builder does it.
"""

import argparse
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from deploy.supply_chain.environments import ROOT, pin_file

__all__ = ["IMAGES", "describe", "main"]

IMAGES = ("server", "web", "exporter")
_UNPINNED = "exporter"


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="deploy.supply_chain.sbom")
    parser.add_argument("images", nargs="*", metavar="IMAGE", default=list(IMAGES))
    parser.add_argument("--output", type=Path, default=ROOT / "dist" / "sbom")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for image in arguments.images:
        path = arguments.output / f"{image}.cdx.json"
        install_and_describe(image, path)
        print(path)
    return 0


def describe(python: Path, path: Path) -> None:
    """Write what the environment of a Python interpreter consists of.

    Raises:
        CalledProcessError: The SBOM isn't valid.
    """
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible"]
    project = ["--pyproject", str(ROOT / "pyproject.toml")]
    output = ["--output-format", "JSON", "--validate", "--output-file", str(path)]
    _run(*command, *project, *output, str(python))


def install_and_describe(image: str, path: Path) -> None:
    """Install an image's environment, and write what it consists of.

    Raises:
        CalledProcessError: It can't be installed, or the SBOM isn't valid.
    """
    with tempfile.TemporaryDirectory(prefix="convscope-") as scratch:
        python = Path(scratch, "venv", "bin", "python")
        venv.create(python.parents[1], with_pip=True)
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        if image == _UNPINNED:
            _run(*pip, f"{ROOT}[{image}]")
        else:
            _run(*pip, "--require-hashes", "--requirement", str(pin_file(image)))
            wheels = str(Path(scratch, "wheels"))
            build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
            _run(*build, "--wheel-dir", wheels, str(ROOT))
            _run(*pip, "--no-index", "--no-deps", "--find-links", wheels, "convscope")
        describe(python, path)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main())
