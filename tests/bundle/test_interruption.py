"""A killed process, or a full disk, leaves a repository whole."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.tiny import write_tiny

from convscope.bundle import aliases
from convscope.bundle.layout import LISTED_FILES
from convscope.bundle.opening import open_repository
from convscope.bundle.publishing import prepare, publish
from convscope.bundle.reader import read_bundle

KILLS = 50
# The latest moment of a kill, in publications: so a slow disk gets its kills in between too.
LATEST_KILL = 6

# Imports once, and then starts a process for each line, so that 50 kills take seconds.
WORKER = """
import os, sys
from itertools import count
from pathlib import Path
from convscope.bundle import aliases, pruning
from convscope.bundle.opening import open_repository
from convscope.bundle.publishing import prepare, publish
from convscope.bundle.reader import read_bundle

bundle, repository, work = read_bundle(Path(sys.argv[1])), open_repository(sys.argv[2]), sys.argv[3]
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if child:
        print(child, flush=True)
        os.waitpid(child, 0)
        print("ended", flush=True)
        continue
    for number in count(int(line)):
        if work == "promote":
            aliases.promote(repository, "tiny", 1 + number % 2, "champion")
            continue
        publish(repository, prepare(bundle, number))
        if work == "prune":
            pruning.prune(repository, "tiny", 1)
"""

# The whole command, in a process that may write no file larger than so many bytes.
LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
from convscope.exporter.__main__ import main
main()
"""


def versions(repository: Path) -> list[Path]:
    """Every directory that a reader takes for a version."""
    return [path for path in (repository / "tiny").iterdir() if path.name.isdecimal()]


def check_whole(directory: Path) -> None:
    bundle = read_bundle(directory)
    for name in LISTED_FILES:
        bundle.read_file(name)


def seconds_of_a_publication(bundle: Path) -> float:
    with tempfile.TemporaryDirectory(dir=bundle.parent) as elsewhere:
        begun = time.perf_counter()
        publish(open_repository(elsewhere), prepare(read_bundle(bundle)))
        return time.perf_counter() - begun


def kill_at_random(bundle: Path, repository: Path, work: str) -> Iterator[None]:
    """Start the work and kill it, again and again; what is there is looked at in between."""
    moments, longest_seconds = random.Random(0), LATEST_KILL * seconds_of_a_publication(bundle)
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(bundle), str(repository), work],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for _ in range(KILLS):
            first = max((int(path.name) for path in versions(repository)), default=0) + 1
            process.stdin.write(f"{first}\n")
            child = int(process.stdout.readline())
            time.sleep(moments.uniform(0, longest_seconds))
            os.kill(child, signal.SIGKILL)
            assert process.stdout.readline() == "ended\n"
            yield
        process.stdin.close()


@pytest.mark.slow(seconds=5)
def test_a_killed_publisher_leaves_no_version_that_is_not_whole(tmp_path: Path) -> None:
    bundle, repository = write_tiny(tmp_path / "source"), tmp_path / "target"
    (repository / "tiny").mkdir(parents=True)
    checked: set[Path] = set()
    for _ in kill_at_random(bundle, repository, "publish"):
        fresh = set(versions(repository)) - checked
        for directory in fresh:
            check_whole(directory)
        checked |= fresh
    left = [path for path in (repository / "tiny").iterdir() if path.name.startswith(".tmp-")]
    assert checked
    assert left, "no kill came while a version was being written"


@pytest.mark.slow(seconds=5)
def test_a_killed_pruner_leaves_no_version_that_is_not_whole(tmp_path: Path) -> None:
    bundle, repository = write_tiny(tmp_path / "source"), tmp_path / "target"
    (repository / "tiny").mkdir(parents=True)
    latest = 0
    for _ in kill_at_random(bundle, repository, "prune"):
        found = versions(repository)
        for directory in found:
            check_whole(directory)
        numbers = [int(path.name) for path in found]
        assert max(numbers, default=0) >= latest
        latest = max(numbers, default=0)
    assert latest


@pytest.mark.slow(seconds=5)
def test_a_killed_promotion_leaves_aliases_that_can_be_read(tmp_path: Path) -> None:
    bundle = write_tiny(tmp_path)
    write_tiny(tmp_path, version=2)
    repository = open_repository(str(tmp_path))
    aliases.promote(repository, "tiny", 1, "champion")
    seen: set[int] = set()
    for _ in kill_at_random(bundle, tmp_path, "promote"):
        seen.add(aliases.read_aliases(repository, "tiny")["champion"])
    assert seen == {1, 2}
    switch = aliases.go_back(repository, "tiny", "champion")
    assert {switch.before, switch.after} == {1, 2}


def publish_limited(
    bundle: Path, target: Path, limit_bytes: int
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", LIMITED, str(limit_bytes), "publish", str(bundle), str(target)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("existing", [False, True], ids=["first version", "second version"])
def test_a_file_that_cannot_be_written_whole_publishes_nothing(
    tmp_path: Path, existing: bool
) -> None:
    bundle, target = write_tiny(tmp_path / "source", version=2), tmp_path / "target"
    before = [write_tiny(target)] if existing else []
    done = publish_limited(bundle, target, (bundle / "golden.npz").stat().st_size // 2)
    assert done.returncode == 1
    assert f"{target}/tiny/2 can't be written: File too large; nothing was published" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(target.glob("*/*")) == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk too small for a bundle."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk, and not everywhere")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_publishes_nothing(tmp_path: Path, small_disk: Path) -> None:
    bundle = write_tiny(tmp_path / "source")
    command = [sys.executable, "-m", "convscope.exporter", "publish", str(bundle), str(small_disk)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "can't be written: No space left on device; nothing was published" in done.stderr
    assert list(small_disk.iterdir()) == []
