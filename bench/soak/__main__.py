"""Call a server for half an hour while versions are swapped, and print what its processes take.

`python -m bench.soak [--minutes 30] [--reloads 200] [-- FLAG...]`

The server has its default settings, besides the flags. Calls of all kinds take about 30 % of one
core: images, tensors, feature maps, explanations, streams, the Open Inference Protocol, invalid
inputs, and calls that are cancelled. A version is published every few seconds. Then one model is
unloaded and loaded 200 times. The exit status is 1 if a process grew by more than its limit, or
if a call ended with a code that is not expected.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from bench.context import BASE, ROOT
from bench.errors import BenchError
from bench.servers import Server, serving

sys.path.insert(0, str(ROOT / "tests"))  # it makes bundles and requests as the tests do

from bench.soak.publishing import LARGE, Publisher, write_first
from bench.soak.traffic import Traffic
from bench.soak.usage import Usage, processes
from convscope.client import AdminClient

MAX_GROWTH_MIB = 8.0
SAMPLE_SECONDS = 5.0
REST_SECONDS = 20.0
# The first minutes fill pools, caches and the arenas of the C library.
WARM_UP_SHARE, MAX_WARM_UP_MINUTES = 0.2, 5.0
SETTLING_RELOADS = 10
REPORTED_RELOADS = 20
UNLOADED_SECONDS = 0.5
LONG_LIVED = ("server", "worker")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--reloads", type=int, default=200)
    parser.add_argument("flags", nargs="*", help="further flags of the server")
    arguments = parser.parse_args()
    source = BASE / LARGE / "1"
    if not source.exists():
        raise BenchError(f"{source} is missing; make it with: make models/{LARGE}/1/manifest.json")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        write_first(scratch / "models", source)
        admin = f"unix:{scratch / 'admin.sock'}"
        flags = ("--admin-address", admin, *arguments.flags)
        cache = scratch / "caches" / "tuning.json"
        with serving(scratch / "models", *flags, tuning_cache=cache) as server:
            passed = not arguments.minutes or asyncio.run(_soak(server, scratch, arguments.minutes))
            size = (source / "model.onnx").stat().st_size / 2**20
            passed &= _reload(server, admin, arguments.reloads, size / 2)
            server.process.check_alive()
    sys.exit(not passed)


async def _soak(server: Server, scratch: Path, minutes: float) -> bool:
    """Call and publish for so long; return whether nothing grew and nothing failed."""
    traffic = Traffic(server)
    publisher = Publisher(scratch / "models", scratch / "made", server.target)
    warm_up = min(MAX_WARM_UP_MINUTES, WARM_UP_SHARE * minutes)
    print("| minutes | process | MiB | descriptors | threads | calls | swaps | errors |")
    print("|---|---|---|---|---|---|---|---|")
    first = await _run(server, traffic, publisher, 0.0, warm_up)
    last = await _run(server, traffic, publisher, warm_up, minutes)
    print(f"\ncalls: {traffic}\nswaps: {publisher}")
    growth = last.growth_since(first)
    for name, mib in growth.items():
        print(f"growth of {name} at rest: {mib:+.1f} MiB (limit {MAX_GROWTH_MIB:g})")
    grown = max(mib for name, mib in growth.items() if name.startswith(LONG_LIVED))
    return grown <= MAX_GROWTH_MIB and not traffic.errors and not publisher.errors


async def _run(
    server: Server, traffic: Traffic, publisher: Publisher, since: float, until: float
) -> Usage:
    """Call and publish between two minutes of the run; return what is in use at rest after it."""
    tasks = [asyncio.create_task(traffic.run()), asyncio.create_task(publisher.run())]
    began = time.monotonic() - 60 * since

    async def watch(minutes: float, what: str = "") -> Usage:
        usage = await _sampled(server.process.pid, tasks, minutes)
        passed = (time.monotonic() - began) / 60
        errors = traffic.errors + publisher.errors
        for row in usage.rows():
            counts = f"{traffic.calls} | {publisher.swaps} | {errors}"
            print(f"| {passed:.0f}{what} | {row} | {counts} |")
        sys.stdout.flush()
        return usage

    while (left := until - (time.monotonic() - began) / 60) > 0:
        await watch(min(1.0, left))
    traffic.stop()
    publisher.stop()
    await asyncio.gather(*tasks)
    tasks.clear()
    # What is being loaded, unloaded or sent makes the figures of single minutes differ.
    await asyncio.sleep(REST_SECONDS)
    return await watch(REST_SECONDS / 60, ", at rest")


async def _sampled(pid: int, tasks: list[asyncio.Task[None]], minutes: float) -> Usage:
    """Return the median of the samples of some time, in which the tasks must not fail."""
    samples, end = [], time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        await asyncio.sleep(SAMPLE_SECONDS)
        for task in tasks:
            if task.done():
                task.result()
        samples.append(processes(pid))
    return Usage.median(samples)


def _reload(server: Server, address: str, count: int, limit_mib: float) -> bool:
    """Unload and load a model so often; return whether nothing grew.

    The memory is that between two loads. After a load, the C library keeps what it took.
    """
    if not count:
        return True
    memory: list[Usage] = []
    with AdminClient(address) as admin:
        for number in range(count + SETTLING_RELOADS):
            admin.unload(LARGE)
            time.sleep(UNLOADED_SECONDS)
            memory.append(processes(server.process.pid))
            admin.load(LARGE)
            if number % REPORTED_RELOADS == 0:
                cells = "; ".join(memory[-1].rows())
                print(f"after {number} reloads, unloaded: {cells}", flush=True)
    half = max(1, SETTLING_RELOADS // 2)
    growth = Usage.median(memory[-half:]).growth_since(
        Usage.median(memory[SETTLING_RELOADS - half : SETTLING_RELOADS])
    )
    for name, mib in growth.items():
        print(f"growth of {name} after {count} reloads: {mib:+.1f} MiB (limit {limit_mib:.1f})")
    return max(mib for name, mib in growth.items() if name.startswith(LONG_LIVED)) <= limit_mib


if __name__ == "__main__":
    main()
