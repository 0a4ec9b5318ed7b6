"""Tables of a repository's versions, and of two bundles side by side."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from convscope.bundle.metric_names import metric_words

if TYPE_CHECKING:  # a list of versions needs no ONNX Runtime
    from convscope.bundle.versions import VersionSummary
    from convscope.exporter.repositories.agreement import Agreement
    from convscope.exporter.repositories.differences import Differences, LabelDifferences

__all__ = [
    "agreement_table",
    "difference_table",
    "disagreements",
    "label_sentences",
    "version_tables",
]

_MAX_SHOWN = 10


def version_tables(rows: "Iterable[VersionSummary]") -> Iterator[Table]:
    """Yield a table for each model, with a row for each version; most fit into 80 columns."""
    for model, versions in groupby(rows, key=lambda row: row.model):
        table = _table("version", "aliases", "architecture", "top-1", "split")
        table.title, table.title_justify, table.title_style = escape(model), "left", "bold"
        table.padding = (0, 1, 0, 0)
        for name in ("size", "maps", "heat"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("created", no_wrap=True)
        for row in versions:
            table.add_row(*map(escape, _version_cells(row)))
        yield table


def _version_cells(row: "VersionSummary") -> tuple[str, ...]:
    named = (f"v{row.version}", "\n".join(row.aliases))
    if row.problem:
        return (*named, "can't be read")
    return (
        *named,
        row.architecture,
        "\n".join(f"{one.value:.4f}" for one in row.top1),
        "\n".join(one.split for one in row.top1),
        decimal(row.size_bytes),
        str(len(row.feature_maps)),
        " × ".join(map(str, row.heat)),
        f"{row.created_at:%Y-%m-%d}" if row.created_at else "",
    )


def difference_table(found: "Differences", a: str, b: str) -> Table:
    """Return a table of the differences, with metrics and sizes side by side."""
    table = _table("", a, b)
    for one in found.fields:
        a_text, b_text = _shown(one.a), _shown(one.b)
        if a_text != b_text and (one.a or one.b):
            table.add_row(*map(escape, (_words(one.name), a_text, b_text)))
    for one in found.metrics:
        name = metric_words(one.name)
        table.add_row(*map(escape, (name, _metric(one.a), _metric(one.b))))
    size, parameters = found.size_bytes, found.parameters
    table.add_row("size", decimal(size.a), decimal(size.b))
    table.add_row("parameters", f"{parameters.a:,}", f"{parameters.b:,}")
    table.add_row("model.onnx", *(("the same",) * 2 if found.same_graph else ("its own",) * 2))
    return table


def label_sentences(labels: "LabelDifferences", a: str, b: str) -> list[str]:
    """Describe how the classes differ."""
    sentences = [
        f"only {name} has {len(only):,} of the labels: {_shortened(only)}"
        for name, only in ((a, labels.only_a), (b, labels.only_b))
        if only
    ]
    return [*sentences, *([] if labels.same_order else ["the shared labels come in another order"])]


def agreement_table(found: "Agreement") -> Table:
    """Return a table of how well two bundles agree on images."""
    table = _table("", "")
    table.show_header = False
    table.add_row("images", f"{found.images:,}")
    table.add_row("the same best class", f"{found.top1:.2%}")
    table.add_row("shared labels", f"{found.shared_labels:,}")
    if found.largest_difference is not None:
        where = f"{found.largest_label} in {found.largest_image}"
        table.add_row(
            "largest difference of a probability",
            escape(f"{found.largest_difference:.4f}, {where}"),
        )
        table.add_row("mean difference", f"{found.mean_difference:.6f}")
    return table


def disagreements(found: "Agreement", a: str, b: str) -> Table:
    """Return a table of the first images whose best classes differ."""
    table = _table("image", a, b)
    for one in found.disagreements[:_MAX_SHOWN]:
        table.add_row(*map(escape, (one.image, one.a, one.b)))
    if (more := len(found.disagreements) - _MAX_SHOWN) > 0:
        table.add_row(f"and {more:,} more: --json has all", "", "")
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _words(path: str) -> str:
    """Return a field's path in words: "preprocessing: resize height"."""
    start, *rest = path.split(".")
    if start == "feature_maps":  # the name may have dots and underscores
        return f"feature map {path.partition('.')[2]}"
    if start == "provenance":
        start, rest = rest[0], rest[1:]
    words = f"{start}: {' '.join(rest)}" if rest else start
    return words.replace("_", " ")


@cache
def _enum_words() -> dict[str, str]:
    """Return the values of the manifest's enums in words: "gray" for COLOR_MODE_GRAY."""
    from convscope.v1 import manifest_pb2 as pb

    found = {}
    for enum in pb.DESCRIPTOR.enum_types_by_name.values():
        prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
        for value in enum.values:
            words = value.name.removeprefix(prefix).lower().replace("_", " ")
            found[value.name] = "none" if words == "unspecified" else words
    return found


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not value:  # absent, or the default of the field
        return "none"
    if isinstance(value, str):
        return _enum_words().get(value, value)
    if isinstance(value, dict):  # a feature map
        sizes = " × ".join(str(value[name]) for name in ("channels", "height", "width"))
        return f"{sizes}, stride {value['stride']:g}, {value['module']}"
    if isinstance(value, list):
        return ", ".join(f"{one:g}" if isinstance(one, float) else str(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _metric(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _shortened(names: Sequence[str]) -> str:
    more = len(names) - _MAX_SHOWN
    return ", ".join(names[:_MAX_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
