"""Which type of number keeps what a source says."""

from __future__ import annotations

import numpy as np

SAMPLE = 4096  # numbers that are looked at before all others
TEN_DIGITS = 1e-9
ROUNDING = 1e-15  # of double precision, twice and a half
MOST_SHORT = 1_000_000  # numbers below have six digits


def single_suffices(numbers: np.ndarray) -> bool:
    """Whether single precision keeps numbers to the precision they are given with, and different ones different.

    It does if each number is the shortest decimal that names its neighbour in single precision (0.1 and 151.2093 are,
    151.209301 is not), or that neighbour written with ten digits or more, as programs write single precision.

    Args:
        numbers: any shape, float64 or whole (finite).
    """
    flat = numbers.reshape(-1)
    sample = flat[:: max(1, flat.size // SAMPLE)][:SAMPLE]
    return _short(flat) or all(_kept(part) for part in (sample, flat) if part.size)


def _short(numbers: np.ndarray) -> bool:
    """Whether all numbers have at most six digits, so that single precision tells them apart and names them."""
    with np.errstate(over="ignore"):
        for power in range(7):
            scaled = np.round(numbers * 10.0**power)
            numbers = numbers[(scaled / 10.0**power != numbers) | (np.abs(scaled) >= MOST_SHORT)]
            if not numbers.size:
                return True
    return False


def _kept(numbers: np.ndarray) -> bool:
    """The same for all numbers at once."""
    with np.errstate(over="ignore"):
        single = numbers.astype(np.float32)
    double = single.astype(np.float64)
    rounded = double != numbers
    if not rounded.any():
        return True
    if not np.isfinite(double).all() or len(np.unique(single)) < len(np.unique(numbers)):
        return False
    numbers, single, double = numbers[rounded], single[rounded], double[rounded]
    far = np.abs(double - numbers) > TEN_DIGITS * np.abs(numbers)
    named, place = np.unique(single[far], return_inverse=True)
    if not (named.astype(str).astype(np.float64)[place] == numbers[far]).all():
        return False
    return _written(numbers[~far], double[~far])


def _written(numbers: np.ndarray, singles: np.ndarray) -> bool:
    """Whether all numbers are the singles, which are not zero, written with ten to sixteen digits."""
    before = np.floor(np.log10(np.abs(singles)))  # digits before the point, less one
    for digits in range(10, 17):
        scale = 10.0 ** (digits - 1 - before)
        written = np.round(singles * scale) / scale
        left = np.abs(written - numbers) > ROUNDING * np.abs(numbers)
        numbers, singles, before = numbers[left], singles[left], before[left]
    return not numbers.size
