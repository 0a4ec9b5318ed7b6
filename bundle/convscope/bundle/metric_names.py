"""The names of recorded metrics in plain words."""

__all__ = ["metric_words"]


def metric_words(name: str) -> str:
    """Return the name of a metric in words: "accuracy" for top1_accuracy."""
    return name.removeprefix("top1_").replace("top5", "top-5").replace("_", " ")
