"""`train`: train a network on a dataset, and convert it to a bundle.

PyTorch is imported inside the command, so that `--help` is fast.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape

from convscope.exporter.commands import options
from convscope.exporter.commands import training_options as opt
from convscope.exporter.commands.console import (
    choose_version,
    convert_and_report,
    errors_as_sentences,
    make_console,
    print_target,
)

if TYPE_CHECKING:
    from convscope.exporter.architectures import Architecture
    from convscope.exporter.architectures.resolve import DeclaredInput
    from convscope.exporter.training.job import TrainingJob
    from convscope.exporter.training.pipeline import PublishedRun

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(train)


def train(
    architecture: options.Name,
    repository: options.Repository = Path("models"),
    name: options.Model = None,
    version: options.Version = None,
    dataset: opt.DatasetName = None,
    data_dir: opt.DataDir = Path("data"),
    strict: opt.Strict = False,
    pretrained: opt.Pretrained = False,
    weights: opt.Weights = None,
    random_weights: opt.RandomWeights = False,
    freeze: opt.Freeze = None,
    epochs: opt.Epochs = None,
    batch_size: opt.BatchSize = None,
    learning_rate: opt.LearningRate = None,
    augment: opt.Augment = None,
    patience: opt.Patience = None,
    seed: opt.Seed = 0,
    resume: opt.Resume = False,
    runs: opt.Runs = Path("runs"),
    devices: opt.Devices = 1,
    nodes: opt.Nodes = 1,
    node_rank: opt.NodeRank = None,
    main_address: opt.MainAddress = None,
    precision: opt.Precision = None,
    feature_map: options.FeatureMaps = None,
    input_shape: options.InputShape = None,
    preprocess: options.Preprocess = None,
    mean: options.Mean = None,
    std: options.Std = None,
    resize: options.Resize = None,
    padding: options.Padding = None,
    placement: options.PlacementOption = None,
    interpolation: options.InterpolationOption = None,
    explanations: options.Explanations = None,
    quiet: options.Quiet = False,
) -> None:
    """Train a network, and convert it.

    Examples:
      convscope-exporter train lenet --dataset mnist
      convscope-exporter train resnet18 --dataset folder:photos --name photos
      convscope-exporter train net.py:make --dataset npz:signals.npz --input 1x256
      convscope-exporter train lenet --nodes 2 --node-rank 1 --main-address 10.0.0.1
    """
    with errors_as_sentences():
        from convscope.exporter.training.machines import join_machines
        from convscope.exporter.training.processes import is_first_of_machine, is_first_process

        devices, nodes = join_machines(devices, nodes, node_rank, main_address)
        console = make_console(quiet or not is_first_of_machine())
        # This doesn't import PyTorch, so that a wrong name or run is an error at once.
        from convscope.exporter.architectures.resolve import (
            DeclaredInput,
            check_published,
            resolve,
        )
        from convscope.exporter.preprocessing.declared import DeclaredResize
        from convscope.exporter.training.runs import latest_run

        declared = DeclaredInput(
            shape=input_shape,
            mean=mean,
            std=std,
            resize=DeclaredResize(resize, padding, placement),
            interpolation=interpolation,
            preprocess=preprocess,
        )
        with console.status(escape(f"Loading {architecture}")):
            row = resolve(architecture, declared)
        model = name or row.model_name
        _check_shape(row, declared)
        if pretrained:
            check_published(row, declared, "train without --pretrained")
        if resume and is_first_process():
            latest_run(runs / model).check({"architecture": row.name, "seed": seed})
        with console.status("Loading PyTorch and the dataset"):
            import matplotlib  # noqa: F401 - a missing package must not end a run after hours

            from convscope.exporter.training.fit import Hardware
            from convscope.exporter.training.job import TrainingJob
        job = TrainingJob(
            row=row,
            model=model,
            repository=repository,
            dataset=dataset,
            data_dir=data_dir,
            strict=strict,
            pretrained=pretrained,
            weights=weights,
            random_weights=random_weights,
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
            explanations=explanations,
            progress=is_first_process() and not quiet,
        )
        _run(job, version, console)


def _check_shape(row: "Architecture", declared: "DeclaredInput") -> None:
    """Check that --input isn't passed for a built-in network."""
    from convscope.exporter.errors import ExporterError

    if declared.shape is not None and not row.is_custom:
        raise ExporterError(
            f"{row.name} has its own input, or that of the dataset for signals and clips; "
            "remove --input"
        )


def _run(job: "TrainingJob", version: int | None, console: Console) -> None:
    from convscope.exporter.training.opening import begin_publication, finish
    from convscope.exporter.training.pipeline import PublishedRun, run_training

    def reserve() -> int:
        number = choose_version(job.repository, job.model, version)
        print_target(job.repository, job.model, number, console)
        return number

    trained = run_training(job, console, reserve)
    if trained is None:  # not the first process
        return
    if isinstance(trained, PublishedRun):
        _show_report(job, trained, console)
        return
    source, epoch = trained.source, trained.best.epoch
    begin_publication(trained.run, source.version, epoch, source.weights.source)
    convert_and_report(source, job.repository, console)
    finish(trained.run, source.version, epoch)
    bundle = job.repository / source.model / str(source.version)
    _write_report(job, bundle, trained.run.directory, console)


def _write_report(job: "TrainingJob", bundle: Path, run: Path, console: Console) -> None:
    from convscope.exporter.datasets import DatasetOptions
    from convscope.exporter.evaluation.training_report import write_training_report

    options = DatasetOptions(job.data_dir, job.seed)
    with console.status("Writing the report"):
        path, warning = write_training_report(bundle, run, job.dataset_name(), options)
    if warning is not None:
        console.print("[yellow]warning:[/] ", end="")
        console.print(warning, markup=False)
    console.print(f"report    {path}", markup=False)


def _show_report(job: "TrainingJob", published: "PublishedRun", console: Console) -> None:
    """Print the path of a published run's report, and write the report if it is missing or old."""
    from convscope.exporter.datasets import DatasetOptions
    from convscope.exporter.evaluation.training_report import repeat_command, report_path

    run = published.run.directory
    path = report_path(run)
    bundle = job.repository / job.model / str(published.version)
    has_bundle = bundle.is_dir()
    if path.is_file() and not (published.has_new_epochs and has_bundle):
        console.print(f"report    {path}", markup=False)
    elif has_bundle:
        _write_report(job, bundle, run, console)
    else:
        console.print(
            f"report    missing; it can't be written, because {bundle} is removed", markup=False
        )
    if has_bundle:
        options = DatasetOptions(job.data_dir, job.seed)
        command = repeat_command(bundle, run, job.dataset_name(), options)
        console.print(f"to write it again: {command}", markup=False, soft_wrap=True)
