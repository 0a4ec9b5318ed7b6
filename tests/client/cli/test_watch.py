"""`convscope watch` and `convscope bench` against real servers."""

import os
import pty
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from support.commands import Command
from support.server import ServerProcess

pytestmark = pytest.mark.one_transport("shows versions in a terminal")

CONVSCOPE = (sys.executable, "-m", "convscope")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*CONVSCOPE, *arguments], capture_output=True, text=True, check=False)


def test_bench_reports_what_it_sent(tiny_server: ServerProcess, photos: dict[str, Path]) -> None:
    command: tuple[str | Path, ...] = (
        "bench",
        *photos.values(),
        "--model",
        "tiny",
        "--requests",
        "30",
    )
    done = Command(tiny_server.target)(*command)
    assert done.returncode == 0, done.stderr
    assert "tiny v1 on cpu at" in done.stdout
    assert "answered  30, " in done.stdout
    assert "failed    0" in done.stdout
    for word in ("min ", "p50 ", "p90 ", "p99 ", "max ", "decode ", "of one core", "█"):
        assert word in done.stdout
    (report,) = Command(tiny_server.target).json(*command, "--rate", "200")
    assert (report["answered"], report["errors"], report["not_sent"]) == (30, {}, 0)
    latency = report["latency_seconds"]
    assert 0 < latency["min"] <= latency["p50"] <= latency["p99"] <= latency["max"]
    assert report["server_stage_seconds"]["infer"] > 0


def test_bench_of_an_unknown_model_is_one_error(
    tiny_server: ServerProcess, photos: dict[str, Path]
) -> None:
    done = Command(tiny_server.target)("bench", photos["red"], "--model", "missing")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")


def test_bench_takes_the_sources_of_classify(
    tiny_server: ServerProcess, photos: dict[str, Path], tmp_path: Path
) -> None:
    for name, photo in photos.items():
        path = tmp_path / "photos" / name / "1.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(photo.read_bytes())
    listed = tmp_path / "list"
    listed.write_text(f"{photos['red']}\n")
    command = Command(tiny_server.target)
    options = ("--model", "tiny", "--requests", "9")
    for images in (
        ("-r", tmp_path / "photos"),
        (f"{tmp_path}/photos/*/*.png",),
        ("--from-file", listed),
    ):
        (report,) = command.json("bench", *images, *options)
        assert (report["answered"], report["errors"]) == (9, {})


def test_bench_names_the_image_that_fails(
    tiny_server: ServerProcess, photos: dict[str, Path], tmp_path: Path
) -> None:
    notes = tmp_path / "notes\n.png"
    notes.write_text("not a photo")
    command = Command(tiny_server.target)
    options = ("--model", "tiny", "--requests", "8")
    first = command("bench", notes, photos["red"], *options)
    assert (first.returncode, first.stdout) == (1, "")
    assert first.stderr.startswith(rf"error: {tmp_path}/notes\n.png: ")
    later = command("bench", photos["red"], notes, *options)
    assert later.returncode == 2  # some failed
    assert rf"first: {tmp_path}/notes\n.png: " in later.stdout
    for missing in (tmp_path / "missing.png", tmp_path):
        done = command("bench", missing, *options)
        assert (done.returncode, done.stdout) == (64, "")
        assert str(missing) in done.stderr


def test_watch_prints_a_line_for_each_version(
    tiny_server: ServerProcess, photos: dict[str, Path]
) -> None:
    address = tiny_server.metrics_url.split("/")[2]
    command = [*CONVSCOPE, "watch", address, "--interval", "0.2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        watching.stdout.readline()  # the first interval has ended
        bench = ("bench", photos["red"], "--model", "tiny", "--requests", "20")
        assert Command(tiny_server.target)(*bench).returncode == 0
        line = ""
        while " tiny " not in line or "requests/s=0.0" in line:
            line = watching.stdout.readline()
        assert " tiny v1 requests/s=" in line
        assert "p50=" in line
        assert "memory=" in line
        watching.send_signal(signal.SIGINT)
        watching.stdout.read()
    assert watching.returncode == 0


def test_watch_redraws_a_terminal(tiny_server: ServerProcess) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
        command = [*CONVSCOPE, "watch", tiny_server.metrics_url, "--interval", "0.2"]
        os.execv(sys.executable, command)
    shown, end = b"", time.monotonic() + 60
    while shown.count(b"requests/s") < 2 and time.monotonic() < end:
        shown += os.read(terminal, 65536)
    os.kill(pid, signal.SIGINT)
    while True:
        try:
            if not os.read(terminal, 65536):
                break
        except OSError:  # the terminal is closed
            break
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert b"tiny" in shown
    assert b"memory" in shown


def test_watch_of_another_port_is_an_error(tiny_server: ServerProcess) -> None:
    for address in (tiny_server.target, "127.0.0.1:1"):
        done = run("watch", address, "--once")
        assert (done.returncode, done.stdout) == (1, "")
        assert address in done.stderr
        assert "--metrics-address, by default port 8002" in " ".join(done.stderr.split())


def test_landing_page_of_the_metrics_port(tiny_server: ServerProcess) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(tiny_server.metrics_url.removesuffix("metrics"), timeout=10) as reply:
        page = reply.read().decode()
    assert '<a href="/metrics">' in page
    assert reply.headers["Content-Type"] == "text/html; charset=utf-8"
