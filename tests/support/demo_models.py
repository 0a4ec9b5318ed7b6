"""The two bundles of the demo, made by the real exporter."""

import subprocess
import sys
from pathlib import Path

MAKE = {"efficientnet_lite0": "export", "digits": "train"}


def export_demo_models(repository: Path) -> None:
    """Export EfficientNet-Lite0 and train digits, as `make demo` does. It takes about a minute."""
    for model, command in MAKE.items():
        exporter(command, model, "--repository", str(repository), "--version", "1")


def exporter(*arguments: str) -> str:
    """Run a command of the exporter and return its output."""
    done = run_exporter(*arguments)
    if done.returncode != 0:
        raise RuntimeError(f"convscope-exporter {' '.join(arguments)}: {done.stderr}")
    return done.stdout


def run_exporter(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the exporter, which may fail."""
    command = [sys.executable, "-m", "convscope.exporter", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)
