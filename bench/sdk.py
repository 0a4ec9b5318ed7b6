"""Calls through the Python client, from a separate process.

It reads a task from stdin and prints the figures to stdout; see `bench.processes.run_worker`.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import uvloop

from bench.photos import digit
from convscope.client import AsyncClient, Client, Tensor

MODEL = "digits"


def _digits(count: int) -> Iterator[Tensor]:
    """Return digits in the input shape of the graph, uint8 [28, 28, 1]."""
    arrays = [np.frombuffer(digit(n), np.uint8).reshape(28, 28, 1) for n in range(10)]
    return (Tensor(arrays[index % 10]) for index in range(count))


def _many(task: dict[str, Any]) -> dict[str, Any]:
    """Classify digits with classify_many; return images per second."""
    count: int = task["count"]
    with Client(task["target"]) as client:
        for _ in client.classify_many(_digits(200), model=MODEL, top_k=1):
            pass
        started_at = time.perf_counter()
        answers = [r.top.label for r in client.classify_many(_digits(count), model=MODEL, top_k=1)]
        elapsed = time.perf_counter() - started_at
    return {"images_per_second": count / elapsed, "answers": answers[:10]}


async def _concurrent(task: dict[str, Any]) -> dict[str, Any]:
    """Keep a number of `await client.classify(...)` in flight; return images per second."""
    async with AsyncClient(task["target"], coalesce=task["coalesce"]) as client:
        images = iter(_digits(task["count"]))
        answered = 0

        async def ask() -> None:
            nonlocal answered
            for image in images:
                await client.classify(image, model=MODEL, top_k=1)
                answered += 1

        for image in _digits(20):
            await client.classify(image, model=MODEL, top_k=1)
        started_at = time.perf_counter()
        await asyncio.gather(*(ask() for _ in range(task["in_flight"])))
        elapsed = time.perf_counter() - started_at
    return {"images_per_second": answered / elapsed}


def main() -> None:
    """Run the task."""
    task: dict[str, Any] = json.load(sys.stdin)
    answer = _many(task) if task["kind"] == "many" else uvloop.run(_concurrent(task))
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
