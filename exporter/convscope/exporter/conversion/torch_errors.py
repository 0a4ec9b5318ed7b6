"""Errors of torch.onnx.export as sentences: what happened, where, and what to do."""

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from convscope.exporter.errors import ExporterError, reason

__all__ = ["conversion_errors"]

_FRAME = re.compile(r'File "([^"]+)", line (\d+), in (\w+)')
_OPERATOR = re.compile(r"op='([^']+)'")
_LIBRARIES = ("/site-packages/", "/lib/python")


@contextmanager
def conversion_errors() -> Iterator[None]:
    """Turn any error into a sentence, and hide what torch's exporter prints for its developers.

    Raises:
        ExporterError: The network can't be converted.
    """
    hidden = io.StringIO()
    previous = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(hidden),
            contextlib.redirect_stderr(hidden),
        ):
            warnings.simplefilter("ignore")
            yield
    except ExporterError:
        raise
    # The exporter, the user's forward and ONNX all have their own errors.
    except Exception as error:
        raise ExporterError(_explain(error)) from error
    finally:
        logging.disable(previous)


def _explain(error: Exception) -> str:
    causes = list(_causes(error))
    names = {type(cause).__name__ for cause in causes}
    text = "\n".join(str(cause) for cause in causes)
    where = _where(causes, text)
    if "GuardOnDataDependentSymNode" in names or "data-dependent" in text.lower():
        return (
            f"the network decides by the values of a tensor{where}, and a graph can't: an if, a "
            "loop or an index depends on the image; use torch.where, or decide by shapes only"
        )
    if "DispatchError" in names:
        operator = _OPERATOR.search(text)
        name = operator[1] if operator else "an operator of the network"
        return (
            f"ONNX has no operator for {name}{where}; replace it in the network by operators that "
            "ONNX has, or leave it out of what is exported"
        )
    if "ConstraintViolationError" in names or "Constraints violated" in text:
        return (
            f"the network takes only one size of batch{where}; write x.shape[0] or -1 instead of a "
            "number of images in view, reshape and expand"
        )
    return (
        f"the network can't be converted to ONNX{where}: {type(causes[-1]).__name__}: "
        f"{reason(causes[-1])}; run the command again with --debug for the details"
    )


def _causes(error: BaseException | None) -> Iterator[Exception]:
    while isinstance(error, Exception):
        yield error
        error = error.__cause__ or error.__context__


def _where(causes: list[Exception], text: str) -> str:
    """Return the user's line, like " in forward at net.py:12"; empty if it isn't known."""
    stacks = [text, *(_stack_of_node(cause.__traceback__) for cause in causes)]
    for stack in stacks:
        frames = [frame for frame in _FRAME.findall(stack) if _is_users(frame[0])]
        if frames:
            path, line, function = frames[-1]
            return f" in {function} at {Path(path).name}:{line}"
    return ""


def _is_users(path: str) -> bool:
    return not any(part in path for part in _LIBRARIES) and not path.startswith("<")


def _stack_of_node(trace: TracebackType | None) -> str:
    """Return the user's stack of the node that was being converted; only its frame knows it."""
    found = ""
    while trace is not None:
        node = trace.tb_frame.f_locals.get("node")
        meta = getattr(node, "meta", None)
        if isinstance(meta, dict):
            found = meta.get("stack_trace") or found
        trace = trace.tb_next
    return found
