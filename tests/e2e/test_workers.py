"""Several workers on one port: merged metrics, replaced workers, no secrets in the process list."""

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
from support.oip import oip_connected
from support.server import FRESH, ServerProcess
from support.tiny import reference_preprocess, write_tiny

from convscope.client import AdminClient, Client, ConvscopeError, NotFoundError, Tensor
from convscope.open_inference import open_inference_pb2 as pb

pytestmark = pytest.mark.slow(seconds=5)

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
    requests = partial(sample, server, "convscope_requests_total", model="tiny", code="OK")
    wait_until(lambda: requests() == 12)  # each worker reports once a second
    assert sample(server, "convscope_batch_images_sum", model="tiny") == 12
    assert sample(server, "convscope_model_info", model="tiny") == 1
    assert sample(server, "convscope_workers") == WORKERS


def test_statistics_are_those_of_all_workers(server: ServerProcess) -> None:
    def counted() -> set[int]:
        """Ask on separate connections, so that both workers answer."""
        found = set()
        for _ in range(8):
            with oip_connected(server) as stub:
                (one,) = stub.ModelStatistics(pb.ModelStatisticsRequest(name="tiny")).model_stats
                found.add(one.inference_stats.success.count)
        return found

    for _ in range(12):
        with connected(server) as stub:
            stub.Classify(image_request(), timeout=30)
    wait_until(lambda: counted() == {12})  # each worker reports once a second
    os.kill(pids(server)[0], signal.SIGKILL)
    wait_until(lambda: any(line["event"] == "worker replaced" for line in server.log))
    wait_until(lambda: counted() == {12})


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
        counted = partial(sample, server, "convscope_requests_total", model="tiny", code="OK")
        counts = [counted()]
        os.kill(before[0], signal.SIGKILL)
        while not all(caller.done() for caller in callers):
            counts.append(counted())
        assert [caller.result() for caller in callers] == [[]] * 4
    wait_until(lambda: len(pids(server)) == WORKERS)
    assert before[0] not in pids(server)
    assert before[1] in pids(server)
    counts.append(counted())
    assert counts == sorted(counts)  # no counter drops
    assert counts[-1] > counts[0]


def test_calls_in_flight_on_killed_workers_are_unavailable(tmp_path: Path) -> None:
    write_tiny(tmp_path, alter_graph=slow_down(2_000_000))  # a run takes seconds
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


def test_an_operator_reaches_all_workers_and_their_replacements(tmp_path: Path) -> None:
    for version in (1, 2):
        write_tiny(tmp_path, version=version)
    address = f"unix:{tmp_path / '.admin'}"
    # Nothing can be stored there, so that every worker would have to measure.
    auto = ("--provider", "auto", "--tuning-cache", os.devnull + "/tuning.json")
    flags = ("--workers", str(WORKERS), "--poll-seconds", "0", "--admin-address", address, *auto)

    with ServerProcess(tmp_path, *flags) as running, AdminClient(address) as admin:

        def versions() -> set[int]:
            """Return which versions answer on separate connections, which both workers get."""
            answered = set()
            for _ in range(12):
                with connected(running) as stub:
                    answered.add(stub.Classify(image_request(), timeout=30).version)
            return answered

        def events() -> list[str]:
            return [line["event"] for line in running.log]

        assert events().index("admin serving") < events().index("worker serving")
        assert versions() == {2}
        admin.unload("tiny", 2)
        assert versions() == {1}
        admin.set_alias("tiny", "champion", 2)
        (status,) = admin.status("tiny")
        assert status.aliases == {"champion": 2}
        # Both loaded what the alias names, and the first one wrote it.
        assert not [problem for problem in status.problems if "worker" in problem]
        with pytest.raises(NotFoundError, match="tiny has no version 9"):
            admin.load("tiny", 9)
        admin.set_alias("tiny", "champion", 1)
        admin.unload("tiny", 2)
        os.kill(pids(running)[0], signal.SIGKILL)
        wait_until(lambda: "worker replaced" in events())
        assert versions() == {1}
        # The replacement serves without version 2 from the start, and measures nothing.
        after = running.log[events().index("worker ended") :]
        assert {line["version"] for line in after if line["event"] == "model ready"} == {1}
        assert events().count("provider chosen") == 1
        # A call of an operator is one call, however many workers make the change.
        unloads = [line for line in running.log if line.get("method") == "UnloadModel"]
        handled = partial(sample, running, "grpc_server_handled_total", grpc_method="UnloadModel")
        assert len(unloads) == handled() == 2


SECRET = "s3cr3t"


def test_secrets_in_settings_are_in_no_process_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny(tmp_path / "models")
    settings = tmp_path / "convscope.toml"
    settings.write_text(f'[server]\notlp_endpoint = "http://user:{SECRET}@localhost:1"')
    monkeypatch.setenv("CONVSCOPE_REPOSITORY_CACHE", str(tmp_path / SECRET))
    flags = ("--workers", str(WORKERS), "--settings", str(settings))
    with ServerProcess(tmp_path / "models", *flags, command=FRESH) as server:
        for pid in pids(server):
            visible = [Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
            assert all(visible)
            assert not any(SECRET.encode() in text for text in visible)
        with connected(server) as stub:
            assert stub.Classify(image_request(), timeout=30).model == "tiny"


def test_no_count_of_a_finished_worker_is_lost(server: ServerProcess) -> None:
    for _ in range(12):
        with connected(server) as stub:
            stub.Classify(image_request(), timeout=30)
    os.kill(pids(server)[0], signal.SIGTERM)  # it reports a last time, at once
    requests = partial(sample, server, "convscope_requests_total", model="tiny", code="OK")
    wait_until(lambda: any(line["event"] == "worker replaced" for line in server.log))
    wait_until(lambda: requests() == 12)
