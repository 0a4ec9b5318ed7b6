"""A repository of hundreds of models, only some of which fit into memory at a time."""

import json
import random
import shutil
from pathlib import Path

import pytest
from PIL import Image
from support.alterations import burden
from support.calls import sample
from support.images import encode
from support.server import ServerProcess
from support.tiny import write_tiny

from convscope.client import AsyncClient, Client

MODELS = 300
MEMORY_MB = 1
BLUE = encode(Image.new("RGB", (32, 32), (30, 20, 220)))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    original = write_tiny(tmp_path / "original", alter_graph=burden(4))
    manifest = json.loads((original / "manifest.json").read_text())
    for number in range(MODELS):
        directory = tmp_path / "models" / f"tiny{number}" / "1"
        shutil.copytree(original, directory)
        manifest["model"] = f"tiny{number}"
        (directory / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path / "models"


@pytest.mark.slow(seconds=20)
@pytest.mark.one_transport("loads and unloads models")
async def test_three_hundred_models_load_on_demand_within_a_memory_limit(repository: Path) -> None:
    graph_bytes = (repository / "tiny0/1/model.onnx").stat().st_size
    fit = MEMORY_MB * 2**20 // (2 * graph_bytes)  # a session has the weights twice
    assert fit < MODELS
    order = [f"tiny{number}" for number in range(MODELS)]
    random.Random(3).shuffle(order)
    flags = ("--load", "on-demand", "--max-memory-mb", str(MEMORY_MB), "--no-access-log")
    with ServerProcess(repository, *flags) as server:
        async with AsyncClient(server.target, timeout_seconds=120) as client:
            assert sample(server, "convscope_model_info") == 0
            for model in order:
                result = await client.classify(BLUE, model=model)
                assert (result.model, result.top.label) == (model, "blue")
        assert 0 < sample(server, "convscope_model_info") <= fit
        with Client(server.target) as blocking:
            assert len({summary.model for summary in blocking.models()}) <= fit
            assert blocking.classify(BLUE, model=order[0]).top.label == "blue"  # loaded again
        assert sample(server, "convscope_requests_total", code="OK") == MODELS + 1
