"""The command `train`, in its own process."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from google.protobuf import json_format
from numpy.typing import NDArray
from onnx import numpy_helper
from PIL import Image
from support.exporter import run_exporter, run_fresh_exporter
from support.server import ServerProcess

from convscope.client import Client
from convscope.exporter.architectures import find_architecture
from convscope.v1 import manifest_pb2 as pb

pytestmark = pytest.mark.slow(seconds=4)

FASHION = Path(__file__).parents[1] / "data" / "fashion_photos.npz"
NOISE = 0.01


def train(folder: Path, *arguments: str) -> list[str]:
    places = ("--repository", str(folder / "models"), "--runs", str(folder / "runs"))
    return ["train", *arguments, *places, "--quiet"]


def run(folder: Path, *arguments: str) -> None:
    done = run_exporter(*train(folder, *arguments))
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def manifest(folder: Path, model: str) -> pb.ModelManifest:
    text = (folder / "models" / model / "1" / "manifest.json").read_text()
    return json_format.Parse(text, pb.ModelManifest())


def accuracy(folder: Path, model: str) -> float:
    found = {one.name: one.value for one in manifest(folder, model).provenance.metrics}
    return found["top1_accuracy"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    run(folder, "digits", "--epochs", "2")
    return folder


def test_a_run_writes_checkpoints_and_metrics(uninterrupted: Path) -> None:
    directory = uninterrupted / "runs/digits/1"
    assert {path.name for path in directory.glob("*.ckpt")} == {"best.ckpt", "last.ckpt"}
    assert [row["epoch"] for row in metrics(uninterrupted, "digits")] == ["1", "2"]
    assert list((directory / "tensorboard").rglob("events.out.tfevents.*"))
    record = json.loads((directory / "run.json").read_text())
    assert record["split"]["validation"].keys() == set("0123456789")
    assert (record["finished"], record["published_version"]) == (True, 1)


def metrics(folder: Path, model: str) -> list[dict[str, str]]:
    with (folder / "runs" / model / "1/metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_run_is_not_resumed_with_fewer_epochs(uninterrupted: Path) -> None:
    done = run_exporter(*train(uninterrupted, "digits", "--epochs", "1", "--resume"))
    assert done.returncode == 1
    assert "was started with 2 epochs, so --epochs 1 can't continue it" in done.stderr


@pytest.mark.slow(seconds=35)
@pytest.mark.timeout(900)  # on a busy machine
def test_two_processes_reach_the_accuracy_of_one(tmp_path: Path, uninterrupted: Path) -> None:
    done = run_fresh_exporter(*train(tmp_path, "digits", "--epochs", "2", "--devices", "2"))
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert abs(accuracy(tmp_path, "digits") - accuracy(uninterrupted, "digits")) <= NOISE
    assert [path.name for path in (tmp_path / "models/digits").iterdir()] == ["1"]
    assert [path.name for path in (tmp_path / "runs/digits").iterdir()] == ["1"]


def write_photos(folder: Path) -> None:
    """Write gray squares of 28 pixels as larger RGB photos in JPEG."""
    with np.load(FASHION) as arrays:
        names = arrays["classes"]
        for split in ("train", "val"):
            images, labels = arrays[f"{split}_images"][::4], arrays[f"{split}_labels"][::4]
            for index, (pixels, label) in enumerate(zip(images, labels, strict=True)):
                target = folder / split / str(names[label]) / f"{index}.jpg"
                target.parent.mkdir(parents=True, exist_ok=True)
                photo = Image.fromarray(pixels).resize((240, 240), Image.Resampling.BICUBIC)
                photo.convert("RGB").save(target, quality=90)


@pytest.mark.slow(seconds=40)
@pytest.mark.one_transport("trains a network")
def test_photos_of_a_folder_are_classified_by_a_new_head(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    write_photos(photos)
    (photos / "train/Bag/broken.jpg").write_bytes(b"no image")
    arguments = ("--dataset", f"folder:{photos}", "--pretrained", "--freeze", "backbone")
    quick = ("--epochs", "3", "--batch-size", "4", "--learning-rate", "0.03")
    run_of = train(tmp_path, "efficientnet_lite0", *arguments, *quick, "--name", "wear")
    done = run_exporter(*(one for one in run_of if one != "--quiet"))
    assert done.returncode == 0, done.stderr
    assert "broken.jpg can't be read as an image and is skipped" in done.stdout
    found = manifest(tmp_path, "wear")
    assert accuracy(tmp_path, "wear") >= 0.85
    assert list(found.labels) == ["Bag", "Pullover", "Sandal", "Trouser"]
    assert found.provenance.weights_license == "Apache-2.0"
    with ServerProcess(tmp_path / "models") as server, Client(server.target) as client:
        shown = sorted((photos / "val").rglob("*.jpg"))
        results = client.classify_many(shown, model="wear", top_k=1)
        correct = [a.top.label == p.parent.name for a, p in zip(results, shown, strict=True)]
    assert np.mean(correct) >= 0.85


def write_signals(path: Path) -> None:
    """Write slow and fast waves with noise."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 400)
    time_steps = np.arange(128)
    waves = np.sin(
        time_steps * np.where(labels, 0.5, 0.2)[:, None] + random.uniform(0, 6, (400, 1))
    )
    noisy = waves + random.normal(0, 0.5, waves.shape)
    np.savez(
        path,
        x_train=noisy[:, None].astype(np.float32),
        y_train=labels,
        classes=np.array(["slow", "fast"]),
    )


def test_signals_are_trained_from_arrays(tmp_path: Path) -> None:
    write_signals(tmp_path / "waves.npz")
    run(tmp_path, "signal_conv", "--dataset", f"npz:{tmp_path / 'waves.npz'}", "--epochs", "6")
    found = manifest(tmp_path, "signal_conv")
    assert list(found.labels) == ["slow", "fast"]
    assert (found.input.name, list(found.input.shape)) == ("signal", [1, 128])
    assert accuracy(tmp_path, "signal_conv") >= 0.95


TINY = """from torch import nn


def tiny(num_classes=10):
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 13 * 13, num_classes))


def fixed():
    return tiny(3)


def with_softmax(num_classes=10):
    return nn.Sequential(tiny(num_classes), nn.Softmax(dim=1))
"""


def test_a_custom_network_is_trained(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(TINY)
    arguments = ("--dataset", "mnist_sample", "--input", "1x28x28", "--learning-rate", "0.008")
    run(tmp_path, f"{file}:tiny", *arguments, "--epochs", "2", "--patience", "1")
    assert accuracy(tmp_path, "tiny") >= 0.90
    assert json.loads((tmp_path / "runs/tiny/1/run.json").read_text())["epochs"] == 2


def test_a_wrong_number_of_classes_is_an_error_before_the_first_epoch(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TINY)
    network = f"{tmp_path / 'mine.py'}:fixed"
    done = run_exporter(
        *train(tmp_path, network, "--dataset", "mnist_sample", "--input", "1x28x28")
    )
    assert done.returncode == 1
    assert "fixed has 3 outputs, but mnist_sample has 10 classes" in done.stderr
    assert "let the factory take num_classes" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_network_that_ends_in_softmax_is_an_error_before_the_first_epoch(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TINY)
    network = f"{tmp_path / 'mine.py'}:with_softmax"
    done = run_exporter(
        *train(tmp_path, network, "--dataset", "mnist_sample", "--input", "1x28x28")
    )
    assert done.returncode == 1
    assert (
        "the network ends in softmax, but the loss applies a softmax to its output" in done.stderr
    )
    assert not (tmp_path / "runs").exists()


def test_the_real_split_is_reported_with_a_warning_if_it_is_tiny(tmp_path: Path) -> None:
    dataset = write_digits(tmp_path / "bars.npz", 100)
    options = ("--epochs", "1", "--learning-rate", "1e-9", "--mean", "0.5")
    command = train(tmp_path, "multi_conv", "--dataset", dataset, *options)
    done = run_exporter(*(one for one in command if one != "--quiet"))
    assert done.returncode == 0, done.stderr
    assert f"target    {tmp_path / 'models/multi_conv/1'}" in done.stdout
    assert "images    pixels/255, mean 0.5, std 0.3081" in done.stdout
    assert "activation softmax: applied to the outputs, as in the training" in done.stdout
    assert re.search(r"always answering .*, which is right for 10\.0%", done.stdout)
    assert "70 train, 10 validation, 20 test inputs in 10 classes" in done.stdout
    assert re.search(r"^ *7 +7 +1 +2 *$", done.stdout, re.MULTILINE)
    assert "warning: there are only 10 validation inputs, 1 of '0'" in done.stdout
    assert "weights   epoch 1 of 1, with the lowest validation loss" in done.stdout


def write_digits(path: Path, count: int) -> str:
    """Write noisy bars at ten positions, one class each, as a dataset of arrays."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % 10
    images = random.integers(0, 60, (count, 28, 28, 1), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 * label + 2 : 2 * label + 5] += 190
    np.savez(path, x_train=images, y_train=labels)
    return f"npz:{path}"


def test_patience_ends_a_run_before_its_epochs(tmp_path: Path) -> None:
    dataset = ("--dataset", write_digits(tmp_path / "bars.npz", 200))
    without_progress = ("--learning-rate", "1e-9", "--epochs", "9", "--patience", "2")
    run(tmp_path, "multi_conv", *dataset, *without_progress)
    assert [row["epoch"] for row in metrics(tmp_path, "multi_conv")] == ["1", "2", "3"]
    found = manifest(tmp_path, "multi_conv").provenance.weights
    assert found.startswith("trained for 3 of at most 9 epochs, weights of epoch ")


def weights_by_shape(path: Path) -> dict[tuple[int, ...], NDArray[np.generic]]:
    tensors = map(numpy_helper.to_array, onnx.load(path).graph.initializer)
    return {tensor.shape: tensor for tensor in tensors}


def test_a_frozen_module_and_those_before_it_do_not_change(tmp_path: Path) -> None:
    torch.manual_seed(5)
    start = find_architecture("multi_conv").build(10).state_dict()
    torch.save(start, tmp_path / "start.pth")
    options = ("--weights", str(tmp_path / "start.pth"), "--freeze", "conv1", "--epochs", "2")
    run(tmp_path, "multi_conv", "--dataset", write_digits(tmp_path / "bars.npz", 200), *options)
    found = weights_by_shape(tmp_path / "models/multi_conv/1/model.onnx")
    frozen, trained = (start[name].numpy() for name in ("conv1.0.weight", "conv2.0.weight"))
    np.testing.assert_array_equal(found[frozen.shape], frozen)
    assert np.abs(found[trained.shape] - trained).max() > 1e-4


def test_freezing_an_unknown_module_is_an_error(tmp_path: Path) -> None:
    torch.save(find_architecture("multi_conv").build(10).state_dict(), tmp_path / "start.pth")
    options = ("--weights", str(tmp_path / "start.pth"), "--freeze", "conv9", "--epochs", "1")
    dataset = ("--dataset", write_digits(tmp_path / "bars.npz", 100))
    done = run_exporter(*train(tmp_path, "multi_conv", *dataset, *options))
    assert done.returncode == 1
    assert "no module 'conv9'" in done.stderr


def test_a_run_that_does_not_exist_is_an_error_before_pytorch_is_imported(tmp_path: Path) -> None:
    command = train(tmp_path, "digits", "--resume")
    script = (
        "import sys\nfrom convscope.exporter.cli import app\n"
        f"try:\n    app({command!r})\nfinally:\n    print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "to resume; start one without --resume" in done.stderr
    assert done.stdout == "False\n"


def test_large_test_images_are_replaced_by_the_prepared_ones(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for split, count in (("train", 10), ("test", 1)):
        for label in ("dark", "light"):
            folder = photos / split / label
            folder.mkdir(parents=True)
            for index in range(count):
                image = Image.new("L", (32, 32), 40 if label == "dark" else 220)
                image.save(folder / f"{index}.bmp")
                if split == "test":  # more than a golden input may have
                    with (folder / f"{index}.bmp").open("ab") as file:
                        file.write(bytes(5 * 2**20))
    run(tmp_path, "lenet", "--dataset", f"folder:{photos}", "--epochs", "1")
    assert list(manifest(tmp_path, "lenet").labels) == ["dark", "light"]
