"""Keeps a part of a network as it is while the rest learns."""

from torch import nn

from convscope.exporter.errors import UnknownNameError

__all__ = ["BACKBONE", "freeze"]

# Instead of a module's path: everything but the head.
BACKBONE = "backbone"


def freeze(network: nn.Module, last: str, classes: int) -> list[nn.Module]:
    """Keep every module up to one as it is, in the order in which the network lists them.

    Args:
        network: Its parameters are marked as not to be learned.
        last: The path of the last module that is kept, or BACKBONE.
        classes: The number of classes, by which the head is known.

    Returns:
        The modules that must stay in evaluation mode: a batch norm would follow
        the new images otherwise.

    Raises:
        UnknownNameError: There is no such module.
    """
    kept = _before_head(network, classes) if last == BACKBONE else _up_to(network, last)
    for module in kept:
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(False)
    return kept


def _leaves(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Every module that has parameters or state of its own, or nothing inside."""
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
            f"the network has no module {last!r} to freeze up to; its outermost are: {known}; "
            f"{BACKBONE!r} means all but the head"
        )
    return [module for _, module in _leaves(network)[: inside[-1] + 1]]


def _before_head(network: nn.Module, classes: int) -> list[nn.Module]:
    """All but the last module that gives one value a class."""
    leaves = [module for _, module in _leaves(network)]
    heads = [module for module in leaves if _outputs(module) == classes]
    return [module for module in leaves if not heads or module is not heads[-1]]


def _outputs(module: nn.Module) -> int | None:
    weight = getattr(module, "weight", None)
    return len(weight) if isinstance(weight, nn.Parameter) and weight.ndim > 1 else None
