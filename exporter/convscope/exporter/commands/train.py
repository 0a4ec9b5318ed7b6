"""`train`: a network learns a dataset, and becomes a bundle.

PyTorch is imported inside the command, so that `--help` answers at once.
"""

from pathlib import Path
from typing import Annotated

import typer

from convscope.exporter.commands.console import (
    errors_as_sentences,
    make_console,
    report,
    reserve_version,
)
from convscope.exporter.commands.options import (
    FeatureMaps,
    InputShape,
    Mean,
    Model,
    Name,
    Quiet,
    Repository,
    ShortestEdge,
    Std,
    Version,
)

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(train)


def train(
    architecture: Name,
    repository: Repository = Path("models"),
    name: Model = None,
    version: Version = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="mnist, fashion_mnist, cifar10, mnist_sample, folder:PATH or npz:PATH; "
            "the network's own by default."
        ),
    ] = None,
    data_dir: Annotated[
        Path, typer.Option(help="Where published datasets lie, or are downloaded to.")
    ] = Path("data"),
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail if an image can't be read, and don't skip it.")
    ] = False,
    pretrained: Annotated[
        bool,
        typer.Option(
            "--pretrained", help="Begin with the published weights, and a new head for the classes."
        ),
    ] = False,
    weights: Annotated[
        Path | None, typer.Option(help="Begin with a .safetensors or .pth file, likewise.")
    ] = None,
    freeze: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE",
            help="Keep every module up to this one as it is; 'backbone': all but the head.",
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="How often each input is seen.")] = 10,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Inputs of one step, of all processes together; 64, or fewer of a small dataset.",
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(min=1e-9, help="The highest of the one-cycle schedule; the network's own."),
    ] = None,
    augment: Annotated[
        bool | None,
        typer.Option(help="Whether to alter the images a little; as it helps the network."),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(min=1, help="Stop after so many epochs without a better accuracy."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Makes a run repeatable.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the latest run of this model.")
    ] = False,
    runs: Annotated[
        Path, typer.Option(help="Where checkpoints and logs go: RUNS/MODEL/NUMBER.")
    ] = Path("runs"),
    devices: Annotated[
        int, typer.Option(min=1, help="Processes on this machine: GPUs, or of the CPU.")
    ] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines, as Lightning starts them.")] = 1,
    precision: Annotated[
        str | None,
        typer.Option(help="32-true, 16-mixed or bf16-mixed; 16-mixed on a GPU by default."),
    ] = None,
    feature_map: FeatureMaps = None,
    input_shape: InputShape = None,
    mean: Mean = None,
    std: Std = None,
    shortest_edge: ShortestEdge = None,
    quiet: Quiet = False,
) -> None:
    """Train a network, and convert it."""
    with errors_as_sentences():
        console = make_console(quiet)
        with console.status("Loading PyTorch"):
            from convscope.exporter.conversion.convert import convert
            from convscope.exporter.resolve import DeclaredInput, resolve
            from convscope.exporter.training.fit import Hardware
            from convscope.exporter.training.job import TrainingJob, is_first_process, run_training
        if not is_first_process():
            console, quiet = make_console(True), True
        row = resolve(architecture, DeclaredInput(input_shape, mean, std, shortest_edge))
        model = name or row.name.removeprefix("timm/").replace(".", "_").lower()
        job = TrainingJob(
            row=row,
            model=model,
            version=reserve_version(repository, model, version, console),
            dataset=dataset,
            data_dir=data_dir,
            strict=strict,
            pretrained=pretrained,
            weights=weights,
            feature_maps=tuple(feature_map) if feature_map else None,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            augment=augment,
            freeze=freeze,
            patience=patience,
            seed=seed,
            hardware=Hardware(devices=devices, nodes=nodes, precision=precision),
            runs=runs,
            resume=resume,
            progress=not quiet,
        )
        source = run_training(job, console)
        if source is None:
            return
        with console.status("Converting to ONNX and comparing with PyTorch"):
            conversion = convert(source, repository)
        report(conversion, console)
