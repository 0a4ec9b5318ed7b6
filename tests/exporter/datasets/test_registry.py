from pathlib import Path

import numpy as np
import pytest
from support.datasets import arrays_of

from convscope.exporter.datasets import (
    DatasetOptions,
    load_dataset,
)
from convscope.exporter.errors import HubError, UnknownNameError


def test_the_included_sample_of_mnist_is_complete() -> None:
    data = load_dataset("mnist_sample")
    train, test = arrays_of(data.train), arrays_of(data.test)
    assert train.inputs.shape == (10_000, 28, 28, 1)
    assert test.inputs.shape == (2_000, 28, 28, 1)
    assert data.labels == tuple("0123456789")
    assert set(train.labels) == set(test.labels) == set(range(10))


def test_no_test_image_is_among_the_training_images() -> None:
    data = load_dataset("mnist_sample")
    seen = {image.tobytes() for image in arrays_of(data.train).inputs}
    assert not any(image.tobytes() in seen for image in arrays_of(data.test).inputs)


def test_the_images_are_as_bright_as_those_of_mnist() -> None:
    images = arrays_of(load_dataset("mnist_sample").train).inputs
    assert 30 < float(np.mean(images)) < 37  # of MNIST: 33.3


def test_an_unknown_dataset_lists_the_available_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"no dataset 'letters'; available: .*mnist_sample"):
        load_dataset("letters")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_an_unavailable_download_is_explained_with_the_alternative(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nothing listens there
    # urllib keeps the proxies of its first call for the whole process.
    monkeypatch.setattr("urllib.request._opener", None)
    with pytest.raises(HubError, match=r"can't be downloaded; put .*--data-dir"):
        load_dataset(name, DatasetOptions(tmp_path))
