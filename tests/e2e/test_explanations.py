"""Explanations of the demo's networks, from the exporter through the server."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from support.calls import connected, image_request
from support.oip import oip_connected, packed
from support.server import ServerProcess
from support.small_networks import SIDE, SmallNetwork, network_source
from torch import nn

from convscope.exporter.conversion.convert import convert
from convscope.open_inference import open_inference_pb2
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import inference_pb2_grpc

LITE0, DIGITS = "efficientnet_lite0", "digits"
GRAD_CAM, CAM = pb.EXPLANATION_METHOD_GRAD_CAM, pb.EXPLANATION_METHOD_CAM
EIGEN_CAM, OCCLUSION = pb.EXPLANATION_METHOD_EIGEN_CAM, pb.EXPLANATION_METHOD_OCCLUSION
Selection = pb.ExplanationSelection
Stub = inference_pb2_grpc.ClassifierServiceStub

pytestmark = pytest.mark.slow(seconds=1)


@pytest.fixture(scope="module")
def stub(demo_server: ServerProcess) -> Iterator[Stub]:
    with connected(demo_server) as stub:
        yield stub


def explain(stub: Stub, model: str, photo: Path, *selections: Selection) -> pb.Prediction:
    request = image_request(photo.read_bytes(), model=model, explanations=selections)
    return stub.Classify(request, timeout=60).results[0].prediction


def array(message: pb.Explanation) -> NDArray[np.float32]:
    return np.frombuffer(message.heat.data, "<f4").reshape(tuple(message.heat.shape))


def test_heat_is_on_the_cup_and_adds_up_to_the_logit(stub: Stub, coffee: Path) -> None:
    espresso = pb.ClassTarget(label="espresso")
    found = explain(stub, LITE0, coffee, Selection(), Selection(target=espresso, method=CAM))
    best, by_label = found.explanations
    assert best.target == by_label.target == found.classes[0]
    heat = array(best)
    np.testing.assert_array_equal(heat, array(by_label))
    assert heat.shape == (7, 7)
    assert heat.sum() + best.remainder == pytest.approx(best.logit, rel=1e-4)
    assert heat[1:4, 1:6].sum() > 0.6 * heat.sum()  # where the cup is
    assert (found.crop.image_width, found.crop.image_height) == (600, 400)
    assert (found.crop.left, found.crop.right) == (125, 475)


def test_remainder_of_a_linear_head_is_the_bias_of_the_class(
    stub: Stub, coffee: Path, digits: list[Path]
) -> None:
    selection = Selection(target=pb.ClassTarget(label="espresso"))
    first, second = (
        explain(stub, LITE0, photo, selection).explanations[0] for photo in (coffee, digits[3])
    )
    assert abs(first.logit - second.logit) > 1
    assert first.remainder == pytest.approx(second.remainder, abs=1e-3)


def test_heat_of_a_network_that_ends_in_softmax_refers_to_its_argument(tmp_path: Path) -> None:
    """Its best class has a probability of 1, and the logarithm of that has no gradient."""
    network = SmallNetwork(3, nn.Softmax(dim=1))
    with torch.no_grad():
        network.dense.weight *= 60
    convert(network_source(network), tmp_path)
    image = np.random.default_rng(2).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    png = BytesIO()
    Image.fromarray(image).save(png, "PNG")
    request = image_request(png.getvalue(), model="small", explanations=[Selection(method=CAM)])
    with ServerProcess(tmp_path) as server, connected(server) as stub:
        best = stub.Classify(request, timeout=60).results[0].prediction.explanations[0]
    assert best.target.probability == 1
    assert np.abs(array(best)).max() > 0.1
    bias = network.dense.bias[best.target.index].item()
    assert best.remainder == pytest.approx(bias, abs=1e-3)
    assert array(best).sum() + best.remainder == pytest.approx(best.logit, rel=1e-4)


def test_methods_agree_on_a_digit(stub: Stub, digits: list[Path]) -> None:
    """The squares that make the logit fall are those with heat."""
    grid = pb.OcclusionGrid(cells=4, window=1.5)
    found = explain(
        stub,
        DIGITS,
        digits[3],
        Selection(),
        Selection(method=EIGEN_CAM),
        Selection(method=OCCLUSION, occlusion=grid),
    )
    heat, eigen, occlusion = map(array, found.explanations)
    assert [one.target.label for one in found.explanations] == ["3"] * 3
    assert heat.shape == eigen.shape == occlusion.shape == (4, 4)
    assert np.corrcoef(heat.ravel(), occlusion.ravel())[0, 1] > 0


def test_open_inference_protocol_returns_the_same_heat(
    demo_server: ServerProcess, stub: Stub, coffee: Path
) -> None:
    message = open_inference_pb2.ModelInferRequest(model_name=f"{LITE0}.explain")
    message.inputs.add(name="images", datatype="BYTES", shape=[1])
    message.inputs.add(name="classes", datatype="INT64", shape=[1, 2])
    classes = np.array([[-1, -2]], "<i8").tobytes()
    message.raw_input_contents.extend([packed(coffee.read_bytes()), classes])
    with oip_connected(demo_server) as oip:
        reply = oip.ModelInfer(message, timeout=60)
    heat = np.frombuffer(reply.raw_output_contents[1], "<f4").reshape(2, 7, 7)
    ranks = [Selection(target=pb.ClassTarget(rank=rank)) for rank in (1, 2)]
    expected = explain(stub, LITE0, coffee, *ranks).explanations
    for found, one in zip(heat, expected, strict=True):
        np.testing.assert_allclose(found, array(one), atol=1e-4)
