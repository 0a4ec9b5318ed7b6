"""The photos and requests that the bench sends, and the plot that it draws."""

import io

import numpy as np
import pytest
from PIL import Image

from bench.peers.base import WORKS
from bench.peers.oip import infer_message
from bench.photos import SIZES, digit, jpeg, pixels_224, tensor_message, with_noise
from bench.plot import bars, draw, goodness
from bench.targets import TARGETS, rows
from convscope.v1 import inference_pb2 as pb

DOCUMENT = {
    "machine": {"cores": 2, "cpu": "CPU"},
    "versions": {"onnxruntime": "1", "grpcio": "1", "python": "3"},
    "date": "2026-01-01",
    "tiny_vs_empty_rpc": 0.7,
    "latency_overhead_ms": {"efficientnet_lite0": 1.6},
}


@pytest.mark.parametrize("size", ["500x375", "1024x768"])
def test_a_photo_has_its_size_and_subsampled_chroma(size: str) -> None:
    image = Image.open(io.BytesIO(jpeg(size)))
    assert (image.format, image.size) == ("JPEG", SIZES[size])
    assert image.layer[1][1:3] == (1, 1)  # type: ignore[attr-defined]
    assert image.layer[0][1:3] == (2, 2)  # type: ignore[attr-defined]


def test_noise_has_the_variance_of_a_sensor() -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    dark = np.full((200, 200, 3), 20, np.uint8)
    assert np.std(with_noise(grey)) == pytest.approx(5.2, rel=0.05)
    assert np.std(with_noise(dark)) < np.std(with_noise(grey))
    assert abs(float(np.mean(with_noise(grey))) - 128) < 0.2


def test_a_tensor_request_contains_the_pixels() -> None:
    request = pb.ClassifyRequest.FromString(tensor_message("digits", digit(), (28, 28, 1)))
    (item,) = request.inputs
    assert item.tensor.data == digit()
    assert list(item.tensor.shape) == [28, 28, 1]
    assert len(pixels_224()) == 224 * 224 * 3


def test_open_inference_messages_have_the_wire_format() -> None:
    message = infer_message(WORKS["tiny"], batched=True)
    # model_name, then an input with its name, type and shape, then the raw bytes.
    assert message.startswith(b"\x0a\x04tiny\x2a")
    assert b"\x0a\x05input\x12\x05UINT8\x1a\x04\x01\x1c\x1c\x01" in message
    assert message.endswith(digit())


def test_goodness_is_above_one_when_the_target_is_reached() -> None:
    table = {row["key"]: row for row in rows(DOCUMENT)}
    assert goodness(table["tiny_vs_empty_rpc"]) == pytest.approx(0.7 / 0.65)
    assert goodness(table["latency_overhead_ms.efficientnet_lite0"]) == pytest.approx(0.5)
    assert goodness(table["many_digits"]) is None


def test_the_plot_has_a_row_for_each_figure_with_a_target() -> None:
    document = {**DOCUMENT, "table": rows(DOCUMENT)}
    (section,) = bars(document).values()  # no peer was measured
    own = [k for k, t in TARGETS.items() if str(t) != "recorded" and not k.startswith("peers.")]
    assert [bar.label for bar in section] == own
    assert len({bar.colour for bar in section}) == 2
    assert draw(document).size[0] == 1680
