"""Write the results as JSON, a table and a plot."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from bench.plot import draw
from bench.sampling import GENERATOR_CORES, QUIET_SHARE
from bench.targets import PEER_NAMES, TARGETS, rows

__all__ = ["RESULTS", "page", "rounded", "write"]

RESULTS = Path(__file__).parent / "results"
_MARKS = {"no": "**no**", "desired": "yes, desired"}
_HEAD = """
| key | what | required | desired | measured | spread | CPU per call | reached |
|---|---|---|---|---|---|---|---|"""
METHOD = (
    "Default settings, with the access log on. A figure is the median over interleaved pairs, and "
    "its spread is the smallest and the largest pair. The CPU time per call is that of the "
    f"server's processes. A pair counts only if other programs used at most {QUIET_SHARE:.0%} of "
    "the machine in each of its windows. The load generator runs on the same cores and competes "
    "with the server for them."
)
PEERS_INTRO = (
    "Calls per second of Convscope, relative to each peer, with the same ONNX file and the same "
    "load. Above 1, Convscope is faster."
)
TRITON_NOTE = (
    "Triton runs with its Python backend. The wheel doesn't contain its C++ ONNX Runtime backend, "
    "which is known to reach 2.65 times the rate of an empty `grpc.aio` call on a tiny network."
)


def write(document: dict[str, Any], name: str) -> Path:
    """Write results/NAME.json, .md and .png; return the path of the table.

    Only the table of a whole run, which is named latest, has rows without figures.
    """
    table = rows(document["figures"])
    document["table"] = [row for row in table if name == "latest" or row["value"] is not None]
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / name
    text = json.dumps(rounded(document), indent=2, ensure_ascii=False)
    path.with_suffix(".json").write_text(text + "\n")
    path.with_suffix(".md").write_text(page(document))
    draw(document).save(path.with_suffix(".png"), optimize=True)
    return path.with_suffix(".md")


def page(document: Mapping[str, Any]) -> str:
    """Return the results as Markdown."""
    return "\n".join(_lines(document)) + "\n"


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    machine, versions = document["machine"], document["versions"]
    yield (
        f"`make bench` on {machine['cores']} cores of {machine['cpu']}, "
        f"{machine['memory_gb']:g} GB; Python {versions['python']}, "
        f"ONNX Runtime {versions['onnxruntime']}, gRPC {versions['grpcio']}; "
        f"{document['date'][:10]}, commit {document['git_commit'][:10]}"
        f"{' with changes' if document['git_dirty'] else ''}, "
        f"{document['bench_seconds'] / 60:.0f} minutes."
    )
    if document["quick"]:
        yield "\n**A quick run, which only checks that the bench works. Its figures mean nothing.**"
    yield f"\n{METHOD}"
    peers = [row for row in document["table"] if row["key"].startswith("peers.")]
    if own := [row for row in document["table"] if row not in peers]:
        yield from _table(own)
    if peers:
        yield f"\n{PEERS_INTRO}"
        yield from _table(peers)
        yield ""
        yield from _peers(document["details"].get("peers", {}))
    if notes := list(_notes(document)):
        yield ""
        yield from notes


def _table(table: list[dict[str, Any]]) -> Iterator[str]:
    yield _HEAD
    for row in table:
        cells = (
            f"`{row['key']}`",
            row["what"],
            row["required"],
            row["desired"],
            _number(row, "value") or "–",
            _spread(row),
            _cpu(row),
            _MARKS.get(row["reached"], row["reached"]),
        )
        yield f"| {' | '.join(cells)} |"


def _number(row: Mapping[str, Any], field: str) -> str:
    value = row.get(field)
    return "" if value is None else f"{value:,.{TARGETS[row['key']].digits}f}"


def _spread(row: Mapping[str, Any]) -> str:
    low, high = _number(row, "low"), _number(row, "high")
    return f"{low}–{high}" if low else ""


def _cpu(row: Mapping[str, Any]) -> str:
    """Format the CPU time per call, of each side if there are two."""
    cpu = row.get("cpu_us", {})
    if len(cpu) == 1:
        return _duration(*cpu.values())
    return ", ".join(f"{_words(side)} {_duration(us)}" for side, us in cpu.items())


def _duration(microseconds: float) -> str:
    if microseconds >= 1000:
        return f"{microseconds / 1000:.1f} ms"
    return f"{microseconds:.0f} µs"


def _words(side: str) -> str:
    return side.replace("_", " ")


def _peers(details: Mapping[str, Any]) -> Iterator[str]:
    """List the version and the configuration of each peer, and why it was not run."""
    for peer in PEER_NAMES:
        about = details.get(peer, {})
        if "version" in about:
            note = f" {TRITON_NOTE}" if peer == "triton" else ""
            package, version = about["distribution"], about["version"]
            yield f"- {peer} ({package} {version}): {about['protocol']}; {about['setting']}.{note}"
        for work, reason in about.get("not_run", {}).items():
            yield f"- {peer}, {work}: not measured: {_line(reason)}"


def _notes(document: Mapping[str, Any]) -> Iterator[str]:
    for name, reason in document["failures"].items():
        yield f"- `{name}`: not measured: {_line(reason)}"
    for row in document["table"]:
        for side, cores in row.get("busy_generators", {}).items():
            yield (
                f"- `{row['key']}`, {_words(side)}: the load generator used {cores:.0%} of a core, "
                f"more than {GENERATOR_CORES:.0%}. It may have been the bottleneck."
            )


def _line(reason: str) -> str:
    """Join the text into one line for a Markdown list."""
    return " ".join(reason.split())[:300]


def rounded(value: Any) -> Any:
    """Round every float to five significant digits."""
    if is_dataclass(value) and not isinstance(value, type):
        return rounded(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value
