"""The `convscope` command, as a user or a script runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["Command"]


class Command:
    """Runs `convscope` against one server."""

    def __init__(self, target: str) -> None:
        self._target = target

    def __call__(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "CONVSCOPE_SERVER": self._target, "COLUMNS": "80"}
        return subprocess.run(
            [sys.executable, "-m", "convscope.client", *map(str, arguments)],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )

    def json(self, *arguments: str | Path) -> list[dict[str, Any]]:
        done = self(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]
