"""What a network returns and remembers is checked before its conversion."""

from collections.abc import Callable

import pytest
import torch
from support.small_networks import Apply, SmallNetwork, network_source
from torch import Tensor

from convscope.exporter.conversion.classifier_check import class_count
from convscope.exporter.errors import NetworkError


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda values: {"logits": values}, "a dict instead of a tensor.*returns only the scores"),
        (lambda values: (values, values), "a tuple instead of a tensor"),
        (lambda values: values.numpy(), "a ndarray instead of a tensor"),
        (lambda values: values[:, :, None, None], r"\[2, 3, 1, 1\].*output.flatten\(1\)"),
        (lambda values: values.argmax(1), "int64 instead of scores.*leave out the argmax"),
        (lambda values: values > 0, "bool instead of scores"),
        (lambda values: values.sum(), r"returns \[\] for 2 images"),
    ],
)
def test_an_output_without_scores_is_rejected_with_the_repair(
    function: Callable[[Tensor], object], message: str
) -> None:
    network = SmallNetwork(3, Apply(function))
    with pytest.raises(NetworkError, match=message):
        class_count(network, network_source(network).preprocessing)


@pytest.mark.parametrize("outputs", [1, 3])
def test_an_output_that_loses_the_batch_of_one_image_is_rejected(outputs: int) -> None:
    network = SmallNetwork(outputs, Apply(Tensor.squeeze))
    with pytest.raises(NetworkError, match=r"for one image and \[2.*squeeze\(1\)"):
        class_count(network, network_source(network).preprocessing)


class NeedsAMask(SmallNetwork):
    def forward(self, planes: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(planes * mask)


class NeedsABatch(SmallNetwork):
    def forward(self, planes: Tensor) -> Tensor:
        if len(planes) == 1:
            raise ValueError("one image is too few")
        return super().forward(planes)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (NeedsAMask(), r"can't take \[2, 3, 16, 16\]: TypeError: .*missing .* 'mask'"),
        (NeedsABatch(), r"can't take \[1, 3, 16, 16\]: ValueError: one image is too few"),
    ],
)
def test_an_error_of_the_network_is_a_sentence(network: SmallNetwork, message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        class_count(network, network_source(network).preprocessing)


class ComparesWithTheFirst(SmallNetwork):
    """Subtracts the first image that it ever gets."""

    def __init__(self) -> None:
        super().__init__()
        self.first: Tensor | None = None

    def forward(self, planes: Tensor) -> Tensor:
        if self.first is None:
            self.first = planes[:1].clone()
        return super().forward(planes - self.first)


class CachesByShape(SmallNetwork):
    """Stores a grid that depends on the shape of the image only."""

    def __init__(self) -> None:
        super().__init__()
        self.grid: Tensor | None = None

    def forward(self, planes: Tensor) -> Tensor:
        if self.grid is None:
            self.grid = torch.linspace(0, 1, planes.shape[-1])
        return super().forward(planes * self.grid)


def test_a_network_that_remembers_its_first_input_is_rejected() -> None:
    network = ComparesWithTheFirst()
    with pytest.raises(NetworkError, match="after its first input: it stores something in forward"):
        class_count(network, network_source(network).preprocessing)


def test_a_network_may_cache_what_depends_on_shapes() -> None:
    network = CachesByShape()
    assert class_count(network, network_source(network).preprocessing) == 3
