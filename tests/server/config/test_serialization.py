"""Settings on their way to a worker."""

import os
from collections.abc import Callable
from pathlib import Path

from convscope.server.config.serialization import from_json, to_json
from convscope.server.config.settings import Settings

FILE = """
[server]
models = "s3://bucket/models"
max_delay_seconds = 1

[providers.cuda]
device_id = 1

[models.digits]
provider = ["openvino", "cpu"]
allow_fallback = false

[models.digits.providers.openvino]
num_of_threads = 2

[models.lenet]
"""


def test_a_worker_gets_the_same_settings(tmp_path: Path, parse: Callable[..., Settings]) -> None:
    path = tmp_path / "convscope.toml"
    path.write_text(FILE)
    flags = ("--tls-key", __file__, "--tls-certificate", os.devnull, "--no-tuning", "--threads=3")
    settings = parse("--settings", path, *flags)
    assert settings.runtime.model_providers.keys() == {"digits", "lenet"}
    data = to_json(settings)
    assert from_json(data) == settings
    assert b"\n" not in data
