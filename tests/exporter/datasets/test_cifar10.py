"""CIFAR-10 in its own format, made so small that it needs no download."""

import hashlib
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import CIFAR10

from convscope.exporter.datasets import DatasetOptions, Split, load_dataset
from convscope.exporter.errors import HubError

FOLDER = "cifar-10-batches-py"
TRAIN = [f"data_batch_{number}" for number in range(1, 6)]
ROWS = 4  # images of each file
LABELS = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def batch(start: int) -> bytes:
    """Images whose red is their number; green grows to the right, and blue downwards."""
    right = np.tile(np.arange(32, dtype=np.uint8), (32, 1))
    planes = [[np.full((32, 32), start + row, np.uint8), right, right.T] for row in range(ROWS)]
    labels = [(start + row) % 10 for row in range(ROWS)]
    content = {"data": np.array(planes).reshape(ROWS, 3 * 32 * 32), "labels": labels}
    return pickle.dumps(content, protocol=2)


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the archive as it is published, and let torchvision expect the sums of this one."""
    batches = {name: batch(ROWS * place) for place, name in enumerate([*TRAIN, "test_batch"])}
    meta = pickle.dumps({"label_names": LABELS}, protocol=2)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, data in {**batches, "batches.meta": meta}.items():
            entry = tarfile.TarInfo(f"{FOLDER}/{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(packed.getvalue())
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(packed.getvalue()))
    monkeypatch.setattr(CIFAR10, "train_list", [[name, md5(batches[name])] for name in TRAIN])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5(batches["test_batch"])]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5(meta)})
    return path


def test_the_archive_is_unpacked_and_read(archive: Path) -> None:
    data = load_dataset("cifar10", DatasetOptions(archive.parent))
    assert data.labels == tuple(LABELS)
    assert isinstance(data.train, Split)
    assert isinstance(data.test, Split)
    assert data.train.inputs.shape == (5 * ROWS, 32, 32, 3)
    assert data.test.inputs.dtype == np.uint8
    assert data.train.labels.tolist() == [number % 10 for number in range(5 * ROWS)]
    assert data.test.labels.tolist() == [0, 1, 2, 3]
    # Row 5, column 7 of the first image of the test: its number, the column, the row.
    assert data.test.inputs[0, 5, 7].tolist() == [5 * ROWS, 7, 5]


def test_an_unpacked_archive_is_sufficient(archive: Path) -> None:
    load_dataset("cifar10", DatasetOptions(archive.parent))
    archive.unlink()
    assert len(load_dataset("cifar10", DatasetOptions(archive.parent)).test.labels) == ROWS


def test_a_damaged_archive_is_downloaded_again_or_the_error_explained(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.write_bytes(archive.read_bytes()[:-100])
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nothing listens there
    # urllib keeps the proxies of its first call for the whole process.
    monkeypatch.setattr("urllib.request._opener", None)
    with pytest.raises(HubError, match=r"put cifar-10-python\.tar\.gz there, or .*--data-dir"):
        load_dataset("cifar10", DatasetOptions(archive.parent))
