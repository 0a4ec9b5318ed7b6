"""The two bundles of the demo, made by the real exporter."""

from pathlib import Path

from support.exporter import exporter

MAKE = {"efficientnet_lite0": "export", "digits": "train"}


def export_demo_models(repository: Path) -> None:
    """Export EfficientNet-Lite0 and train digits, as `make demo` does. It takes about a minute."""
    for model, command in MAKE.items():
        exporter(command, model, "--repository", str(repository), "--version", "1")
