"""The environments that a model knows, in two files beside its processor that are read environment by environment.

``environments.jsonl`` begins with a line of its own, the index: how many bytes each environment's line has. These lines
follow, each a JSON object with the spaces and the task text. The numbers of the statistics, of all environments one
after another, are one tensor of ``environments.safetensors``; a line says where its own begin, and the shapes of its
leaves.

So a model that knows thousands of environments is loaded as fast as one that knows a few.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TypedDict

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .errors import CheckpointError
from .spaces import Json, SpaceJson, Statistics

FILES = ("environments.jsonl", "environments.safetensors")
FORMAT_VERSION = 1
MAX_AXES = 32  # of a NumPy array, one more for mean and deviation


class KnownEnvironment(TypedDict):
    """What a processor keeps of an environment, as JSON.

    Attributes:
        observation_space: the observation space, see `spaces.space_to_json`.
        action_space: the action space.
        statistics: statistics of its data; None to standardise by each stream.
        task: its task text, if any.
    """

    observation_space: SpaceJson
    action_space: SpaceJson
    statistics: Statistics | None
    task: str | None


class KnownEnvironments(MutableMapping[str, KnownEnvironment]):
    """Environments by name. One that comes from a file is not read before it is asked for.

    Args:
        environments: environments by name.

    Raises:
        TypeError: if they are no mapping.
    """

    def __init__(self, environments: Mapping[str, KnownEnvironment]) -> None:
        if not isinstance(environments, Mapping):
            raise TypeError(f"environments should be a mapping by name, found {environments!r:.100}")
        # a slice is the place of a line that was not read yet
        self._entries: dict[str, KnownEnvironment | slice] = dict(environments)
        self._lines, self._numbers, self._file = b"", np.zeros(0), Path(FILES[0])

    @classmethod
    def load(cls, lines: Path, numbers: Path, count: int) -> KnownEnvironments:
        """The environments of two files that `save` wrote.

        Args:
            lines: the file of the spaces.
            numbers: the file of the statistics.
            count: number of environments that must be there.

        Raises:
            CheckpointError: if a file is damaged, or the two do not belong together; names the file.
            OSError: if a file cannot be read.
        """
        known = cls({})
        known._file, known._lines = lines, lines.read_bytes()
        head = known._lines.find(b"\n") + 1
        with _damage(lines):
            index = json.loads(known._lines[:head])
            version, digest, sizes = index["format_version"], index["digest"], index["bytes"]
            if version != FORMAT_VERSION:
                raise CheckpointError(
                    f"{lines} has format {version!r:.20}, which this version of ldm_hf does not read."
                )
            if not all(type(size) is int and size > 0 for size in sizes.values()):
                raise ValueError("a number of bytes is not positive")
            places = list(accumulate(sizes.values(), initial=head))
            if places[-1] != len(known._lines) or len(sizes) != count:
                raise ValueError(
                    f"expected {count} environments in {len(known._lines)} bytes, the index says otherwise"
                )
            known._entries = {name: slice(*ends) for name, ends in zip(sizes, pairwise(places), strict=True)}
        with _damage(numbers), safe_open(numbers, framework="np") as tensors:
            if (tensors.metadata() or {}).get("digest") != digest:
                raise ValueError(f"it does not belong to {lines.name}")
            known._numbers = tensors.get_tensor("statistics")
            if known._numbers.dtype != np.float64 or known._numbers.ndim != 1:
                raise ValueError("the statistics are no row of float64 numbers")
        return known

    def save(self, folder: Path) -> None:
        """Writes both files; without environments, removes them."""
        lines, numbers = [], [np.zeros(0)]
        start = 0
        for name, entry in self.items():
            values, shapes = _take_apart(entry["statistics"])
            told = None if entry["statistics"] is None else {"start": start, "shapes": shapes}
            lines.append(_line({"name": name, **entry, "statistics": told}))
            numbers += values
            start += sum(map(len, values))
        if not lines:
            for name in FILES:
                (folder / name).unlink(missing_ok=True)
            return
        statistics = np.concatenate(numbers)
        digest = hashlib.sha256(statistics.tobytes() + b"".join(lines)).hexdigest()
        sizes = dict(zip(self, map(len, lines), strict=True))
        index = _line({"format_version": FORMAT_VERSION, "digest": digest, "bytes": sizes})
        temporary = [folder / f".unfinished-{secrets.token_hex(8)}" for _ in FILES]
        try:
            temporary[0].write_bytes(index + b"".join(lines))
            save_file({"statistics": statistics}, temporary[1], metadata={"digest": digest})
            for written, name in zip(temporary, FILES, strict=True):
                os.replace(written, folder / name)
        finally:
            for left in temporary:
                with suppress(FileNotFoundError):
                    left.unlink()

    def __getitem__(self, name: str) -> KnownEnvironment:
        entry = self._entries[name]
        if isinstance(entry, slice):
            with _damage(self._file, name):
                entry = self._read(name, json.loads(self._lines[entry]))
            self._entries[name] = entry
        return entry

    def __setitem__(self, name: str, entry: KnownEnvironment) -> None:
        self._entries[name] = entry

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} environments)"

    def _read(self, name: str, line: dict[str, Json]) -> KnownEnvironment:
        """An environment of its line."""
        if line.pop("name") != name:
            raise ValueError("the index names another environment")
        statistics, task = line["statistics"], line["task"]
        if not (task is None or isinstance(task, str)):
            raise TypeError(f"the task {task!r:.80} is no text")
        if statistics is not None:
            line["statistics"] = _put_together(self._numbers, statistics["start"], statistics["shapes"])
        return KnownEnvironment(
            observation_space=line["observation_space"],
            action_space=line["action_space"],
            statistics=line["statistics"],
            task=task,
        )


def _line(content: Json) -> bytes:
    """JSON on one line of a file."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _take_apart(statistics: Statistics | None) -> tuple[list[np.ndarray], dict[str, list[int]]]:
    """Statistics as rows of numbers (reward, then mean and deviation of each leaf) and the shapes of the leaves."""
    if statistics is None:
        return [], {}
    leaves = statistics["observation"]
    moments = [statistics["reward"], *leaves.values()]
    rows = [
        np.broadcast_to(np.asarray(moment[part], np.float64), np.shape(moment["mean"])).reshape(-1)
        for moment in moments
        for part in ("mean", "std")
    ]
    return rows, {path: list(np.shape(moment["mean"])) for path, moment in leaves.items()}


def _put_together(numbers: np.ndarray, start: int, shapes: dict[str, list[int]]) -> Statistics:
    """Inverse of `_take_apart`.

    Raises:
        ValueError: if a place or shape is impossible.
    """
    moments: list[dict[str, Json]] = []
    for shape in ([], *shapes.values()):
        if type(start) is not int or not all(type(side) is int and side >= 0 for side in shape):
            raise ValueError(f"the place {start!r:.20} or the shape {shape!r:.80} is no whole number")
        size = math.prod(shape)
        if not 0 <= start <= len(numbers) - 2 * size or len(shape) > MAX_AXES:
            raise ValueError(f"statistics of shape {shape!r:.80} at {start} reach beyond the {len(numbers)} numbers")
        # an empty array may have any number of empty rows
        mean, std = numbers[start : start + 2 * size].reshape(2, *shape).tolist() if size else ([], [])
        moments.append({"mean": mean, "std": std})
        start += 2 * size
    return {"reward": moments[0], "observation": dict(zip(shapes, moments[1:], strict=True))}


@contextmanager
def _damage(file: Path, name: str | None = None) -> Iterator[None]:
    """Says of any error of what is read in the block that the file, or its environment, is damaged."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, SafetensorError) as error:
        place = f"{file}: {name}" if name else str(file)
        raise CheckpointError(f"{place} is damaged ({error}); download or export the model again.") from error


__all__ = ["FILES", "KnownEnvironment", "KnownEnvironments"]
