"""The line that `train` prints after each epoch."""

from rich import get_console

from convscope.exporter.training.history import EpochMetrics

__all__ = ["report_epoch"]


def report_epoch(metrics: EpochMetrics, epochs: int, show: bool) -> None:
    """Print the losses, the accuracy and the duration of an epoch.

    The console is that of Lightning's progress bar, which continues below the line.
    """
    if show:
        get_console().print(
            f"epoch {metrics.epoch:>{len(str(epochs))}}/{epochs}   "
            f"train loss {metrics.train_loss:.4f}   val loss {metrics.val_loss:.4f}   "
            f"val accuracy {metrics.val_accuracy:.4f}   {metrics.seconds:.1f} s",
            highlight=False,
            soft_wrap=True,
        )
