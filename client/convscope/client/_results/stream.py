"""The results of `classify_many`: an iterator that also becomes a table."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from convscope.client._results.classification import Classification
from convscope.client._results.collection import Results
from convscope.client._results.row import Row
from convscope.client.errors import ConvscopeError, InvalidInputError

if TYPE_CHECKING:
    import pandas
    import pyarrow

__all__ = ["AsyncResultStream", "ResultStream"]

T = TypeVar("T", bound=Classification | ConvscopeError)


@dataclass(slots=True)
class _Taken(Generic[T]):
    """How many results a stream has returned, and all of them once they are collected."""

    model: str
    count: int = 0
    results: Results[T] | None = None
    has_ended: bool = False

    def describe(self, kind: str, collect: str) -> str:
        if self.results is not None:
            return f"<{kind} of {self.model}: {_counted(len(self.results))}>"
        returned = _counted(self.count)
        if self.has_ended:
            return f"<{kind} of {self.model}: {returned}, all returned>"
        return f"<{kind} of {self.model}: {returned} so far; iterate over it, or call {collect}>"

    def check_complete(self) -> None:
        """Check that a collection has the result of every image.

        Raises:
            InvalidInputError: Some were returned before, or the stream has ended.
        """
        if self.has_ended:
            problem = f"this stream has ended after {_counted(self.count)}"
        elif self.count:
            problem = f"this stream has already returned {_counted(self.count)}"
        else:
            return
        raise InvalidInputError(
            f"{problem}, and it keeps none; collect them all at the start: "
            "results = client.classify_many(...).collect()"
        )


def _counted(results: int) -> str:
    return f"{results:,} {'result' if results == 1 else 'results'}"


class ResultStream(Iterator[T]):
    """The results of a `classify_many`, in the order of its images.

    Results arrive while it is iterated over; without that, nothing is sent. It keeps no result
    that it has returned. `collect`, and each of the methods that make a table, reads all results
    at once and keeps them, so that they can be called again.

    Example:
        >>> results = client.classify_many(["digits/0.png", "digits/1.png"], model="digits")
        >>> results
        <ResultStream of digits: 0 results so far; iterate over it, or call collect()>
        >>> [result.top.label for result in results]
        ['0', '1']
    """

    def __init__(self, outcomes: Generator[T, None, None], model: str) -> None:
        self._outcomes = outcomes
        self._taken = _Taken[T](model)

    def __iter__(self) -> Iterator[T]:
        collected = self._taken.results
        return self if collected is None else iter(collected)

    def __next__(self) -> T:
        try:
            outcome = next(self._outcomes)
        except BaseException:  # also of an error, after which there are no results
            self._taken.has_ended = True
            raise
        self._taken.count += 1
        return outcome

    def __getitem__(self, index: object) -> NoReturn:
        raise TypeError("a stream of results has no positions; call collect() for a list")

    def __repr__(self) -> str:
        return self._taken.describe("ResultStream", "collect()")

    def close(self) -> None:
        """Cancel the requests in flight; no more results arrive.

        Example:
            >>> results = client.classify_many(["digits/0.png", "digits/1.png"], model="digits")
            >>> next(results).top.label
            '0'
            >>> results.close()
        """
        self._taken.has_ended = True
        self._outcomes.close()

    def collect(self) -> Results[T]:
        """Return all results as a list, once they have arrived.

        Raises:
            InvalidInputError: Some results were already returned by iterating.
            ConvscopeError: An image failed, and `return_errors` is false.

        Example:
            >>> client.classify_many(["digits/0.png", "digits/1.png"], model="digits").collect()
            <Results of 2 images>
        """
        if self._taken.results is None:
            self._taken.check_complete()
            self._taken.results = Results(self)
        return self._taken.results

    def to_dicts(self, *, arrays: bool = False) -> list[dict[str, Any]]:
        """Return each result as values that JSON has; see `Results.to_dicts`.

        Example:
            >>> results = client.classify_many(["digits/0.png"], model="digits")
            >>> results.to_dicts()[0]["image"]
            'digits/0.png'
        """
        return self.collect().to_dicts(arrays=arrays)

    def to_rows(self) -> list[Row]:
        """Return one row for each image; see `Results.to_rows`.

        Example:
            >>> results = client.classify_many(["digits/0.png"], model="digits")
            >>> results.to_rows()[0]["label"]
            '0'
        """
        return self.collect().to_rows()

    def to_pandas(self) -> pandas.DataFrame:
        """Return the results as a data frame; see `Results.to_pandas`.

        Raises:
            ImportError: pandas isn't installed. The extra "tables" contains it.

        Example:
            >>> results = client.classify_many(["digits/0.png", "digits/1.png"], model="digits")
            >>> results.to_pandas()["label"].tolist()
            ['0', '1']
        """
        return self.collect().to_pandas()

    def to_arrow(self) -> pyarrow.Table:
        """Return the results as an Arrow table; see `Results.to_arrow`.

        Raises:
            ImportError: pyarrow isn't installed. The extra "tables" contains it.

        Example:
            >>> results = client.classify_many(["digits/0.png", "digits/1.png"], model="digits")
            >>> results.to_arrow()["label"].to_pylist()
            ['0', '1']
        """
        return self.collect().to_arrow()

    def _repr_html_(self) -> str | None:
        collected = self._taken.results
        return None if collected is None else collected._repr_html_()


class AsyncResultStream(AsyncIterator[T]):
    """The results of the `classify_many` of an `AsyncClient`, in the order of its images.

    It is a `ResultStream` that is iterated over with `async for`, and whose methods are awaited.

    Example:
        >>> results = async_client.classify_many(["digits/0.png"], model="digits")
        >>> [result.top.label async for result in results]
        ['0']
    """

    def __init__(self, outcomes: AsyncGenerator[T, None], model: str) -> None:
        self._outcomes = outcomes
        self._taken = _Taken[T](model)

    def __aiter__(self) -> AsyncIterator[T]:
        collected = self._taken.results
        return self if collected is None else _iterate(collected)

    async def __anext__(self) -> T:
        try:
            outcome = await anext(self._outcomes)
        except BaseException:  # also of an error, after which there are no results
            self._taken.has_ended = True
            raise
        self._taken.count += 1
        return outcome

    def __getitem__(self, index: object) -> NoReturn:
        raise TypeError("a stream of results has no positions; await collect() for a list")

    def __repr__(self) -> str:
        return self._taken.describe("AsyncResultStream", "await collect()")

    async def aclose(self) -> None:
        """Cancel the requests in flight; no more results arrive.

        Example:
            >>> results = async_client.classify_many(["digits/0.png"], model="digits")
            >>> await results.aclose()
        """
        self._taken.has_ended = True
        await self._outcomes.aclose()

    async def collect(self) -> Results[T]:
        """Return all results as a list, as `ResultStream.collect` does.

        Example:
            >>> results = async_client.classify_many(["digits/0.png"], model="digits")
            >>> await results.collect()
            <Results of 1 image>
        """
        if self._taken.results is None:
            self._taken.check_complete()
            self._taken.results = Results([outcome async for outcome in self])
        return self._taken.results

    async def to_dicts(self, *, arrays: bool = False) -> list[dict[str, Any]]:
        """Return each result as values that JSON has; see `Results.to_dicts`.

        Example:
            >>> results = async_client.classify_many(["digits/0.png"], model="digits")
            >>> (await results.to_dicts())[0]["image"]
            'digits/0.png'
        """
        return (await self.collect()).to_dicts(arrays=arrays)

    async def to_rows(self) -> list[Row]:
        """Return one row for each image; see `Results.to_rows`.

        Example:
            >>> results = async_client.classify_many(["digits/0.png"], model="digits")
            >>> (await results.to_rows())[0]["label"]
            '0'
        """
        return (await self.collect()).to_rows()

    async def to_pandas(self) -> pandas.DataFrame:
        """Return the results as a data frame; see `Results.to_pandas`.

        Example:
            >>> results = async_client.classify_many(["digits/0.png"], model="digits")
            >>> (await results.to_pandas())["label"].tolist()
            ['0']
        """
        return (await self.collect()).to_pandas()

    async def to_arrow(self) -> pyarrow.Table:
        """Return the results as an Arrow table; see `Results.to_arrow`.

        Example:
            >>> results = async_client.classify_many(["digits/0.png"], model="digits")
            >>> (await results.to_arrow())["label"].to_pylist()
            ['0']
        """
        return (await self.collect()).to_arrow()

    def _repr_html_(self) -> str | None:
        collected = self._taken.results
        return None if collected is None else collected._repr_html_()


async def _iterate(results: Results[T]) -> AsyncIterator[T]:
    for result in results:
        yield result
