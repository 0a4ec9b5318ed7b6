"""The schedule of the learning rate."""

from typing import Any

from torch.optim.lr_scheduler import OneCycleLR

__all__ = ["OneCycle"]


class OneCycle(OneCycleLR):
    """A one-cycle schedule whose length may change when a run is resumed.

    A checkpoint restores only the position. With more epochs than before, the
    rate continues at the value that a run of the new length has at that
    position, and falls to its minimum at the new end.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Set the position, and the learning rate that belongs to it."""
        super().load_state_dict({name: state_dict[name] for name in ("last_epoch", "_step_count")})
        self._last_lr = self.get_lr()
        for group, rate in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = rate
