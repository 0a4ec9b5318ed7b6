"""`train`: a network learns a dataset, and becomes a bundle.

PyTorch is imported inside the command, so that `--help` answers at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
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

if TYPE_CHECKING:
    from convscope.exporter.architectures import Architecture
    from convscope.exporter.datasets import Dataset

__all__ = ["register"]

Name = Annotated[str, typer.Argument(metavar="ARCHITECTURE", help="The network's name.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(train)


def train(
    architecture: Name,
    repository: Repository = Path("models"),
    name: Model = None,
    version: Version = None,
    dataset: Annotated[str | None, typer.Option(help="What to learn from.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="How often each image is seen.")] = 10,
    batch_size: Annotated[int, typer.Option(min=1, help="Images of one step.")] = 64,
    learning_rate: Annotated[float, typer.Option(min=1e-9, help="The highest one.")] = 8e-3,
    seed: Annotated[int, typer.Option(help="Makes a run repeatable.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Train a network, and convert it."""
    with errors_as_sentences():
        console = make_console(quiet)
        with console.status("Loading PyTorch"):
            from convscope.exporter.architectures import find_architecture
            from convscope.exporter.convert import Source, convert
            from convscope.exporter.datasets import load_dataset
            from convscope.exporter.training import Recipe
            from convscope.exporter.training import train as fit
            from convscope.exporter.weights import Weights
        row = find_architecture(architecture)
        model = name or row.name
        number = reserve_version(repository, model, version, console)
        data = load_dataset(_dataset_name(row, dataset))
        preprocessing = row.preprocessing()
        console.print(f"dataset   {data.name}: {len(data.train.labels):,} images to learn from")
        recipe = Recipe(
            mean=preprocessing.mean,
            std=preprocessing.std,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=seed,
            augmentation=data.augmentation,
        )
        network = fit(
            lambda: row.build(len(data.labels)),
            data.train,
            recipe,
            classes=len(data.labels),
            progress=not quiet,
        )
        with console.status("Converting to ONNX and comparing with PyTorch"):
            conversion = convert(
                Source(
                    model=model,
                    version=number,
                    architecture=row.name,
                    network=network,
                    preprocessing=preprocessing,
                    labels=data.labels,
                    feature_maps=row.feature_maps,
                    weights=Weights(f"trained for {epochs} epochs, seed {seed}", "", data.name),
                    golden=_one_of_each_class(data),
                    test=(f"{data.name} test", data.test),
                ),
                repository,
            )
        report(conversion, console)


def _dataset_name(row: "Architecture", dataset: str | None) -> str:
    name = dataset or row.dataset
    if name is None:
        raise ExporterError(f"{row.name} has no dataset of its own; name one with --dataset")
    return name


def _one_of_each_class(data: "Dataset") -> list[bytes]:
    """Encode the first test image of each class, losslessly."""
    from io import BytesIO

    from PIL import Image

    encoded = []
    for label in range(len(data.labels)):
        image = data.test.images[int(np.flatnonzero(data.test.labels == label)[0])]
        out = BytesIO()
        Image.fromarray(image.squeeze(axis=2) if image.shape[2] == 1 else image).save(out, "PNG")
        encoded.append(out.getvalue())
    return encoded
