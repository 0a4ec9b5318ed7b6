"""Print the lengths of modules and functions and the total lines of each room, as Markdown.

    python scripts/code_size.py [DIR]

DIR is a checkout; the default is the one that holds this script. Generated stubs are left out.
A length is a number of lines, from the first line of a function or module to its last. Decorators
do not count. A nested function counts on its own and as a part of the function around it.
"""

import ast
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("bundle", "client", "server", "exporter", "web", "tests", "bench", "deploy")
GENERATED = ("*_pb2.py", "*_pb2_grpc.py")
HEADING = (
    "| room | lines | modules | module median / p90 / longest "
    "| functions | function median / p90 / longest |"
)


def main() -> None:
    """Print the table."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT
    print(HEADING)
    print("|---|---|---|---|---|---|")
    for room in ROOMS:
        if (root / room).is_dir():
            print(row(room, list(sources(root / room))))


def sources(room: Path) -> Iterator[str]:
    """Read every module of a room that was written by hand and is not empty."""
    for path in sorted(room.rglob("*.py")):
        if not any(path.match(pattern) for pattern in GENERATED) and path.stat().st_size:
            yield path.read_text()


def row(room: str, texts: Sequence[str]) -> str:
    """Return the room's row of the table."""
    modules = [len(text.splitlines()) for text in texts]
    functions = [length for text in texts for length in function_lengths(text)]
    cells = [
        room,
        f"{sum(modules):,}",
        f"{len(modules):,}",
        summary(modules),
        f"{len(functions):,}",
        summary(functions),
    ]
    return f"| {' | '.join(cells)} |"


def function_lengths(text: str) -> Iterator[int]:
    """Count the lines of every function and method in a module."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            yield node.end_lineno - node.lineno + 1


def summary(lengths: Sequence[int]) -> str:
    """Return the median, the 90th percentile and the maximum."""
    if len(lengths) < 2:
        return " / ".join(map(str, lengths)) or "–"
    p90 = statistics.quantiles(lengths, n=10, method="inclusive")[-1]
    return f"{statistics.median(lengths):.0f} / {p90:.0f} / {max(lengths)}"


if __name__ == "__main__":
    main()
