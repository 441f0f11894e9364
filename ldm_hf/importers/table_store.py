"""Keeps the columns of a table on the disk, so that memory holds one of them at a time."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import UnwritableError


class Values(Protocol):
    """The values of all rows ``(N, *shape)``, read by slices."""

    def __getitem__(self, rows: slice) -> np.ndarray: ...


class Scratch:
    """A file without a name, which is gone with the process. It is read, not mapped, so that memory stays free."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115, open as long as something in it is needed

    def put(self, content: bytes | memoryview | pa.Buffer) -> tuple[int, int]:
        """Adds bytes; returns where they begin and how many they are.

        Raises:
            UnwritableError: if the disk is full.
        """
        try:
            start = self._file.seek(0, os.SEEK_END)
            self._file.write(content)
            self._file.flush()
        except OSError as error:
            raise UnwritableError(
                f"{tempfile.gettempdir()} cannot take a copy of the table ({error.strerror}); make room there, or name "
                "another folder in the variable TMPDIR."
            ) from error
        return start, self._file.tell() - start

    def get(self, start: int, size: int) -> bytearray:
        """Bytes that were put there."""
        content = bytearray(size)
        self._file.seek(start)
        self._file.readinto(content)
        return content


class TextColumn:
    """A column of texts that arrives block by block.

    Args:
        scratch: where it is kept.
    """

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._blocks: list[tuple[int, int]] = []
        self._length = self._size = 0
        self._schema = pa.schema([("", pa.string())])

    def add(self, block: pa.Array) -> None:
        """Adds texts ``(B,)`` of less than 2 GiB together."""
        batch = pa.RecordBatch.from_arrays([block], schema=self._schema)
        self._blocks.append(self._scratch.put(batch.serialize()))
        self._length += len(block)
        self._size += pc.sum(pc.binary_length(block)).as_py() or 0

    def read(self) -> pa.Array:
        """All texts ``(N,)``, laid behind each other without a copy of them beside it."""
        ends, content = np.zeros(self._length + 1, np.int64), np.empty(self._size, np.uint8)
        row = 0
        for place in self._blocks:
            message = pa.py_buffer(self._scratch.get(*place))
            block = pa.ipc.read_record_batch(message, self._schema).column(0)
            _, offsets, texts = block.buffers()
            found = np.frombuffer(offsets, np.int32)[: len(block) + 1]
            ends[row + 1 : row + 1 + len(block)] = ends[row] + found[1:] - found[0]
            size = int(found[-1] - found[0])
            if size:
                content[ends[row] : ends[row] + size] = np.frombuffer(texts, np.uint8)[found[0] : found[-1]]
            row += len(block)
        return pa.LargeStringArray.from_buffers(self._length, pa.py_buffer(ends), pa.py_buffer(content))


class NumberColumn:
    """A column of numbers ``(N,)``.

    Args:
        scratch: where it is kept.
        values: the numbers.
    """

    def __init__(self, scratch: Scratch, values: np.ndarray) -> None:
        self._scratch, self._dtype, self._length = scratch, values.dtype, len(values)
        self._start, _ = scratch.put(np.ascontiguousarray(values).data)

    def __getitem__(self, rows: slice) -> np.ndarray:
        first, last, _ = rows.indices(self._length)
        size = self._dtype.itemsize
        return np.frombuffer(self._scratch.get(self._start + first * size, (last - first) * size), self._dtype)


class Vectors:
    """Columns of numbers beside each other ``(N, W)``.

    Args:
        columns: the columns.
        dtype: type that the numbers are given in.
    """

    def __init__(self, columns: Sequence[NumberColumn], dtype: type[np.generic]) -> None:
        self.columns, self._dtype = columns, dtype

    def __getitem__(self, rows: slice) -> np.ndarray:
        return np.stack([column[rows].astype(self._dtype) for column in self.columns], axis=1)


class Texts:
    """Texts ``(N,)``, given as Python strings.

    Args:
        values: the texts.
    """

    def __init__(self, values: pa.Array) -> None:
        self._values = values

    def __getitem__(self, rows: slice) -> np.ndarray:
        return np.array(self._values[rows].to_pylist(), dtype=object)
