"""Models as HTML tables."""

from collections.abc import Iterable, Sequence

from convscope.client._drawing.html.parts import block, dim, escape, heading, line, table

__all__ = ["model_html", "models_html", "sizes"]


def sizes(shape: Iterable[int]) -> str:
    """Return a shape as text: 224 x 224 x 3."""
    return " x ".join(map(str, shape))


def model_html(
    title: str,
    facts: Iterable[tuple[str, str]],
    labels: Sequence[str],
    maps: Sequence[tuple[str, str, str]],
) -> str:
    """Return the description of a model as HTML.

    Args:
        title: Its name and version.
        facts: What is known about it, by name; empty facts are omitted.
        labels: The names of its classes.
        maps: The name, shape and stride of each feature map.
    """
    rows = [(dim(escape(name)), escape(text)) for name, text in facts if text]
    first = heading(title) + table((), rows)
    cells = [tuple(map(escape, row)) for row in maps]
    shapes = table(("feature map", "shape", "stride"), cells) if cells else ""
    return block(first, shapes) + _details(f"{len(labels):,} classes", labels)


def models_html(rows: Sequence[Sequence[str]]) -> str:
    """Return a listing of models as HTML.

    Args:
        rows: The name, version, input, classes, feature maps and provider of each.
    """
    names = ("model", "version", "input", "classes", "feature maps", "runs on")
    cells = [tuple(map(escape, row)) for row in rows]
    return table(names, cells) if rows else line(["no model is ready"])


def _details(summary: str, labels: Sequence[str]) -> str:
    """Return names that can be unfolded."""
    if not labels:
        return ""
    names = ", ".join(map(escape, labels))
    return (
        f'<details style="font:13px/1.5 system-ui,sans-serif;color:inherit"><summary>'
        f"{escape(summary)}</summary>{names}</details>"
    )
