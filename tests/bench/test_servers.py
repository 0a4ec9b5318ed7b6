"""The server that the bench measures."""

import json
from pathlib import Path

import pytest
from support.alterations import flip_byte
from support.tiny import write_tiny

from bench.calls import classify
from bench.context import Bench
from bench.errors import BenchError
from bench.glance import GLANCE, SHAPE, glance
from bench.photos import pixels_224, tensor_message
from bench.servers import serving


def test_measured_choices_are_kept_in_the_file_that_the_caller_names(tmp_path: Path) -> None:
    """A file next to the repository would be in the root of a clone that serves its models/."""
    models = tmp_path / "clone" / "models"
    write_tiny(models)
    tuning_cache = tmp_path / "scratch.json"
    with serving(models, tuning_cache=tuning_cache) as server:
        assert server.ready_seconds > 0
    assert [choice["max_batch"] > 0 for choice in json.loads(tuning_cache.read_text()).values()]
    assert [path.name for path in models.parent.iterdir()] == ["models"]


def test_a_rejected_bundle_is_not_measured(tmp_path: Path) -> None:
    """A missing model fails fast, and its errors would look like good figures."""
    models = tmp_path / "models"
    write_tiny(models)
    flip_byte(write_tiny(models, "broken") / "model.onnx", 50)
    with (
        pytest.raises(BenchError, match=r"rejected bundles of models: \['broken'\]"),
        serving(models, "--no-strict-readiness", tuning_cache=tmp_path / "tuning.json"),
    ):
        pass


def test_the_server_accepts_the_network_that_takes_no_time(tmp_path: Path) -> None:
    message = tensor_message(GLANCE, pixels_224(), SHAPE)
    with serving(glance(Bench(tmp_path)), tuning_cache=tmp_path / "tuning.json") as server:
        (result,) = classify(server.target, message).results
    assert sum(each.probability for each in result.prediction.classes) > 0.5
