"""`export`: a network with its published weights becomes a bundle.

PyTorch is imported inside the command, so that `--help` answers at once.
"""

from pathlib import Path
from typing import Annotated

import typer

from convscope.exporter.console import (
    Model,
    Quiet,
    Repository,
    Version,
    errors_as_sentences,
    make_console,
    report,
    reserve_version,
)
from convscope.exporter.errors import ExporterError

__all__ = ["register"]

Name = Annotated[str, typer.Argument(metavar="ARCHITECTURE", help="The network's name.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(export)


def export(
    architecture: Name,
    repository: Repository = Path("models"),
    name: Model = None,
    version: Version = None,
    quiet: Quiet = False,
) -> None:
    """Convert a network with its published weights."""
    with errors_as_sentences():
        console = make_console(quiet)
        with console.status("Loading PyTorch"):
            from convscope.exporter.architectures import find_architecture
            from convscope.exporter.convert import Source, convert
            from convscope.exporter.golden import golden_photos
        row = find_architecture(architecture)
        model = name or row.name
        number = reserve_version(repository, model, version, console)
        if row.load_weights is None:
            raise ExporterError(
                f"{architecture} has no published weights; train it with: "
                f"convscope-exporter train {architecture}"
            )
        with console.status("Loading the published weights"):
            labels = row.labels()
            network = row.build(len(labels))
            weights = row.load_weights(network)
        console.print(f"weights   {weights.source} ({weights.license})")
        with console.status("Converting to ONNX and comparing with PyTorch"):
            conversion = convert(
                Source(
                    model=model,
                    version=number,
                    architecture=row.name,
                    network=network,
                    preprocessing=row.preprocessing(),
                    labels=labels,
                    feature_maps=row.feature_maps,
                    weights=weights,
                    golden=golden_photos(),
                ),
                repository,
            )
        report(conversion, console)
