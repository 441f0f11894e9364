"""Stable keys for the model's hashed embedding tables: the same on every machine and in every process.

Embedding ids start at 1; id 0 is padding everywhere. The values of one choice get *consecutive* ids from a hashed
start, so that two states of the same leaf never share an id while the table is larger than the leaf (a plain hash
would merge about 15 pairs of Taxi's 500 states).
"""

from __future__ import annotations

import hashlib
import itertools
import re

import numpy as np

_TOKEN = re.compile(r"\w+|[^\w\s]")


def key(*parts: object) -> int:
    """A 63-bit key of some values (strings, numbers, tuples), stable across processes and versions of Python."""
    text = "\x1f".join(str(part) for part in parts)
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def bucket(start: int, offset: np.ndarray | int, buckets: int) -> np.ndarray:
    """Ids ``1 ... buckets - 1`` of the values ``offset`` of a choice whose key is ``start``."""
    offset = np.mod(np.asarray(offset, dtype=np.int64), buckets - 1)
    return (start % (buckets - 1) + offset) % (buckets - 1) + 1


def fold(values: np.ndarray, columns: int) -> np.ndarray:
    """Values ``(N, n)`` float32 in at most ``columns`` columns: more share them, with alternating signs.

    This is feature hashing (Weinberger et al. 2009) with a fixed hash.
    """
    count, number = values.shape
    if number <= columns:
        return values
    places = np.arange(number)
    signs = np.where(places // columns % 2, -1.0, 1.0).astype(np.float32)
    folded = np.zeros((count, columns), np.float32)
    np.add.at(folded.T, places % columns, (values * signs).T)
    return folded


def text_ids(text: str, start: int, buckets: int, length: int) -> np.ndarray:
    """Ids of a text: the whole, its words and its word pairs, padded with 0 or cut to ``length``."""
    words = [match.group() for match in itertools.islice(_TOKEN.finditer(text.lower()), length)]
    pieces = [
        ("whole", text),
        *(("word", word) for word in words),
        *(("pair", *pair) for pair in itertools.pairwise(words)),
    ]
    ids = np.zeros(length, np.int64)
    for position, piece in enumerate(pieces[:length]):
        ids[position] = bucket(key(start, *piece), 0, buckets)
    return ids
