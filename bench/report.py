"""Write the results as JSON, a table and a plot."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.plot import draw
from bench.targets import PEER_NAMES, TARGETS, rows

__all__ = ["RESULTS", "merge", "write"]

RESULTS = Path(__file__).parent / "results"
# If more of the CPU is busy between measurements, the figures are unreliable.
QUIET_SHARE = 0.1
_MARKS = {True: "yes", False: "**no**", None: ""}
TRITON_NOTE = (
    "Triton runs with its Python backend. The wheel doesn't contain its C++ ONNX Runtime backend, "
    "which is known to reach 2.65 times the rate of an empty `grpc.aio` call on a tiny network. No "
    "Python server can reach that rate."
)


def merge(into: dict[str, Any], figures: dict[str, Any]) -> None:
    """Merge figures into a dict recursively."""
    for key, value in figures.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


def write(document: dict[str, Any], name: str) -> Path:
    """Write results/NAME.json, .md and .png; return the path of the table."""
    document["table"] = rows(document)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / name
    text = json.dumps(_rounded(document), indent=2, ensure_ascii=False)
    path.with_suffix(".json").write_text(text + "\n")
    path.with_suffix(".md").write_text("\n".join(_table(document)) + "\n")
    draw(document).save(path.with_suffix(".png"), optimize=True)
    return path.with_suffix(".md")


def _table(document: dict[str, Any]) -> Iterator[str]:
    machine, versions = document["machine"], document["versions"]
    yield (
        f"`make bench` on {machine['cores']} cores of {machine['cpu']}, "
        f"{machine['memory_gb']:g} GB; Python {versions['python']}, "
        f"ONNX Runtime {versions['onnxruntime']}, gRPC {versions['grpcio']}; "
        f"{document['date'][:10]}, commit {document['git_commit'][:10]}"
        f"{' with changes' if document['git_dirty'] else ''}, "
        f"{document['bench_seconds'] / 60:.0f} minutes."
    )
    if machine["taken_by_others"] > QUIET_SHARE:
        yield ""
        yield (
            f"**The machine was not quiet**: between measurements, other programs used up to "
            f"{machine['taken_by_others']:.0%} of it. The figures of such a run are unreliable."
        )
    yield ""
    yield "| key | what | must be | measured | reached |"
    yield "|---|---|---|---|---|"
    for row in document["table"]:
        if not row["key"].startswith("peers."):
            measured = _format(row["key"], row["value"])
            mark = "not measured" if row["value"] is None else _MARKS[row["reached"]]
            yield f"| `{row['key']}` | {row['what']} | {row['target']} | {measured} | {mark} |"
    yield ""
    yield from _peer_table(document)
    failures = document["failures"]
    if failures:
        yield ""
        yield from (f"- `{name}` not measured: {_line(r)}" for name, r in failures.items())


def _peer_table(document: dict[str, Any]) -> Iterator[str]:
    yield "Ours over the peer's, same ONNX file, same load; above 1 means that ours is faster."
    yield ""
    yield "| peer | protocol | jpeg | jpeg, peer with `draft` | tensor | tiny |"
    yield "|---|---|---|---|---|---|"
    by_key = {row["key"]: row for row in document["table"]}
    details = document["details"].get("peers", {})
    for peer in PEER_NAMES:
        cells = []
        for work in ("jpeg", "jpeg_draft", "tensor", "tiny"):
            row = by_key[f"peers.{peer}.{work}"]
            text = _format(row["key"], row["value"])
            cells.append(f"**{text}** (the peer is faster)" if _slower(row) else text)
        about = details.get(peer, {})
        name = " ".join(filter(None, (peer, about.get("version"))))
        yield f"| {name} | {about.get('protocol', '')} | {' | '.join(cells)} |"
    for peer in PEER_NAMES:
        for work, reason in details.get(peer, {}).get("not_run", {}).items():
            yield f"\n- {peer}, {work}: not run: {_line(reason)}"
    yield f"\n{TRITON_NOTE}"


def _line(reason: str) -> str:
    """Join the text into one line for a Markdown list."""
    return " ".join(reason.split())[:300]


def _slower(row: dict[str, Any]) -> bool:
    return row["value"] is not None and row["value"] <= 1.0


def _format(key: str, value: float | None) -> str:
    return "–" if value is None else f"{value:,.{TARGETS[key].digits}f}"


def _rounded(value: Any) -> Any:
    """Round every float to five significant digits."""
    if isinstance(value, dict):
        return {str(key): _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value
