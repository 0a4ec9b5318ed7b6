"""Results as tables, for a person."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import fmean

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from convscope.client.errors import ConvscopeError
from convscope.client.types import (
    Classification,
    ClassScore,
    Execution,
    FeatureMap,
    ModelInfo,
    ModelSummary,
    StageSeconds,
)

__all__ = ["Reporter", "print_model", "print_models"]

BAR_WIDTH = 20
EIGHTHS = " ▏▎▍▌▋▊▉"
STRONGEST_SHOWN = 5
LABELS_SHOWN = 10
_PROBABILITIES = {
    "softmax": "softmax, a sum of 1 over all classes",
    "sigmoid": "sigmoid, an independent probability for each class",
}
STAGES = ("decode", "queue", "infer", "encode")


@dataclass(frozen=True)
class _Row:
    """The shown part of a result; the feature maps themselves may be too large to keep."""

    image: str
    classes: tuple[ClassScore, ...]
    stage_seconds: StageSeconds
    feature_maps: list[tuple[str, str, str]]


class Reporter:
    """Collects results, and prints them as tables at the end."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._heading = Text()
        self._rows: list[_Row] = []
        self._saved: list[Path] = []

    def add(self, image: str, result: Classification, saved: Sequence[Path]) -> None:
        """Add a result and the paths of its pictures."""
        self._heading = Text.assemble(
            (f"{result.model} v{result.version}", "bold"), f" on {result.provider}"
        )
        feature_maps = [
            (name, _shape(feature_map.array.shape), _strongest(feature_map))
            for name, feature_map in result.feature_maps.items()
        ]
        self._rows.append(_Row(image, result.classes, result.stage_seconds, feature_maps))
        self._saved.extend(saved)

    def add_error(self, image: str, error: ConvscopeError) -> None:
        """Do nothing: the error output has the error."""

    def finish(self) -> None:
        """Print the results."""
        if not self._rows:
            return
        self._console.print(self._heading)
        self._console.print(_mean_times([row.stage_seconds for row in self._rows]))
        has_feature_maps = any(row.feature_maps for row in self._rows)
        if any(row.classes for row in self._rows) or not has_feature_maps:
            self._console.print(self._classes())
        if has_feature_maps:
            self._console.print(self._feature_maps())
        for path in self._saved:
            self._console.print(Text(f"saved {path}"), soft_wrap=True)

    def _classes(self) -> Table:
        table = _table()
        table.add_column("image", overflow="fold", ratio=2)
        table.add_column("class", overflow="fold", ratio=2)
        table.add_column("probability", no_wrap=True, width=BAR_WIDTH + 8)
        for name, row in zip(self._names(), self._rows, strict=True):
            for rank, score in enumerate(row.classes):
                table.add_row(name if rank == 0 else "", *self._class_cells(score, rank))
            if not row.classes:
                table.add_row(name, Text("no class", "dim"), "")
            if len(row.classes) > 1:
                table.add_section()
        return table

    def _class_cells(self, score: ClassScore, rank: int) -> tuple[Text, Text]:
        style, bar_style = ("bold", "green") if rank == 0 else ("", "dim")
        bar = _bar(score.probability, self._console)
        probability = Text.assemble((f"{score.probability:.4f}  ", style), (bar, bar_style))
        return Text(score.label, style), probability

    def _feature_maps(self) -> Table:
        table = _table()
        table.add_column("image", overflow="fold", ratio=2)
        table.add_column("feature map", overflow="fold", ratio=1)
        table.add_column("shape", no_wrap=True)
        table.add_column("strongest channels", ratio=1)
        for image_name, row in zip(self._names(), self._rows, strict=True):
            for index, (name, shape, strongest) in enumerate(row.feature_maps):
                table.add_row(image_name if index == 0 else "", Text(name), shape, strongest)
            table.add_section()
        return table

    def _names(self) -> list[Text]:
        """Return the file names of the images, or their paths if two names are equal."""
        paths = [row.image for row in self._rows]
        names = [Path(path).name for path in paths]
        return list(map(Text, names if len({*names}) == len({*paths}) else paths))


def print_models(summaries: Sequence[ModelSummary]) -> None:
    """Print a table of versions."""
    table = _table()
    table.add_column("model", overflow="fold")
    table.add_column("version", overflow="fold")
    table.add_column("input", no_wrap=True)
    table.add_column("classes", justify="right", no_wrap=True)
    table.add_column("maps", justify="right", no_wrap=True)
    table.add_column("runs on", overflow="fold")
    for summary in summaries:
        table.add_row(
            Text(summary.model, "bold"),
            Text(_version(summary, separator="\n")),
            "×".join(map(str, summary.input.shape)),
            f"{summary.num_classes:,}",
            str(len(summary.feature_maps)),
            _runs_on(summary),
        )
    Console(highlight=False).print(table)


def print_model(info: ModelInfo) -> None:
    """Print the full description of one version."""
    console = Console(highlight=False)
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _facts(info):
        facts.add_row(name, Text(value))
    console.print(Text.assemble((info.model, "bold"), f" {_version(info)}"))
    console.print(facts)
    if info.feature_maps:
        console.print(_feature_map_specs(info))


def _runs_on(version: ModelSummary | ModelInfo) -> str:
    instead = f" instead of {version.fallback_from}" if version.fallback_from else ""
    return f"{version.provider}{instead}, {version.precision}"


def _facts(info: ModelInfo) -> list[tuple[str, str]]:
    provenance, shown = info.provenance, info.labels[:LABELS_SHOWN]
    more = f", and {len(info.labels) - len(shown):,} more" if len(info.labels) > len(shown) else ""
    facts = [
        ("task", info.task.replace("_", " ")),
        ("input", f"{info.input.kind}, {info.input.dtype} {_shape(info.input.shape)}"),
        ("preprocessing", info.preprocessing),
        ("classes", f"{len(info.labels):,}: {', '.join(shown)}{more}" if shown else "none"),
        ("probabilities", _PROBABILITIES.get(info.activation, "")),
        ("not finite", _nonfinite(info)),
        ("runs on", _runs_on(info)),
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
    table = _table()
    for heading in ("feature map", "shape", "stride"):
        table.add_column(heading)
    for spec in info.feature_maps:
        shape = _shape((spec.channels, spec.height, spec.width))
        table.add_row(Text(spec.name), shape, f"{spec.stride:g}")
    return table


def _table() -> Table:
    return Table(box=box.SIMPLE, header_style="dim", pad_edge=False)


def _mean_times(times: Sequence[StageSeconds]) -> Text:
    means = ((stage, fmean(getattr(t, stage) for t in times)) for stage in STAGES)
    text = " · ".join(f"{stage} {1000 * seconds:.1f} ms" for stage, seconds in means)
    return Text(f"mean of {len(times)} images: {text}" if len(times) > 1 else text, "dim")


def _version(version: ModelSummary | ModelInfo, separator: str = " ") -> str:
    default = " (default)" if version.is_default else ""
    return separator.join([f"v{version.version}{default}", *version.aliases])


def _minute(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC" if time else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def _strongest(feature_map: FeatureMap) -> str:
    if not feature_map.channels:
        return "mean"
    positions = feature_map.strongest(STRONGEST_SHOWN)
    return ", ".join(str(feature_map.channels[position]) for position in positions)


def _bar(probability: float, console: Console) -> str:
    if not console.encoding.startswith("utf"):
        return "#" * round(probability * BAR_WIDTH)
    full, rest = divmod(round(probability * BAR_WIDTH * 8), 8)
    return "█" * full + EIGHTHS[rest].strip()
