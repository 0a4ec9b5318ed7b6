"""GetServerInfo: the version, the transport, and limits that hold."""

from pathlib import Path

import grpc
import pytest
from PIL import Image
from support.calls import connected, image_request, rejection
from support.images import encode
from support.server import ServerProcess

from convscope.server.inference.decoding.image_limits import ImageLimits
from convscope.server.inference.decoding.preprocessor import (
    max_lossless_webp_pixels,
    max_progressive_jpeg_pixels,
)
from convscope.v1 import inference_pb2 as pb

REQUEST = pb.GetServerInfoRequest()
FLAGS = {
    "--max-request-bytes": 200_000,
    "--max-reply-bytes": 300_000,
    "--max-inputs": 3,
    "--max-feature-map-bytes": 5_000,
    "--max-explanations": 2,
    "--max-occluded-images": 50,
    "--max-image-pixels": 90_000,
    "--max-image-side": 400,
}


def test_the_defaults_are_described(tiny_server: ServerProcess) -> None:
    with connected(tiny_server) as stub:
        found = stub.GetServerInfo(REQUEST, timeout=30)
    assert found.version == "0.1.0"
    assert found.transport in ("http2", "grpc-aio")
    assert found.limits == pb.ServerLimits(
        max_request_bytes=8 * 2**20,
        max_reply_bytes=32 * 2**20,
        max_inputs=64,
        max_feature_map_bytes=16 * 2**20,
        max_explanations=8,
        max_occluded_images=256,
        image=pb.ImageLimits(
            max_pixels=16_000_000,
            max_side=8192,
            max_progressive_jpeg_pixels=13_333_333,
            max_lossless_webp_pixels=7_200_000,
        ),
    )


@pytest.mark.one_transport("starts a server on each transport itself")
@pytest.mark.parametrize("transport", ["http2", "grpc-aio"])
def test_the_limits_are_those_of_the_flags(tiny_repository: Path, transport: str) -> None:
    flags = [str(each) for pair in FLAGS.items() for each in pair]
    with (
        ServerProcess(tiny_repository, "--transport", transport, *flags) as server,
        connected(server) as stub,
    ):
        found = stub.GetServerInfo(REQUEST, timeout=30)
        limits, image = found.limits, found.limits.image
        assert found.transport == transport
        assert [
            *(limits.max_request_bytes, limits.max_reply_bytes, limits.max_inputs),
            *(limits.max_feature_map_bytes, limits.max_explanations, limits.max_occluded_images),
            *(image.max_pixels, image.max_side),
        ] == list(FLAGS.values())
        for size, fits in (((300, 300), True), ((301, 300), False), ((401, 10), False)):
            request = image_request(encode(Image.new("RGB", size)))
            if fits:
                assert stub.Classify(request, timeout=30).results
            else:
                assert rejection(stub.Classify, request)[0] is grpc.StatusCode.INVALID_ARGUMENT


def test_every_worker_describes_the_whole_server(tiny_repository: Path) -> None:
    with ServerProcess(tiny_repository, "--workers", "2") as server:
        found = set()
        for _ in range(8):  # each connection may reach another worker
            with connected(server) as stub:
                found.add(stub.GetServerInfo(REQUEST, timeout=30).SerializeToString())
    assert len(found) == 1


def test_the_limits_of_formats_never_exceed_that_of_all_images() -> None:
    limits = ImageLimits(max_pixels=1000, max_side=100)
    assert max_progressive_jpeg_pixels(limits) == 833
    assert max_lossless_webp_pixels(limits) <= 1000
