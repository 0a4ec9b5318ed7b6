"""Everything that is asked of a bundle's files before a session is made of them.

Parsing and checking a graph holds the interpreter for up to seconds. Beside a
server that answers, it is done by a process of its own:

    python -m convscope.server.inspection DIRECTORY OUTPUT

which writes the graph that is to be run to OUTPUT, and on stdout, as JSON, why
the bundle is refused if it is. A graph that crashes the checker ends that
process, and not the server.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from convscope.server.bundle import Bundle, read_bundle
from convscope.server.errors import BundleRefusedError
from convscope.v1 import manifest_pb2 as pb

__all__ = ["Inspected", "inspect_apart", "inspect_bundle"]

TIMEOUT_SECONDS = 300.0
LOOK_SECONDS = 0.5
# Who waits for an answer goes first.
NICENESS = 10


@dataclass(frozen=True, slots=True)
class Inspected:
    """A bundle whose files are what its manifest says.

    Args:
        bundle: Where it lies.
        plain_graph: The ONNX graph without the outputs of feature maps; of a
            bank of filters, which has nothing else, the whole graph.
    """

    bundle: Bundle
    plain_graph: bytes


def inspect_bundle(directory: Path) -> Inspected:
    """Check the manifest, the hashes and the graph.

    Raises:
        BundleRefusedError: One of them isn't as it must be.
        OSError: A file can't be read.
    """
    # Here, so that a server that never checks a graph itself never loads the library.
    from convscope.server.graph import check_graph, parse_graph, without_feature_maps

    bundle = read_bundle(directory)
    data = bundle.read_graph()
    graph = parse_graph(data)
    check_graph(graph, bundle.manifest)
    classifies = bundle.manifest.task == pb.TASK_CLASSIFICATION
    return Inspected(bundle, without_feature_maps(graph, bundle.manifest) if classifies else data)


def inspect_apart(directory: Path, stopping: Callable[[], bool] = lambda: False) -> Inspected:
    """Do the same in a process of its own, which is ended if `stopping` becomes true.

    Raises:
        BundleRefusedError: As above, or the process crashed or took too long.
        OSError: A file can't be read, or no process can be had.
    """
    with tempfile.TemporaryDirectory(prefix="convscope-") as scratch:
        output = Path(scratch) / "plain.onnx"
        command = [sys.executable, "-m", __name__, str(directory), str(output)]
        verdict = json.loads(_run(command, stopping))
        if verdict is not None:
            raise BundleRefusedError(verdict["reason"], verdict["message"])
        return Inspected(read_bundle(directory), output.read_bytes())


def _run(command: Sequence[str], stopping: Callable[[], bool]) -> bytes:
    """Run the process and give what it says."""
    give_up_at = monotonic() + TIMEOUT_SECONDS
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        while True:
            try:
                said, _ = process.communicate(timeout=LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                if not stopping() and monotonic() < give_up_at:
                    continue
                process.kill()
                raise BundleRefusedError(
                    "graph", "checking the bundle took too long, or the server is to end"
                ) from None
            break
    if process.returncode != 0:
        raise BundleRefusedError(
            "graph", f"the process that checked the bundle ended with {process.returncode}"
        )
    return said


def main() -> None:
    """Inspect one bundle for another process."""
    directory, output = map(Path, sys.argv[1:])
    os.nice(NICENESS)
    verdict = None
    try:
        output.write_bytes(inspect_bundle(directory).plain_graph)
    except BundleRefusedError as error:
        verdict = {"reason": error.reason, "message": error.message}
    except OSError as error:
        verdict = {"reason": "files", "message": f"can't be read: {error.strerror}"}
    print(json.dumps(verdict))


if __name__ == "__main__":
    main()
