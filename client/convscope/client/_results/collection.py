"""Many results as a list that becomes a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, SupportsIndex, TypeVar, overload

from convscope.client._drawing.html.results import results_html
from convscope.client._results.classification import Classification
from convscope.client._results.row import Row
from convscope.client._results.tables import to_arrow, to_pandas, to_rows
from convscope.client.errors import ConvscopeError

if TYPE_CHECKING:
    import pandas
    import pyarrow

__all__ = ["Results"]

T = TypeVar("T", bound=Classification | ConvscopeError)


class Results(list[T]):
    """The results of many images, and the errors of those that failed.

    It is a list that notebooks show as a table with small pictures.

    Example:
        >>> photos = ["digits/0.png", "digits/1.png", "missing.png"]
        >>> results = Results(client.classify_many(photos, model="digits", return_errors=True))
        >>> results
        <Results of 3 images, 1 failed>
        >>> [error.image for error in results.errors]
        ['missing.png']
    """

    def __repr__(self) -> str:
        failed = len(self.errors)
        count = f"{len(self):,} {'image' if len(self) == 1 else 'images'}"
        return f"<Results of {count}{f', {failed:,} failed' if failed else ''}>"

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> T: ...
    @overload
    def __getitem__(self, index: slice, /) -> Self: ...
    def __getitem__(self, index: SupportsIndex | slice, /) -> T | Self:
        if isinstance(index, slice):
            return type(self)(super().__getitem__(index))
        return super().__getitem__(index)

    @property
    def errors(self) -> list[ConvscopeError]:
        """The errors, in the order of the images."""
        return [one for one in self if isinstance(one, ConvscopeError)]

    def to_dicts(self, *, arrays: bool = False) -> list[dict[str, Any]]:
        """Return each result as values that JSON has; see `Classification.to_dict`.

        Example:
            >>> photos = ["digits/0.png", "digits/1.png"]
            >>> results = Results(client.classify_many(photos, model="digits"))
            >>> [one["classes"][0]["label"] for one in results.to_dicts()]
            ['0', '1']
        """
        return [
            one.to_dict(arrays=arrays) if isinstance(one, Classification) else one.to_dict()
            for one in self
        ]

    def to_rows(self) -> list[Row]:
        """Return one row for each image, all with the same columns.

        The most probable class is in `label`, `index` and `probability`, the next ones in
        `label_2`, `index_2` and `probability_2`, and so on. An image that failed has `error_code`
        and `error`. Feature maps and explanations are left out.

        Example:
            >>> photos = ["digits/0.png", "digits/1.png"]
            >>> results = Results(client.classify_many(photos, model="digits"))
            >>> [row["label"] for row in results.to_rows()]
            ['0', '1']
        """
        return to_rows(self)

    def to_pandas(self) -> pandas.DataFrame:
        """Return the rows as a data frame.

        Raises:
            ImportError: pandas isn't installed. The extra "tables" contains it.

        Example:
            >>> photos = ["digits/0.png", "digits/1.png"]
            >>> results = Results(client.classify_many(photos, model="digits"))
            >>> results.to_pandas()["label"].tolist()
            ['0', '1']
        """
        return to_pandas(self)

    def to_arrow(self) -> pyarrow.Table:
        """Return the rows as an Arrow table.

        Raises:
            ImportError: pyarrow isn't installed. The extra "tables" contains it.

        Example:
            >>> photos = ["digits/0.png", "digits/1.png"]
            >>> results = Results(client.classify_many(photos, model="digits"))
            >>> results.to_arrow()["label"].to_pylist()
            ['0', '1']
        """
        return to_arrow(self)

    def _repr_html_(self) -> str:
        return results_html(self)
