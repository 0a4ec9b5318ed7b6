"""Log lines when nobody reads them: dropped and counted, and the server goes on."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import grpc
import pytest
from support.calls import LOOPBACK, health, image_request, sample, wait_until
from support.server import ServerProcess

from convscope.server.observability.log_writer import FLUSH_SECONDS, MAX_WAITING_BYTES, LogWriter
from convscope.v1 import inference_pb2 as pb
from convscope.v1 import inference_pb2_grpc

CALLS = 5000
DROPPED = "convscope_log_lines_dropped_total"
LINE = b"x" * 999 + b"\n"
# More than fit into the queue, a pipe and the writer's hands.
TOO_MANY = 3 * MAX_WAITING_BYTES // len(LINE)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe's ends, to read and to write."""
    ends = os.pipe()
    yield ends
    for end in ends:
        with suppress(OSError):  # the test has closed it
            os.close(end)


def report(lines: int) -> bytes:
    return b"%d lines dropped\n" % lines


def read_all(end: int, write_end: int, *writers: LogWriter) -> bytes:
    """Read what is written until the writers are closed."""
    chunks: list[bytes] = []

    def read() -> None:
        while chunk := os.read(end, 5000):
            chunks.append(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    for writer in writers:
        writer.close()
    os.close(write_end)
    reader.join()
    return b"".join(chunks)


def test_lines_are_written_in_order(pipe: tuple[int, int]) -> None:
    writer = LogWriter(pipe[1], report)
    for number in range(5000):
        writer.write(b"%d\n" % number)
    lines = read_all(pipe[0], pipe[1], writer).splitlines()
    assert lines == [b"%d" % number for number in range(5000)]
    assert writer.dropped == 0


def test_lines_of_many_threads_are_whole(pipe: tuple[int, int]) -> None:
    writer = LogWriter(pipe[1], report)

    def write(name: bytes) -> None:
        for number in range(500):
            writer.write(b"%s %d\n" % (name, number))

    threads = [threading.Thread(target=write, args=(name,)) for name in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = read_all(pipe[0], pipe[1], writer).splitlines()
    assert len(lines) == 1500
    for name in (b"a", b"b", b"c"):
        mine = [line for line in lines if line.startswith(name)]
        assert mine == [b"%s %d" % (name, number) for number in range(500)]


def test_lines_of_two_processes_on_one_pipe_are_whole(pipe: tuple[int, int]) -> None:
    writers = [LogWriter(pipe[1], report) for _ in range(2)]
    lines = [name * 99 + b"\n" for name in (b"a", b"b")]
    for _ in range(3000):
        for writer, line in zip(writers, lines, strict=True):
            writer.write(line)
    text = read_all(pipe[0], pipe[1], *writers)
    assert sorted(text.splitlines(keepends=True)) == [lines[0]] * 3000 + [lines[1]] * 3000


def numbered(number: int) -> bytes:
    return b"%d %s" % (number, LINE)


def check_gaps(lines: list[bytes]) -> int:
    """Check that a report fills each gap in the numbers; return how many lines there were."""
    expected = 0
    for line in lines:
        number, text = line.split(maxsplit=1)
        if text.strip() == b"lines dropped":
            expected += int(number)
        else:
            assert int(number) == expected
            expected += 1
    return expected


def test_gap_is_reported_in_its_place(pipe: tuple[int, int]) -> None:
    writer = LogWriter(pipe[1], report)
    for number in range(TOO_MANY):
        writer.write(numbered(number))  # returns, though nobody reads
    assert 0 < writer.dropped < TOO_MANY
    assert check_gaps(read_all(pipe[0], pipe[1], writer).splitlines()) == TOO_MANY


def test_lines_after_a_gap_follow_its_report(pipe: tuple[int, int]) -> None:
    writer = LogWriter(pipe[1], report)
    for number in range(TOO_MANY):
        writer.write(numbered(number))
    dropped, lines = writer.dropped, list[bytes]()
    with os.fdopen(os.dup(pipe[0]), "rb") as reader:
        while sum(line.endswith(LINE) for line in lines) < TOO_MANY - dropped:
            lines.append(reader.readline())
        writer.write(numbered(TOO_MANY))
        lines += iter(reader.readline, numbered(TOO_MANY))
    assert check_gaps(lines) == TOO_MANY
    writer.close()


def test_closing_does_not_wait_for_a_reader_who_never_reads(pipe: tuple[int, int]) -> None:
    writer = LogWriter(pipe[1], report)
    for _ in range(TOO_MANY):
        writer.write(LINE)
    closer = threading.Thread(target=writer.close)
    closer.start()
    closer.join(10 * FLUSH_SECONDS)
    assert not closer.is_alive()


def test_reader_that_is_gone_costs_lines_only(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    writer = LogWriter(pipe[1], report)
    for _ in range(10):
        writer.write(LINE)
    wait_until(lambda: writer.dropped == 10)
    writer.write(LINE)
    wait_until(lambda: writer.dropped == 11)  # and no more: the report is no line of the server
    writer.close()
    assert writer.dropped == 11


def test_lines_lost_to_a_full_disk_are_reported_once_there_is_space(
    pipe: tuple[int, int],
) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    writer = LogWriter(full, report)
    writer.write(LINE)
    wait_until(lambda: writer.dropped == 1)
    os.dup2(pipe[1], full)  # now there is space
    writer.write(b"again\n")
    text = read_all(pipe[0], _both(full, pipe[1]), writer)
    assert text == b"1 lines dropped\nagain\n"


def _both(first: int, second: int) -> int:
    os.close(second)
    return first


def test_file_that_another_process_made_non_blocking_is_waited_for(pipe: tuple[int, int]) -> None:
    fcntl.fcntl(pipe[1], fcntl.F_SETFL, os.O_NONBLOCK)
    writer = LogWriter(pipe[1], report)
    lines = 500  # more than fit into the pipe, and fewer than into the queue
    for _ in range(lines):
        writer.write(LINE)
    assert read_all(pipe[0], pipe[1], writer) == LINE * lines
    assert writer.dropped == 0


# A real server


@contextmanager
def serving(repository: Path) -> Iterator[tuple[ServerProcess, IO[bytes]]]:
    """A server whose log is read until it serves, and then only by the test."""
    flags = ("--models", str(repository), *LOOPBACK, "--no-tuning", "--drain-seconds", "0")
    process = subprocess.Popen(
        [sys.executable, "-m", "convscope.server", *flags], stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        line: dict[str, Any] = {}
        while line.get("event") != "serving":
            line = json.loads(process.stderr.readline())
        yield reached(process, line["grpc_port"], line["metrics_port"]), process.stderr
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)
        process.stderr.close()


def reached(process: "subprocess.Popen[bytes]", grpc_port: int, metrics_port: int) -> ServerProcess:
    """A server that was started otherwise, for the functions that call one."""
    server = ServerProcess.__new__(ServerProcess)
    server.process = process  # type: ignore[assignment]
    server.target = f"127.0.0.1:{grpc_port}"
    server.metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
    return server


def call_again_and_again(server: ServerProcess, calls: int) -> set[grpc.StatusCode]:
    """Make calls that are logged with long lines; their codes."""
    request = pb.ClassifyRequest(model="nobody" * 200, inputs=[pb.Input(encoded_image=b"x")])
    codes: set[grpc.StatusCode] = set()
    with grpc.insecure_channel(server.target) as channel:
        stub = inference_pb2_grpc.ClassifierServiceStub(channel)
        for _ in range(calls // 50):
            futures = [
                stub.Classify.future(request, timeout=30, metadata=(("x-request-id", "i" * 128),))
                for _ in range(50)
            ]
            codes |= {future.code() for future in futures}
        assert stub.Classify(image_request(), timeout=30).model == "tiny"
    return codes


def test_server_whose_log_nobody_reads_goes_on(tiny_repository: Path) -> None:
    with serving(tiny_repository) as (server, log):
        assert call_again_and_again(server, CALLS) == {grpc.StatusCode.NOT_FOUND}
        assert health(server) == "SERVING"
        dropped = sample(server, DROPPED)
        assert dropped > 0
        # Once the pipe is read there are lines again, and one that tells of the gap.
        events: list[dict[str, Any]] = []
        reader = threading.Thread(target=lambda: events.extend(map(json.loads, log)))
        reader.start()
        wait_until(lambda: any(line["event"] == "log lines dropped" for line in events))
        with grpc.insecure_channel(server.target) as channel:
            stub = inference_pb2_grpc.ClassifierServiceStub(channel)
            stub.Classify(image_request(), timeout=30, metadata=(("x-request-id", "after"),))
        wait_until(lambda: any(line.get("request_id") == "after" for line in events))
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        reader.join()
    assert events[-1]["event"] == "stopped"
    gap = sum(line["lines"] for line in events if line["event"] == "log lines dropped")
    assert gap >= dropped
    calls = [line for line in events if line["event"] == "call" and line["method"] == "Classify"]
    assert len(calls) + gap >= CALLS + 2


def test_server_whose_reader_is_gone_goes_on(tiny_repository: Path) -> None:
    with serving(tiny_repository) as (server, log):
        log.close()
        assert call_again_and_again(server, 500) == {grpc.StatusCode.NOT_FOUND}
        assert health(server) == "SERVING"
        wait_until(lambda: sample(server, DROPPED) >= 500)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_server_whose_disk_is_full_goes_on(tiny_repository: Path, workers: str) -> None:
    grpc_port, metrics_port = unused_ports(2)
    addresses: tuple[str, ...] = ("--grpc-address", f"127.0.0.1:{grpc_port}")
    addresses += ("--metrics-address", f"127.0.0.1:{metrics_port}")
    flags = ("--models", str(tiny_repository), *addresses, "--no-tuning", "--drain-seconds", "0")
    flags += ("--workers", workers)
    with Path("/dev/full").open("wb") as full:
        process = subprocess.Popen([sys.executable, "-m", "convscope.server", *flags], stderr=full)
    server = reached(process, grpc_port, metrics_port)
    try:
        with grpc.insecure_channel(server.target) as channel:
            grpc.channel_ready_future(channel).result(60)
        wait_until(lambda: health(server) == "SERVING")
        assert call_again_and_again(server, 500) == {grpc.StatusCode.NOT_FOUND}
        wait_until(lambda: sample(server, DROPPED) >= 500)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait(30)


def unused_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in taken]


# The end


def test_reason_of_a_failed_start_follows_the_lines_before_it(tmp_path: Path) -> None:
    (tmp_path / "broken" / "1").mkdir(parents=True)
    (tmp_path / "broken" / "1" / "manifest.json").write_text("{}")
    done = subprocess.run(
        [sys.executable, "-m", "convscope.server", "--models", str(tmp_path), *LOOPBACK],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    *before, last = done.stderr.splitlines()
    assert last.startswith("error: ")
    assert before
    assert all("event" in json.loads(line) for line in before)


THREAD = """
import threading
from convscope.server.observability.logs import configure_logs
writer = configure_logs()
secret = "a recognisable value"
thread = threading.Thread(target=lambda: {}["missing"], name="worker of a library")
thread.start()
thread.join()
writer.close()
"""
LIBRARY = """
import asyncio, logging, warnings
from convscope.server.observability.logs import configure_logs
writer = configure_logs()
logging.getLogger("some.library").warning("Dropped %d things", 3)
warnings.warn("this is slow")
class Fragile:
    def __del__(self):
        {}["missing"]
Fragile()
async def main():
    asyncio.get_running_loop().call_soon(lambda: {}["missing"])
    await asyncio.sleep(0)
asyncio.run(main())
writer.close()
"""


def lines_of(program: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_exception_that_ends_a_thread_is_a_log_line() -> None:
    (line,) = lines_of(THREAD)
    expected = {"event": "unexpected error in a thread", "thread": "worker of a library"}
    assert expected.items() <= line.items()
    assert line["exception"][0]["exc_type"] == "KeyError"


def test_warnings_and_errors_that_python_writes_itself_are_log_lines() -> None:
    library, warning, finalizer, loop = lines_of(LIBRARY)
    assert (library["library"], library["reason"]) == ("some", "Dropped 3 things")
    assert "UserWarning: this is slow" in warning["reason"]
    assert finalizer["event"] == "unexpected error in a finalizer or callback"
    assert finalizer["exception"][0]["exc_type"] == "KeyError"
    assert (loop["library"], loop["level"]) == ("asyncio", "error")
    assert loop["exception"][0]["exc_type"] == "KeyError"
