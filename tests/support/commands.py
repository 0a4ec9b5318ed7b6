"""The `convscope` command, as a user or a script runs it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from support.forked import run

__all__ = ["Command"]


class Command:
    """Runs `convscope` against one server."""

    def __init__(self, target: str) -> None:
        self._target = target

    def __call__(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "CONVSCOPE_SERVER": self._target, "COLUMNS": "80"}
        return run("client", list(map(str, arguments)), environment)

    def json(self, *arguments: str | Path) -> list[dict[str, Any]]:
        done = self(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]
