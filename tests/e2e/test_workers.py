"""Several workers on one port: one scrape, and no loss when a worker dies."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.alterations import slow_down
from support.calls import connected, image_request, run_to_end, sample, wait_until
from support.server import ServerProcess
from support.tiny import reference_preprocess, write_tiny

from convscope.client import Client, ConvscopeError, Tensor
from convscope.server.observability.metrics.merging import Totals

pytestmark = pytest.mark.slow

WORKERS = 2


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    write_tiny(tmp_path)
    with ServerProcess(tmp_path, "--workers", str(WORKERS)) as server:
        yield server


def pids(server: ServerProcess) -> list[int]:
    """Return the process ids of the running workers."""
    (serving,) = [line for line in server.log if line["event"] == "serving"]
    living: list[int] = serving["workers"]
    for line in server.log:
        if line["event"] == "worker ended":
            living = [pid for pid in living if pid != line["pid"]]
        if line["event"] == "worker replaced":
            living = [*living, line["pid"]]
    return living


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_workers_are_scraped_as_one_server(server: ServerProcess) -> None:
    for _ in range(12):  # separate connections, so that both workers get some
        with connected(server) as stub:
            assert stub.Classify(image_request(), timeout=30).model == "tiny"
    assert sample(server, "convscope_requests_total", model="tiny", code="OK") == 12
    assert sample(server, "convscope_batch_images_sum", model="tiny") == 12
    assert sample(server, "convscope_model_info", model="tiny") == 1
    assert sample(server, "convscope_workers") == WORKERS


def test_a_killed_worker_is_replaced_and_the_sdk_hides_it(
    server: ServerProcess,
) -> None:
    pixels = Tensor(reference_preprocess(image_request().inputs[0].encoded_image))

    def classify_repeatedly(_: int) -> list[ConvscopeError]:
        errors = []
        with Client(server.target) as client:
            for _ in range(300):
                try:
                    client.classify(pixels, model="tiny")
                except ConvscopeError as error:
                    errors.append(error)
        return errors

    before = pids(server)
    with ThreadPoolExecutor(4) as pool:
        callers = [pool.submit(classify_repeatedly, n) for n in range(4)]
        counted = sample(server, "convscope_requests_total", model="tiny", code="OK")
        os.kill(before[0], signal.SIGKILL)
        assert [caller.result() for caller in callers] == [[]] * 4
    wait_until(lambda: len(pids(server)) == WORKERS)
    assert before[0] not in pids(server)
    assert before[1] in pids(server)
    assert sample(server, "convscope_requests_total", model="tiny", code="OK") >= counted


def test_calls_in_flight_on_killed_workers_are_unavailable(tmp_path: Path) -> None:
    write_tiny(tmp_path, alter_graph=slow_down(500_000))  # a run takes more than half a second
    request = image_request().SerializeToString()
    with ServerProcess(tmp_path, "--workers", str(WORKERS)) as server:

        def call_without_retries(_: int) -> grpc.StatusCode:
            with grpc.insecure_channel(server.target, [("grpc.enable_retries", 0)]) as channel:
                classify: Any = channel.unary_unary("/convscope.v1.ClassifierService/Classify")
                try:
                    classify(request, timeout=30)
                except grpc.RpcError as error:
                    return error.code()
                return grpc.StatusCode.OK

        with ThreadPoolExecutor(4) as pool:
            callers = [pool.submit(call_without_retries, n) for n in range(4)]
            started = partial(sample, server, "grpc_server_started_total", grpc_method="Classify")
            wait_until(lambda: started() == len(callers))
            for pid in pids(server):
                os.kill(pid, signal.SIGKILL)
            codes = [caller.result() for caller in callers]
        assert codes == [grpc.StatusCode.UNAVAILABLE] * len(callers)


def test_sigterm_stops_all_workers_cleanly(server: ServerProcess) -> None:
    workers = pids(server)
    assert server.stop() == 0
    assert not any(map(alive, workers))


def test_workers_do_not_outlive_their_supervisor(server: ServerProcess) -> None:
    workers = pids(server)
    server.process.kill()
    wait_until(lambda: not any(map(alive, workers)))


def test_workers_that_cannot_serve_are_a_failed_start(tmp_path: Path) -> None:
    addresses = ("--grpc-address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0")
    code, _, err = run_to_end("--models", tmp_path, "--workers", "2", *addresses)
    assert code == 1
    assert "holds no model" in err
    assert "the first worker ended before it served" in err


def test_the_oldest_sync_of_the_workers_is_shown() -> None:
    name = "convscope_repository_last_sync_timestamp_seconds"
    totals = Totals()
    for at in (1700000005, 1700000000):
        totals.add(Totals.parse(f"# TYPE {name} gauge\n{name} {at}\n"))
    assert [s.value for family in totals.families() for s in family.samples] == [1700000000]


def test_counters_of_dead_workers_are_kept() -> None:
    text = '# TYPE a_total counter\na_total{x="1"} 3\n# TYPE b gauge\nb 7\n'
    retired, now = Totals(), Totals()
    retired.add(Totals.parse(text), cumulative_only=True)
    now.add(retired)
    now.add(Totals.parse(text))
    values = {s.name: s.value for family in now.families() for s in family.samples}
    assert values == {"a_total": 6, "b": 7}
