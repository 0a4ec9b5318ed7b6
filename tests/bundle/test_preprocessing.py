"""The preprocessing in one line, which the exporter and the client format alike."""

from collections.abc import Sequence

import pytest

from convscope.bundle.preprocessing import preprocessing_line
from convscope.client._results.preprocessing import preprocessing_line as of_the_client
from convscope.v1 import manifest_pb2 as pb

SHORTEST = pb.Resize(rule=pb.RESIZE_RULE_SHORTEST_EDGE, shortest_edge=256)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def manifest(
    mean: Sequence[float] = (0, 0, 0),
    std: Sequence[float] = (1, 1, 1),
    resize: pb.Resize = SHORTEST,
    size: tuple[int, int] = (224, 224),
    interpolation: int = pb.INTERPOLATION_BILINEAR,
    *,
    bgr: bool = False,
) -> pb.ModelManifest:
    gray = len(mean) == 1
    return pb.ModelManifest(
        input=pb.InputSpec(kind=pb.INPUT_KIND_IMAGE, shape=[*size, 1 if gray else 3]),
        preprocessing=pb.Preprocessing(
            color_mode=pb.COLOR_MODE_GRAY if gray else pb.COLOR_MODE_RGB,
            resize=resize,
            interpolation=interpolation,  # type: ignore[arg-type]
            mean=mean,
            std=std,
            reverses_channels=bgr,
        ),
    )


EXACT = pb.Resize(rule=pb.RESIZE_RULE_EXACT, height=224, width=320)


def fit(placement: pb.Placement.ValueType, *color: int) -> pb.Resize:
    padding = pb.Padding(placement=placement, color=color)
    return pb.Resize(rule=pb.RESIZE_RULE_FIT, padding=padding)


CAFFE_MEAN = [value / 255 for value in (123.68, 116.779, 103.939)]
CASES = [
    (
        manifest(resize=fit(pb.PLACEMENT_CENTER, 114, 114, 114), size=(640, 640)),
        "pixels/255, fitted into 640x640, padding 114 around it, RGB",
    ),
    (
        manifest(
            resize=fit(pb.PLACEMENT_TOP_LEFT, 124, 116, 104),
            size=(32, 128),
            interpolation=pb.INTERPOLATION_LANCZOS,
        ),
        "pixels/255, fitted into 32x128 (Lanczos), padding 124 116 104 on the right or at the "
        "bottom, RGB",
    ),
    (
        manifest(IMAGENET_MEAN, IMAGENET_STD),
        "pixels/255, mean 0.485 0.456 0.406, std 0.229 0.224 0.225, shorter edge 256, "
        "center crop 224, RGB",
    ),
    (manifest(), "pixels/255, shorter edge 256, center crop 224, RGB"),
    (
        manifest([0.5], [0.5]),
        "pixels/255, mean 0.5, std 0.5, shorter edge 256, center crop 224, gray",
    ),
    (
        manifest(CAFFE_MEAN, [1 / 255] * 3),
        "pixels of 0 to 255, mean 123.68 116.779 103.939, shorter edge 256, center crop 224, RGB",
    ),
    (
        manifest(CAFFE_MEAN, [1 / 255, 2 / 255, 3 / 255], bgr=True),
        "pixels of 0 to 255, mean 103.939 116.779 123.68, std 3 2 1, shorter edge 256, "
        "center crop 224, BGR",
    ),
    (
        manifest(std=[1 / 255] * 3),
        "pixels of 0 to 255, shorter edge 256, center crop 224, RGB",
    ),
    (
        manifest(resize=EXACT, size=(224, 320), interpolation=pb.INTERPOLATION_BICUBIC),
        "pixels/255, resized to 224x320 (bicubic), RGB",
    ),
    (
        manifest(size=(200, 224)),
        "pixels/255, shorter edge 256, center crop 200x224, RGB",
    ),
    (manifest((), ()), "shorter edge 256, center crop 224, RGB"),
    (
        pb.ModelManifest(input=pb.InputSpec(kind=pb.INPUT_KIND_TENSOR, shape=[1, 256])),
        "none: a float32 tensor 1x256",
    ),
]


@pytest.mark.parametrize(("described", "line"), CASES)
def test_line(described: pb.ModelManifest, line: str) -> None:
    assert preprocessing_line(described) == line
    assert of_the_client(described) == line
