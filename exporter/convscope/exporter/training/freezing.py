"""Freezes a part of a network while the rest is trained."""

from torch import nn

from convscope.exporter.errors import UnknownNameError

__all__ = ["BACKBONE", "freeze"]

# Stands for every module but the head.
BACKBONE = "backbone"


def freeze(network: nn.Module, last: str, classes: int) -> list[nn.Module]:
    """Freeze every module up to one, in the order in which the network lists them.

    Args:
        network: The network, whose parameters are marked as not trainable.
        last: The path of the last frozen module, or BACKBONE.
        classes: The number of classes, which identifies the head.

    Returns:
        The modules that must stay in evaluation mode, because batch norm would
        otherwise adapt to the new images.

    Raises:
        UnknownNameError: The network has no such module.
    """
    frozen = _before_head(network, classes) if last == BACKBONE else _up_to(network, last)
    for module in frozen:
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(False)
    return frozen


def _leaves(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return every module that has its own parameters or buffers, or no submodules."""
    return [
        (path, module)
        for path, module in network.named_modules()
        if path
        and (
            not any(module.children())
            or any(True for _ in module.parameters(recurse=False))
            or any(True for _ in module.buffers(recurse=False))
        )
    ]


def _up_to(network: nn.Module, last: str) -> list[nn.Module]:
    paths = [path for path, _ in _leaves(network)]
    inside = [index for index, path in enumerate(paths) if f"{path}.".startswith(f"{last}.")]
    if not inside:
        known = ", ".join(name for name, _ in network.named_children())
        raise UnknownNameError(
            f"the network has no module {last!r} to freeze; its top-level modules are: {known}; "
            f"{BACKBONE!r} means all but the head"
        )
    return [module for _, module in _leaves(network)[: inside[-1] + 1]]


def _before_head(network: nn.Module, classes: int) -> list[nn.Module]:
    """Return all modules but the last one with one output per class."""
    leaves = [module for _, module in _leaves(network)]
    heads = [module for module in leaves if _outputs(module) == classes]
    return [module for module in leaves if not heads or module is not heads[-1]]


def _outputs(module: nn.Module) -> int | None:
    weight = getattr(module, "weight", None)
    return len(weight) if isinstance(weight, nn.Parameter) and weight.ndim > 1 else None
