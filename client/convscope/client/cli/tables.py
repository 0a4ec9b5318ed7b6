"""Results as tables, for a person."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from rich.console import Console
from rich.table import Table
from rich.text import Text

from convscope.client.cli.readable import readable
from convscope.client.cli.short_names import ShortName, short_names
from convscope.client.cli.sources.source import Source
from convscope.client.cli.table_style import plain_table, print_table, shape_text, table_console
from convscope.client.errors import ConvscopeError
from convscope.client.types import (
    Classification,
    ClassScore,
    Explanation,
    FeatureMap,
    StageSeconds,
)

__all__ = ["Reporter"]

BAR_WIDTH = 20
NARROW = 60  # on a terminal with fewer columns, bars would take the place of names
EIGHTHS = " ▏▎▍▌▋▊▉"
STRONGEST_SHOWN = 5
MAX_ROWS = 500  # images in one table, which are held in memory
HARDLY_EXPLAINED = (
    "Where the sum of the heat is far from the logit, the layers behind it hide where the evidence "
    "is. Try: --method occlusion"
)
MIN_SHARE = 0.5
STAGES = ("decode", "queue", "infer", "encode")


@dataclass(frozen=True)
class _Row:
    """The shown part of a result; the feature maps themselves may be too large to keep."""

    image: str
    shown: str
    classes: tuple[ClassScore, ...]
    stage_seconds: StageSeconds
    feature_maps: list[tuple[str, str, str]]
    explanations: list[tuple[str, str, str, str]]
    is_hardly_explained: bool  # whether the sum of some heat is far from the logit


class Reporter:
    """Collects results, and prints them as tables: at the end, and while there are many.

    Args:
        quiet: Whether the times of the server are left out.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._console = table_console()
        self._bar_width = BAR_WIDTH if self._console.width >= NARROW else 0
        self._heading = Text()
        self._rows: list[_Row] = []
        self._images = 0
        self._is_continued = False  # after tables of earlier images
        self._saved: list[Path] = []  # of a single image; the summary counts those of several

    def add(self, source: Source, result: Classification, saved: Sequence[Path]) -> None:
        """Add a result and the paths of its pictures."""
        self._heading = Text.assemble(
            (f"{result.model} v{result.version}", "bold"), f" on {result.provider}"
        )
        feature_maps = [
            (name, shape_text(feature_map.array.shape), _strongest(feature_map))
            for name, feature_map in result.feature_maps.items()
        ]
        if result.explanations:
            self._heading.append(f", explained by {result.explanations[0].method}")
        explanations = list(map(_explanation_cells, result.explanations))
        hardly = any(map(_is_hardly_explained, result.explanations))
        row = _Row(
            source.name,
            source.shown or source.name,
            result.classes,
            result.stage_seconds,
            feature_maps,
            explanations,
            hardly,
        )
        self._rows.append(row)
        self._images += 1
        self._saved = [] if self._images > 1 else list(saved)
        if len(self._rows) == MAX_ROWS:
            self.finish()
            self._rows.clear()
            self._is_continued = True

    def add_error(self, source: Source, error: ConvscopeError) -> None:
        """Do nothing: the error output has the error."""

    def finish(self) -> None:
        """Print the results since the last time."""
        if not self._rows:
            return
        if self._is_continued:
            self._console.print()
        self._console.print(self._heading)
        if not self._quiet:
            self._console.print(_mean_times([row.stage_seconds for row in self._rows]))
        for table in self._tables():
            print_table(table, self._console)
        notes = [Text(f"saved {readable(str(path))}") for path in self._saved]
        if any(row.is_hardly_explained for row in self._rows):
            notes.append(Text(HARDLY_EXPLAINED, "dim"))
        if notes:
            self._console.print()
        for note in notes:
            self._console.print(note, soft_wrap=True)

    def _tables(self) -> Iterator[Table]:
        if any(row.explanations for row in self._rows):  # they have classes and probabilities
            yield self._explanations()
            return
        has_feature_maps = any(row.feature_maps for row in self._rows)
        if any(row.classes for row in self._rows) or not has_feature_maps:
            yield self._classes()
        if has_feature_maps:
            yield self._feature_maps()

    def _classes(self) -> Table:
        table = plain_table()
        table.add_column("image", overflow="fold", ratio=2)
        table.add_column("class", overflow="fold", ratio=2)
        table.add_column("probability", no_wrap=True, min_width=self._bar_width + 8)
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
        bar = _bar(score.probability, self._bar_width, self._console)
        probability = Text.assemble((f"{score.probability:.4f}  ", style), (bar, bar_style))
        return Text(score.label, style), probability

    def _feature_maps(self) -> Table:
        table = plain_table()
        table.add_column("image", overflow="fold", ratio=2)
        table.add_column("feature map", overflow="fold", ratio=1)
        table.add_column("shape", no_wrap=True)
        table.add_column("strongest channels", ratio=1)
        for image_name, row in zip(self._names(), self._rows, strict=True):
            for index, (name, shape, strongest) in enumerate(row.feature_maps):
                table.add_row(image_name if index == 0 else "", Text(name), shape, strongest)
            table.add_section()
        return table

    def _explanations(self) -> Table:
        table = plain_table()
        table.add_column("image", overflow="fold", ratio=2)
        table.add_column("class", overflow="fold", ratio=3)
        for heading in ("probability", "logit", "sum of heat"):
            table.add_column(heading, justify="right", no_wrap=True)
        for image_name, row in zip(self._names(), self._rows, strict=True):
            for index, cells in enumerate(row.explanations):
                table.add_row(image_name if index == 0 else "", *map(Text, cells))
            table.add_section()
        return table

    def _names(self) -> Sequence[Text | ShortName]:
        """Return the names of the images below their folder, or their paths if two are equal."""
        paths = [row.image for row in self._rows]
        short = [row.shown for row in self._rows]
        names = short if len({*short}) == len({*paths}) else paths
        shown = list(map(readable, names))
        return short_names(shown) if self._console.is_terminal else list(map(Text, shown))


def _mean_times(times: Sequence[StageSeconds]) -> Text:
    means = ((stage, fmean(getattr(t, stage) for t in times)) for stage in STAGES)
    text = " · ".join(f"{stage} {1000 * seconds:.1f} ms" for stage, seconds in means)
    return Text(f"mean of {len(times)} images: {text}" if len(times) > 1 else text, "dim")


def _strongest(feature_map: FeatureMap) -> str:
    if not feature_map.channels:
        return "mean"
    positions = feature_map.strongest(STRONGEST_SHOWN)
    return ", ".join(str(feature_map.channels[position]) for position in positions)


def _bar(probability: float, width: int, console: Console) -> str:
    if not console.encoding.startswith("utf"):
        return "#" * round(probability * width)
    full, rest = divmod(round(probability * width * 8), 8)
    return "█" * full + EIGHTHS[rest].strip()


def _explanation_cells(explanation: Explanation) -> tuple[str, str, str, str]:
    """Return class, probability, logit, and the sum of the heat with its share of the logit."""
    target, against = explanation.target, explanation.against
    if explanation.method == "eigen-cam":
        return "any class", "", "", ""
    label, probability = target.label, f"{target.probability:.4f}"
    if against is not None:
        label = f"{label}\nrather than {against.label} ({against.probability:.4f})"
    return label, probability, f"{explanation.logit:+.2f}", _sum_of_heat(explanation)


def _is_hardly_explained(explanation: Explanation) -> bool:
    return explanation.remainder is not None and (explanation.share or 0.0) < MIN_SHARE


def _sum_of_heat(explanation: Explanation) -> str:
    if explanation.remainder is None:
        return ""
    share = "" if explanation.share is None else f" ({explanation.share:.0%})"
    return f"{explanation.logit - explanation.remainder:+.2f}{share}"
