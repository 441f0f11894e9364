"""The rows of a table in the order of the steps, column by column."""

from __future__ import annotations

import copy

import numpy as np

from .table_cells import Cells
from .table_files import Places, TableFiles


class Table:
    """Gives the cells of a column; holds none but the last that was asked for.

    Args:
        files: the files, read.
        places: places of the rows in them.
        decimal: decimal sign of numbers among texts.
    """

    def __init__(self, files: TableFiles, places: Places, decimal: str) -> None:
        self._files, self._places, self._decimal = files, places, decimal
        self._order: np.ndarray | None = None
        self._last: Cells | None = None
        self.total = int(places.starts[-1])

    def __len__(self) -> int:
        return self.total if self._order is None else len(self._order)

    def arrange(self, order: np.ndarray) -> None:
        """From now on gives these rows in this order; the rows count as they are arranged so far."""
        if len(order) == len(self) and (order[:-1] < order[1:]).all():
            return
        order = order.astype(np.int32) if self.total < 2**31 else order
        self._order = order if self._order is None else self._order[order]
        self._last = None

    def __call__(self, name: str) -> Cells:
        """The cells of a column.

        Raises:
            DatasetError: if they cannot be read, or one is a list, a dict or bytes.
        """
        if self._last is None or self._last.name != name:
            self._last = None  # before the next is read
            cells = Cells(name, self._files.column(name), self._places, self._decimal)
            self._last = cells if self._order is None else cells.take(self._order)
        return copy.copy(self._last)  # whoever reads it may count more cells as empty
