"""The server that the bench measures."""

import json
from pathlib import Path

from support.tiny import write_tiny

from bench.servers import serving


def test_measured_choices_are_kept_in_the_file_that_the_caller_names(tmp_path: Path) -> None:
    """A file beside the repository would be in the root of a clone that serves its models/."""
    models = tmp_path / "clone" / "models"
    write_tiny(models)
    tuning_cache = tmp_path / "scratch.json"
    with serving(models, tuning_cache=tuning_cache) as server:
        assert server.ready_seconds > 0
    assert [choice["max_batch"] > 0 for choice in json.loads(tuning_cache.read_text()).values()]
    assert [path.name for path in models.parent.iterdir()] == ["models"]
