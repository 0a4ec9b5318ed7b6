"""A progress bar on the error output."""

from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import aclosing, closing, contextmanager
from operator import length_hint
from typing import TypeVar

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

__all__ = ["progress_bar", "with_progress", "with_progress_async"]

T = TypeVar("T")


@contextmanager
def progress_bar(
    total: int | None, *, visible: bool = True, transient: bool = False
) -> Iterator[Callable[[], None]]:
    """Show a progress bar, and yield the function that advances it."""
    with Progress(
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        transient=transient,
        disable=not visible,
        redirect_stdout=False,  # else rich would print to the terminal of the bar
    ) as progress:
        task = progress.add_task("Classifying", total=total)
        yield lambda: progress.advance(task)


def with_progress(items: Generator[T, None, None], source: object) -> Generator[T, None, None]:
    """Yield the items, and show how many of the source's items were yielded."""
    with closing(items), progress_bar(_length(source)) as advance:
        for item in items:
            advance()
            yield item


async def with_progress_async(
    items: AsyncGenerator[T, None], source: object
) -> AsyncGenerator[T, None]:
    """Do the same for an asynchronous generator."""
    async with aclosing(items):
        with progress_bar(_length(source)) as advance:
            async for item in items:
                advance()
                yield item


def _length(source: object) -> int | None:
    return length_hint(source) or None
