"""The process of the honest caller: `python -m bench.attacks.caller TASK`.

The task is a JSON object: target, output (a file), and optionally rate, token and roots (a file).
It prints "ready" after the first replies, calls until its standard input is closed, and then writes
all calls to the file, as a list of [monotonic time at which it was due, seconds, code].
"""

import asyncio
import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

import uvloop
from support.images import encode, picture

from bench import attacks  # noqa: F401  # for the path of support
from convscope.client import AsyncClient, ConvscopeError

__all__ = ["main"]

RATE = 100.0
TIMEOUT_SECONDS = 5.0


async def _call(client: AsyncClient, image: bytes, due: float, calls: list[Any]) -> None:
    try:
        await client.classify(image, model="tiny")
        code = "OK"
    except ConvscopeError as error:
        code = error.code.name
    calls.append((due, time.monotonic() - due, code))


async def _run(task: dict[str, Any]) -> list[Any]:
    roots = task.get("roots")
    options: dict[str, Any] = {"root_certificates": Path(roots).read_bytes()} if roots else {}
    if token := task.get("token"):
        options |= {"token": token, "allow_insecure_token": not roots}
    image = encode(picture())
    calls: list[Any] = []
    async with AsyncClient(task["target"], timeout_seconds=TIMEOUT_SECONDS, **options) as client:
        for _ in range(20):  # the first calls are slower
            await client.classify(image, model="tiny")
        gc.freeze()
        gc.disable()
        print("ready", flush=True)
        closed = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
        running: set[asyncio.Task[None]] = set()
        due = time.monotonic()
        while not closed.done():
            due += 1 / task.get("rate", RATE)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            one = asyncio.create_task(_call(client, image, due, calls))
            running.add(one)
            one.add_done_callback(running.discard)
        await asyncio.gather(*running)
    return calls


def main() -> None:
    """Call until the end of standard input."""
    task = json.loads(sys.argv[1])
    Path(task["output"]).write_text(json.dumps(uvloop.run(_run(task))))


if __name__ == "__main__":
    main()
