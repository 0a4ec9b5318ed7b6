"""Train the networks of the lesson on full datasets, and measure the served models.

It prints a table and writes bench/results/lesson.json. It takes about ten minutes on two
idle cores.

    make lesson DATA_DIR=DIR
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import IO

import numpy as np
from rich.console import Console
from rich.table import Table

from convscope.client import Client
from convscope.exporter.datasets import Split, load_dataset
from convscope.exporter.datasets.registry import DatasetOptions

RESULTS = Path(__file__).parent / "results" / "lesson.json"
IN_FLIGHT = 64


@dataclass(frozen=True, slots=True)
class Lesson:
    """One network on one dataset, and the accuracy that it must reach on the test images."""

    dataset: str
    architecture: str
    epochs: int
    target: float

    @property
    def model(self) -> str:
        return f"{self.dataset}_{self.architecture}"


LESSONS = (
    Lesson("mnist", "perceptron", 5, 0.920),
    Lesson("mnist", "one_conv", 5, 0.978),
    Lesson("mnist", "multi_conv", 5, 0.988),
    Lesson("mnist", "lenet", 10, 0.990),
    Lesson("fashion_mnist", "lenet", 15, 0.900),
)


def main() -> None:
    """Train, serve and measure. The exit code is 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument(
        "--data-dir", type=Path, default=Path("data"), help="the folder of the datasets"
    )
    parser.add_argument("--output", type=Path, default=RESULTS, help="the file for the figures")
    arguments = parser.parse_args()
    console = Console()
    with TemporaryDirectory(prefix="convscope-lesson-") as scratch:
        for lesson in LESSONS:
            console.print(f"training {lesson.architecture} on {lesson.dataset} …")
            train(lesson, arguments.data_dir, Path(scratch))
        with served(Path(scratch) / "models") as target, Client(target) as client:
            accuracies = {lesson: measure(client, lesson, arguments.data_dir) for lesson in LESSONS}
    write(accuracies, arguments.output)
    console.print(table(accuracies))
    if any(accuracy < lesson.target for lesson, accuracy in accuracies.items()):
        sys.exit("a network missed its target")


def train(lesson: Lesson, data_dir: Path, scratch: Path) -> None:
    """Train a network with the command that a user would run."""
    command = [
        *(sys.executable, "-m", "convscope.exporter", "train", lesson.architecture),
        *("--dataset", lesson.dataset, "--data-dir", str(data_dir)),
        *("--epochs", str(lesson.epochs), "--name", lesson.model),
        *("--repository", str(scratch / "models"), "--runs", str(scratch / "runs"), "--quiet"),
    ]
    subprocess.run(command, check=True)


@contextmanager
def served(models: Path) -> Iterator[str]:
    """Serve a repository on a free port and return its address."""
    command = [
        *(sys.executable, "-m", "convscope.server", "--models", str(models)),
        *("--grpc-address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0"),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        log = process.stderr
        if log is None:
            raise RuntimeError("the server has no stderr to read")
        port = wait_until_serving(log)
        Thread(target=log.read, daemon=True).start()  # a full pipe would stop the server
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=60)


def wait_until_serving(log: IO[str]) -> int:
    """Read the server's log until it contains the port."""
    seen = []
    for line in log:
        seen.append(line)
        if '"serving"' in line:
            return int(json.loads(line)["grpc_port"])
    raise RuntimeError(f"the server ended before it was ready: {''.join(seen)}")


def measure(client: Client, lesson: Lesson, data_dir: Path) -> float:
    """Send every test image to the server and return the accuracy."""
    data = load_dataset(lesson.dataset, DatasetOptions(data_dir))
    if not isinstance(data.test, Split):
        raise TypeError(f"{lesson.dataset} consists of files")
    images = (np.ascontiguousarray(image) for image in data.test.inputs)  # uint8 [28, 28, 1]
    answers = client.classify_many(images, model=lesson.model, top_k=1, window=IN_FLIGHT)
    found = np.array([answer.top.index for answer in answers])
    return float((found == data.test.labels).mean())


def write(accuracies: dict[Lesson, float], path: Path) -> None:
    """Write the figures as {dataset: {architecture: accuracy}}."""
    figures: dict[str, dict[str, float]] = {}
    for lesson, accuracy in accuracies.items():
        figures.setdefault(lesson.dataset, {})[lesson.architecture] = round(accuracy, 4)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=2) + "\n")


def table(accuracies: dict[Lesson, float]) -> Table:
    """Format the figures as a table."""
    drawn = Table("dataset", "network", "epochs", "accuracy", "target", box=None)
    for lesson, accuracy in accuracies.items():
        color = "green" if accuracy >= lesson.target else "red"
        drawn.add_row(
            lesson.dataset,
            lesson.architecture,
            str(lesson.epochs),
            f"[{color}]{accuracy:.4f}[/]",
            f"≥ {lesson.target:.3f}",
        )
    return drawn


if __name__ == "__main__":
    main()
