import numpy as np
import pytest

from convscope.exporter.datasets import load_dataset
from convscope.exporter.errors import UnknownNameError


def test_the_shipped_sample_of_mnist_is_whole() -> None:
    data = load_dataset("mnist_sample")
    assert data.train.images.shape == (10_000, 28, 28, 1)
    assert data.test.images.shape == (2_000, 28, 28, 1)
    assert data.labels == tuple("0123456789")
    assert set(data.train.labels) == set(data.test.labels) == set(range(10))


def test_no_test_image_is_among_the_training_images() -> None:
    data = load_dataset("mnist_sample")
    seen = {image.tobytes() for image in data.train.images}
    assert not any(image.tobytes() in seen for image in data.test.images)


def test_the_images_are_of_handwriting() -> None:
    images = load_dataset("mnist_sample").train.images
    assert 30 < float(np.mean(images)) < 37  # of MNIST: 33.3


def test_an_unknown_dataset_lists_those_there_are() -> None:
    with pytest.raises(UnknownNameError, match="no dataset 'letters'; there are: mnist_sample"):
        load_dataset("letters")
