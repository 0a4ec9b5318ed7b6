"""The progress of an epoch, on one line of the terminal."""

from typing import Any

from lightning.pytorch.callbacks import RichProgressBar

__all__ = ["EpochProgress"]


class EpochProgress(RichProgressBar):
    """Shows how far an epoch is; the line of each epoch has its metrics."""

    def __init__(self) -> None:
        super().__init__(leave=False)

    def get_metrics(self, *trainer_and_module: Any) -> dict[str, Any]:
        """Return no metrics: on 80 columns, each of them would take two more lines."""
        return {}

    def _get_train_description(self, current_epoch: int) -> str:
        """Count epochs from 1, as the lines of the epochs do."""
        return f"epoch {current_epoch + 1}/{self.trainer.max_epochs}"
