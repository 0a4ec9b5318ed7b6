"""The options of `train` alone."""

from pathlib import Path
from typing import Annotated

from typer import Option

__all__ = [
    "Augment",
    "BatchSize",
    "DataDir",
    "DatasetName",
    "Devices",
    "Epochs",
    "Freeze",
    "LearningRate",
    "Nodes",
    "Patience",
    "Precision",
    "Pretrained",
    "Resume",
    "Runs",
    "Seed",
    "Strict",
    "Weights",
]

# What is learned from.
DatasetName = Annotated[
    str | None,
    Option(
        help="mnist, fashion_mnist, cifar10, mnist_sample, folder:PATH or npz:PATH; "
        "the network's own by default."
    ),
]
DataDir = Annotated[Path, Option(help="Where published datasets lie, or are downloaded to.")]
Strict = Annotated[
    bool, Option("--strict", help="Fail if an image can't be read, and don't skip it.")
]

# What it begins with.
Pretrained = Annotated[
    bool,
    Option(
        "--pretrained", help="Begin with the published weights, and a new head for the classes."
    ),
]
Weights = Annotated[Path | None, Option(help="Begin with a .safetensors or .pth file, likewise.")]
Freeze = Annotated[
    str | None,
    Option(
        metavar="MODULE",
        help="Keep every module up to this one as it is; 'backbone': all but the head.",
    ),
]

# How it learns.
Epochs = Annotated[int, Option(min=1, help="How often each input is seen.")]
BatchSize = Annotated[
    int | None,
    Option(
        min=1,
        help="Inputs of one step, of all processes together; 64, or fewer of a small dataset.",
    ),
]
LearningRate = Annotated[
    float | None,
    Option(min=1e-9, help="The highest of the one-cycle schedule; the network's own."),
]
Augment = Annotated[
    bool | None, Option(help="Whether to alter the images a little; as it helps the network.")
]
Patience = Annotated[
    int | None, Option(min=1, help="Stop after so many epochs without a better accuracy.")
]
Seed = Annotated[int, Option(min=0, help="Makes a run repeatable.")]

# Where, and on what.
Resume = Annotated[bool, Option("--resume", help="Go on with the latest run of this model.")]
Runs = Annotated[Path, Option(help="Where checkpoints and logs go: RUNS/MODEL/NUMBER.")]
Devices = Annotated[int, Option(min=1, help="Processes on this machine: GPUs, or of the CPU.")]
Nodes = Annotated[int, Option(min=1, help="Machines, as Lightning starts them.")]
Precision = Annotated[
    str | None,
    Option(help="32-true, 16-mixed or bf16-mixed; 16-mixed on a GPU by default."),
]
