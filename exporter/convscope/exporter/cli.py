"""The commands. PyTorch is imported inside them, so that `--help` answers at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from convscope.exporter.errors import ExporterError

if TYPE_CHECKING:
    from convscope.exporter.architectures import Architecture
    from convscope.exporter.convert import Conversion
    from convscope.exporter.datasets import Dataset

__all__ = ["app"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train or load convolutional networks, and convert them to verified ONNX bundles.",
)

Name = Annotated[str, typer.Argument(metavar="ARCHITECTURE", help="The network's name.")]
Repository = Annotated[Path, typer.Option(help="Where the bundle goes: REPOSITORY/MODEL/VERSION.")]
Model = Annotated[
    str | None, typer.Option("--name", help="The model's name; the architecture's by default.")
]
Version = Annotated[
    int | None, typer.Option(help="The version's number; the next free one by default.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]


@app.command()
def export(
    architecture: Name,
    repository: Repository = Path("models"),
    name: Model = None,
    version: Version = None,
    quiet: Quiet = False,
) -> None:
    """Convert a network with its published weights."""
    with _errors_as_sentences():
        console = _console(quiet)
        row, model, number = _begin(architecture, repository, name, version, console)
        from convscope.exporter.convert import Source, convert
        from convscope.exporter.golden import golden_photos

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
        _report(conversion, console)


@app.command()
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
    with _errors_as_sentences():
        console = _console(quiet)
        row, model, number = _begin(architecture, repository, name, version, console)
        from convscope.exporter.convert import Source, convert
        from convscope.exporter.datasets import load_dataset
        from convscope.exporter.training import Recipe
        from convscope.exporter.training import train as fit
        from convscope.exporter.weights import Weights

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
        _report(conversion, console)


@contextmanager
def _errors_as_sentences() -> Iterator[None]:
    try:
        yield
    except ExporterError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]error:[/] {error}")
        raise typer.Exit(1) from error


def _console(quiet: bool) -> Console:
    return Console(quiet=quiet, highlight=False, soft_wrap=True)


def _begin(
    architecture: str, repository: Path, name: str | None, version: int | None, console: Console
) -> tuple["Architecture", str, int]:
    """Refuse what can't end well, before anything takes long."""
    from convscope.exporter.bundle import check_free, next_version

    with console.status("Loading PyTorch"):
        from convscope.exporter.architectures import find_architecture
    row = find_architecture(architecture)
    model = name or row.name
    number = version if version is not None else next_version(repository, model)
    check_free(repository, model, number)
    console.print(f"[bold]{model}[/] v{number}")
    return row, model, number


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


def _report(conversion: "Conversion", console: Console) -> None:
    table = Table("output", "shape", "difference from PyTorch", box=None, header_style="dim")
    for output in conversion.parity:
        shape = " × ".join(map(str, output.shape))
        table.add_row(output.name, shape, f"{output.difference:.1e}")
    console.print(table)
    for metric in conversion.metrics:
        console.print(
            f"{metric.name}  [bold]{metric.value:.4f}[/] on {metric.split}, by the ONNX graph"
        )
    size = sum(path.stat().st_size for path in conversion.directory.iterdir())
    console.print(f"[green]published[/] {conversion.directory} ({decimal(size)})")
