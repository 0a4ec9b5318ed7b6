"""The models of a server as tables, for a person."""

from collections.abc import Sequence
from datetime import datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from convscope.client.cli.table_style import plain_table, print_table, shape_text
from convscope.client.types import (
    Execution,
    ExplanationInfo,
    ModelInfo,
    ModelSummary,
    ProviderCandidate,
)

__all__ = ["print_model", "print_models"]

LABELS_SHOWN = 10
_PROBABILITIES = {
    "softmax": "softmax, a sum of 1 over all classes",
    "sigmoid": "sigmoid, an independent probability for each class",
}


def print_models(summaries: Sequence[ModelSummary]) -> None:
    """Print a table of versions."""
    table = plain_table()
    table.add_column("model", overflow="fold")
    table.add_column("version", overflow="fold")
    table.add_column("input", no_wrap=True)
    table.add_column("classes", justify="right", no_wrap=True)
    table.add_column("shows", no_wrap=True)
    table.add_column("runs on", overflow="fold")
    for summary in summaries:
        table.add_row(
            Text(summary.model, "bold"),
            Text(_version(summary, separator="\n")),
            "×".join(map(str, summary.input.shape)),
            f"{summary.num_classes:,}",
            _shows(summary),
            _runs_on(summary),
        )
    print_table(table)


def print_model(info: ModelInfo) -> None:
    """Print the full description of one version."""
    console = Console(highlight=False)
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _facts(info):
        facts.add_row(name, Text(value))
    console.print(Text.assemble((info.model, "bold"), f" {_version(info)}"))
    print_table(facts)
    if info.feature_maps:
        print_table(_feature_map_specs(info))


def _shows(summary: ModelSummary) -> str:
    """Return the number of feature maps, and how classes are explained by default."""
    maps = _count(len(summary.feature_maps), "map")
    return "\n".join([maps, *summary.explanation_methods[:1]])


def _runs_on(version: ModelSummary | ModelInfo) -> str:
    instead = f" instead of {version.fallback_from}" if version.fallback_from else ""
    computes = version.compute_precision
    lossy = f" computed in {computes}" if computes not in ("", "fp32", version.precision) else ""
    return f"{version.provider}{instead}, {version.precision}{lossy}"


def _facts(info: ModelInfo) -> list[tuple[str, str]]:
    provenance, shown = info.provenance, info.labels[:LABELS_SHOWN]
    more = f", and {len(info.labels) - len(shown):,} more" if len(info.labels) > len(shown) else ""
    facts = [
        ("task", info.task.replace("_", " ")),
        ("input", f"{info.input.kind}, {info.input.dtype} {shape_text(info.input.shape)}"),
        ("preprocessing", info.preprocessing),
        ("classes", f"{len(info.labels):,}: {', '.join(shown)}{more}" if shown else "none"),
        ("probabilities", _PROBABILITIES.get(info.activation, "")),
        ("not finite", _nonfinite(info)),
        ("explanations", _explanations(info.explanations)),
        ("runs on", _runs_on(info)),
        ("measured", ", ".join(_candidate(one) for one in info.candidates if not one.problem)),
        ("rejected", "\n".join(_candidate(one) for one in info.candidates if one.problem)),
        *_execution(info.execution),
        ("architecture", provenance.architecture),
        ("parameters", f"{provenance.parameters:,}" if provenance.parameters else ""),
        ("weights", provenance.weights),
        ("license", provenance.weights_license),
        ("dataset", provenance.dataset),
        ("exported", _minute(provenance.created_at)),
        ("parent", provenance.parent),
    ]
    facts += [(m.name, f"{m.value:.4f} on {m.split}") for m in provenance.metrics]
    return [(name, value) for name, value in facts if value]


def _nonfinite(info: ModelInfo) -> str:
    if not info.nonfinite_results:
        return ""
    inputs = ", ".join(info.nonfinite_inputs) or "some inputs"
    return f"NaN or infinity for {inputs}; the server reports an error for such an input"


def _explanations(offered: ExplanationInfo | None) -> str:
    if offered is None:
        return "none"
    methods = ", ".join(offered.methods)
    if not offered.positions:
        return methods
    return f"{methods}; heat {shape_text(offered.positions)} of {offered.tensor}"


def _candidate(one: ProviderCandidate) -> str:
    """Return what was measured on a provider, such as "openvino in bf16 81 images/s (1.93x)"."""
    name = one.provider + (f" in {one.compute_precision}" if one.compute_precision else "")
    if one.problem:
        return f"{name}: {one.problem}"
    return f"{name} {one.images_per_second:.3g} images/s ({one.relative_speed:.2f}x)"


def _execution(execution: Execution | None) -> list[tuple[str, str]]:
    if execution is None:
        return []
    runners, threads, lone = execution.runners, execution.threads, execution.lone_threads
    if runners == 0:
        how = "runs on the event loop itself"
    else:
        how = f"{_count(runners, 'runner')} of {_count(threads, 'thread')}"
        how += f", alone {_count(lone, 'thread')}" if lone not in (0, threads) else ""
        how += ", short batches on the event loop" if execution.inline else ""
    how += f"; batches of up to {_count(execution.max_batch, 'image')}"
    return [("execution", how), ("reason", execution.reason)]


def _feature_map_specs(info: ModelInfo) -> Table:
    table = plain_table()
    for heading in ("feature map", "shape", "stride"):
        table.add_column(heading)
    for spec in info.feature_maps:
        shape = shape_text((spec.channels, spec.height, spec.width))
        table.add_row(Text(spec.name), shape, f"{spec.stride:g}")
    return table


def _version(version: ModelSummary | ModelInfo, separator: str = " ") -> str:
    default = " (default)" if version.is_default else ""
    return separator.join([f"v{version.version}{default}", *version.aliases])


def _minute(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC" if time else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
