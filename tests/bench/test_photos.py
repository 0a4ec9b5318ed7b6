"""The photos and requests that the bench sends, and the plot that it draws."""

import io
import math

import numpy as np
import pytest
from PIL import Image

from bench.peers.base import WORKS
from bench.peers.oip import infer_message
from bench.photos import SIZES, digit, jpeg, pixels_224, tensor_message, with_noise
from bench.plot import bars, draw, goodness
from bench.sampling import Figure
from bench.targets import TARGETS, rows
from convscope.v1 import inference_pb2 as pb

DOCUMENT = {
    "machine": {"cores": 2, "cpu": "CPU"},
    "versions": {"onnxruntime": "1", "grpcio": "1", "python": "3"},
    "date": "2026-01-01",
    "table": rows(
        {
            "tiny_vs_empty_rpc": Figure(1.0, 0.9, 1.1),
            "tensor_cpu_us": Figure(0.5, 0.4, 0.6),
            "ready_seconds": Figure(0.9),
        }
    ),
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
    assert goodness("tiny_vs_empty_rpc", 1.0) == pytest.approx(0.5)
    assert goodness("tensor_cpu_us", 0.5) == pytest.approx(1.2)
    assert goodness("many_digits", None) is None
    assert goodness("swap_failures", 0.0) == math.inf


def test_the_plot_has_a_row_for_each_figure_with_a_target() -> None:
    (section,) = bars(DOCUMENT).values()  # no peer was measured
    own = [k for k, t in TARGETS.items() if t.required is not None and not k.startswith("peers.")]
    by_label = {bar.label: bar for bar in section}
    assert list(by_label) == own
    assert by_label["tiny_vs_empty_rpc"].verdict == "no"
    assert by_label["ready_seconds"].verdict == "desired"
    # The smaller CPU time is the better one.
    assert by_label["tensor_cpu_us"].low == pytest.approx(1.0)
    assert by_label["tensor_cpu_us"].high == pytest.approx(1.5)
    assert draw(DOCUMENT).size[0] == 1680
