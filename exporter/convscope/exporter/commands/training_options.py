"""The options of `train`."""

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
    "RandomWeights",
    "Resume",
    "Runs",
    "Seed",
    "Strict",
    "Weights",
]

# The sections of the help page.
DATASET = "Dataset"
WEIGHTS = "Initial weights"
TRAINING = "Training"
RUNS = "Runs and hardware"

# The dataset.
DatasetName = Annotated[
    str | None,
    Option(
        help="mnist, fashion_mnist, cifar10, mnist_sample, folder:PATH or npz:FILE. A folder "
        "has images in CLASS/, or in train/CLASS/ next to test/ and val/. A file has the arrays "
        "x_train (uint8 [N, H, W, C], float [N, C, L] or float [N, C, T, H, W]) and y_train "
        "(int [N]); optional are x_test, y_test, x_val, y_val and classes (names).",
        show_default="the network's own",
        rich_help_panel=DATASET,
    ),
]
DataDir = Annotated[
    Path,
    Option(
        help="The folder of published datasets; missing ones are downloaded into it.",
        rich_help_panel=DATASET,
    ),
]
Strict = Annotated[
    bool,
    Option(
        "--strict",
        help="Fail if an image can't be read, instead of skipping it.",
        rich_help_panel=DATASET,
    ),
]

# The initial weights.
Pretrained = Annotated[
    bool,
    Option(
        "--pretrained",
        help="Start with the published weights and a new head for the classes.",
        rich_help_panel=WEIGHTS,
    ),
]
Weights = Annotated[
    Path | None,
    Option(
        help="Start with a .safetensors or .pth file and a new head.",
        show_default="random weights, or the published ones with --pretrained",
        rich_help_panel=WEIGHTS,
    ),
]
RandomWeights = Annotated[
    bool,
    Option(
        "--random-weights",
        help="Start with random weights, also with --freeze. Without --freeze, --pretrained and "
        "--weights, this is the default.",
        rich_help_panel=WEIGHTS,
    ),
]
Freeze = Annotated[
    str | None,
    Option(
        metavar="MODULE",
        help="Freeze every module up to this one; 'backbone' freezes all but the head. It needs "
        "--pretrained, --weights or --random-weights.",
        show_default="train every module",
        rich_help_panel=WEIGHTS,
    ),
]

# The training.
Epochs = Annotated[
    int | None,
    Option(
        min=1,
        help="The number of passes over the training inputs; more can be added to a resumed run.",
        show_default="10, or those of the resumed run",
        rich_help_panel=TRAINING,
    ),
]
BatchSize = Annotated[
    int | None,
    Option(
        min=1,
        help="Inputs per step, over all processes.",
        show_default="64, or fewer for a small dataset",
        rich_help_panel=TRAINING,
    ),
]
LearningRate = Annotated[
    float | None,
    Option(
        min=1e-9,
        help="The highest rate of the one-cycle schedule.",
        show_default="the network's own, mostly 0.001; 0.01 with --freeze backbone",
        rich_help_panel=TRAINING,
    ),
]
Augment = Annotated[
    bool | None,
    Option(
        help="Whether to alter the images slightly.",
        show_default="the network's own, mostly yes",
        rich_help_panel=TRAINING,
    ),
]
Patience = Annotated[
    int | None,
    Option(
        min=1,
        help="Stop after this many epochs without a lower validation loss.",
        show_default="run all epochs",
        rich_help_panel=TRAINING,
    ),
]
Seed = Annotated[int, Option(min=0, help="Makes a run reproducible.", rich_help_panel=TRAINING)]

# Runs and hardware.
Resume = Annotated[
    bool,
    Option(
        "--resume",
        help="Continue the latest run of this model after its last complete epoch. A finished "
        "run needs a higher --epochs.",
        rich_help_panel=RUNS,
    ),
]
Runs = Annotated[
    Path,
    Option(help="The folder of checkpoints and logs: RUNS/MODEL/NUMBER.", rich_help_panel=RUNS),
]
Devices = Annotated[
    int,
    Option(
        min=1,
        help="The number of processes on this machine, one per GPU or on the CPU.",
        rich_help_panel=RUNS,
    ),
]
Nodes = Annotated[
    int, Option(min=1, help="The number of machines, as in Lightning.", rich_help_panel=RUNS)
]
Precision = Annotated[
    str | None,
    Option(
        help="32-true, 16-mixed or bf16-mixed.",
        show_default="16-mixed on a GPU, 32-true on a CPU",
        rich_help_panel=RUNS,
    ),
]
