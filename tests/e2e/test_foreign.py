"""Graphs from other sources, from the import to the results of a server."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.exporter import exporter
from support.server import ServerProcess

from convscope.client import Client, Tensor
from convscope.exporter.graphs.sessions import open_graph

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
# Each network with an output or inner tensor that becomes a feature map.
NETWORKS = {
    "squeezenet": "r16",
    "shufflenet": "r52",
    "resnet50": "r77",
    "inception_v1": "r37",
    "densenet121": "r104",
}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

pytestmark = [
    pytest.mark.slow(seconds=4),
    pytest.mark.one_transport("compares the results of networks"),
]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("foreign")
    for name, tensor in NETWORKS.items():
        exporter(
            "import",
            str(LIGHT / f"light_{name}.onnx"),
            *("--name", name, "--repository", str(root)),
            *("--mean", ",".join(map(str, MEAN)), "--std", ",".join(map(str, STD))),
            *("--resize", "256", "--feature-map", f"{tensor}=inside"),
        )
    return root


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[ServerProcess]:
    with ServerProcess(repository) as running:
        yield running


def original(name: str, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
    """Return the probabilities and the tensor of the original file, with manual normalization."""
    model = onnx.load(LIGHT / f"light_{name}.onnx")
    model.graph.output.append(onnx.ValueInfoProto(name=NETWORKS[name]))
    session = open_graph(model.SerializeToString())
    values = ((pixels / 255 - np.array(MEAN)) / np.array(STD)).astype(np.float32)
    image = next(one.name for one in session.get_inputs())
    answer, inside = session.run(None, {image: values.transpose(2, 0, 1)[np.newaxis]})
    return answer.reshape(-1), inside[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_foreign_graph_returns_what_its_file_returns(
    server: ServerProcess, coffee: Path, name: str
) -> None:
    with Image.open(coffee) as photo:
        pixels = np.asarray(photo.convert("RGB").resize((224, 224)))
    answer, inside = original(name, pixels)
    with Client(server.target) as client:
        result = client.classify(Tensor(pixels), model=name, top_k=1000, feature_maps=["inside"])
        assert client.model(name).provenance.weights.startswith(f"light_{name}.onnx (sha256 ")
    found = np.zeros(1000, np.float32)
    found[[scored.index for scored in result.classes]] = [c.probability for c in result.classes]
    if name == "densenet121":  # ends in logits
        powers = np.exp(answer - answer.max())
        answer = powers / powers.sum()
    np.testing.assert_allclose(found, answer, atol=1e-5)
    array = result.feature_maps["inside"].array
    assert np.abs(array - inside).max() <= 1e-3 * np.abs(inside).max()


def test_an_imported_bundle_can_be_verified(repository: Path) -> None:
    said = exporter("verify", str(repository / "squeezenet" / "1"))
    assert said.count("✓") == 5


def test_a_photo_is_prepared_for_a_foreign_graph(server: ServerProcess, coffee: Path) -> None:
    with Client(server.target) as client:
        results = client.classify_many([coffee] * 5, model="squeezenet")
        assert len({result.top.label for result in results}) == 1
