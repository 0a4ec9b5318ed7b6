import pytest
import torch
from support.small_networks import SIDE, End, SmallNetwork
from torch import nn

from convscope.exporter.conversion.ending import check_returns_logits, find_ending
from convscope.exporter.errors import NetworkError

EXAMPLE = torch.zeros(2, 3, SIDE, SIDE)


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (None, "linear"),
        (nn.ReLU(), "linear"),
        (nn.Softmax(dim=1), "softmax"),
        (nn.Sigmoid(), "sigmoid"),
        (End("written sigmoid"), "sigmoid"),
        (End("squeezed sigmoid"), "sigmoid"),
        (nn.LogSoftmax(dim=1), "log-softmax"),
        (End("tanh"), "unknown"),
        (End("written softmax"), "softmax"),
    ],
    ids=str,
)
def test_the_last_operation_is_found(end: nn.Module | None, kind: str) -> None:
    outputs = 1 if isinstance(end, End) and "squeezed" in end.function else 3
    assert find_ending(SmallNetwork(outputs, end).eval(), EXAMPLE).kind == kind


@pytest.mark.parametrize("end", [nn.Softmax(dim=1), nn.Sigmoid()], ids=str)
def test_training_needs_logits(end: nn.Module) -> None:
    with pytest.raises(NetworkError, match=r"the loss applies a softmax to its output; return"):
        check_returns_logits(SmallNetwork(3, end), EXAMPLE)
    check_returns_logits(SmallNetwork(), EXAMPLE)
    check_returns_logits(SmallNetwork(3, nn.LogSoftmax(dim=1)), EXAMPLE)


def test_a_network_may_change_its_input_in_place() -> None:
    network = nn.Sequential(nn.ReLU(inplace=True), SmallNetwork())
    assert find_ending(network.eval(), EXAMPLE).kind == "linear"
