"""Converts between what the action head chooses (elements) and what `env.step` takes (actions).

An *element* is one scalar of an action, at a *position*: the number of a choice, or, for continuous elements (size 0),
a value from -1 to 1. A Discrete with more choices than the head has logits is written in several digits; one character
of a Text is one element, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from gymnasium import spaces

from .errors import NonFiniteError, SpaceMismatchError, UnsupportedSpaceError
from .hashing import bucket, key
from .spaces import Arrays, Leaf, Member, Space, children, leaf_array, leaves

UNBOUNDED = 1e6  # a Box wider than this is squashed like an unbounded one
MAX_ELEMENTS = 2**16  # of an action: the logits of one step take 26 MB
NO_LABEL = -100.0  # label of a step without one, as everywhere in transformers
COLDEST, HOTTEST = 1e-9, 1e9  # temperatures beyond sample the same
SYMLOG_RANGE = math.log1p(1e4)  # |action| up to 10,000 in an unbounded direction


def _symlog(x: np.ndarray) -> np.ndarray:
    compressed: np.ndarray = np.sign(x) * np.log1p(np.abs(x))
    return compressed


def _symexp(x: np.ndarray) -> np.ndarray:
    expanded: np.ndarray = np.sign(x) * np.expm1(np.abs(x))
    return expanded


class _ChoiceLeaf:
    """Discrete, MultiDiscrete, MultiBinary or few-valued integer Box: scalars of ``n`` choices each, as digits.

    With 101 logits, a Discrete of 500 choices is two elements: a leading digit of 5 values (0 to 4) and one of 101.
    Choice 410 is 4 · 101 + 6, so its positions are 4 and 6.
    """

    continuous = False

    def __init__(self, leaf: Leaf, base: int) -> None:
        space = leaf.space
        self.path, self.space, self.base = leaf.path, space, base
        shape = space.shape or ()
        low: int | np.ndarray
        if isinstance(space, spaces.Discrete):
            n, low = np.array([int(space.n)], object), np.asarray(space.start)
        elif isinstance(space, spaces.MultiDiscrete):
            n, low = space.nvec.reshape(-1).astype(object), space.start
        elif isinstance(space, spaces.MultiBinary):
            n, low = np.full(math.prod(shape), 2, object), 0
        else:
            assert isinstance(space, spaces.Box)
            n, low = np.asarray(space.high.astype(object) - space.low.astype(object)).reshape(-1) + 1, space.low
        self.n = [int(value) for value in n]
        low = np.broadcast_to(np.asarray(low), shape).reshape(-1)
        self._check(leaf, [int(value) for value in low])
        self.low = low.astype(np.int64)  # what only uint64 holds wraps around, and back when decoded
        self.digits = np.array([_digits(value, base) for value in self.n], np.int64)
        self.scalar = np.repeat(np.arange(len(self.n)), self.digits)
        self.weight = (
            np.concatenate([base ** np.arange(count - 1, -1, -1) for count in self.digits]).astype(np.int64)
            if self.n
            else np.zeros(0, np.int64)
        )
        # The leading digit may be short; the others have all `base` values unless their prefix is already the largest.
        last = (np.array(self.n, np.int64) - 1)[self.scalar] // self.weight % base
        leading = np.diff(self.scalar, prepend=-1) > 0
        self.last, self.leading = last, leading
        self.sizes = np.where(leading, last + 1, base)

    def _check(self, leaf: Leaf, lowest: list[int]) -> None:
        """Checks that whole numbers can count the choices."""
        place = f"{type(leaf.space).__name__} at leaf '{leaf.path or '(root)'}'"
        most = np.iinfo(self.space.dtype if self.space.dtype != bool else np.uint8).max
        if any(n > 2**63 - 1 or low + n - 1 > most for n, low in zip(self.n, lowest, strict=True)):
            raise UnsupportedSpaceError(
                f"{place} has choices beyond its dtype {self.space.dtype} or beyond 2^63; give it a larger dtype or "
                "fewer choices."
            )

    def encode(self, values: np.ndarray) -> np.ndarray:
        flat = np.asarray(values).reshape(len(values), -1).astype(np.int64) - self.low
        if self.leading.all():  # one digit each
            return flat.astype(np.float32)
        digits = flat[:, self.scalar] // self.weight
        return np.where(self.leading, digits, digits % self.base).astype(np.float32)

    def limit(self, logits: np.ndarray, element: int, chosen: np.ndarray) -> np.ndarray:
        """Forbids digits that would leave the range, given the digits ``chosen`` (N, element) before this one.

        In the example above, after the leading digit 4 only 0 to 95 are left: 4 · 101 + 95 is choice 499.
        """
        if self.leading[element]:
            return logits
        first = element - 1
        while not self.leading[first]:
            first -= 1
        at_edge = (chosen[:, first:element] == self.last[first:element]).all(axis=1)
        logits = logits.copy()
        logits[at_edge, self.last[element] + 1 :] = -np.inf
        return logits

    def only(self, logits: np.ndarray, element: int, chosen: np.ndarray, legal: np.ndarray) -> np.ndarray:
        """Forbids digits that no choice of ``legal`` (N, n) has after the digits ``chosen`` (N, element).

        In the example above, if only 3 and 410 are legal, the leading digit is 0 or 4, and after 4 comes 6.
        """
        first = element
        while not self.leading[first]:
            first -= 1
        weight, codes = self.weight[element], np.arange(legal.shape[1])
        prefix = (chosen[:, first:element] * self.weight[first:element]).sum(axis=1).astype(np.int64)
        open_codes = legal & (codes - codes % (weight * self.base) == prefix[:, None])
        reachable = np.zeros(logits.shape, bool)
        rows, places = np.nonzero(open_codes)
        reachable[rows, places // weight % self.base] = True
        return np.where(reachable, logits, -np.inf)

    def decode(self, positions: np.ndarray) -> np.ndarray:
        flat = positions.astype(np.int64)
        if not self.leading.all():  # choices of several digits
            digits, flat = flat * self.weight, np.zeros((len(positions), len(self.n)), np.int64)
            np.add.at(flat.T, self.scalar, digits.T)
        return (flat + self.low).reshape(len(positions), *(self.space.shape or ())).astype(self.space.dtype)


def _digits(n: int, base: int) -> int:
    """How many digits ``n`` choices need. A logarithm would be wrong just above a high power of the base."""
    if base < 2:
        raise ValueError(f"digits of base {base} cannot tell choices apart")
    count = 1
    while base**count < n:
        count += 1
    return count


class _ContinuousLeaf:
    """Box: maps bounded scalars linearly, unbounded ones through symlog, to [-1, 1]."""

    continuous = True

    def __init__(self, leaf: Leaf) -> None:
        assert isinstance(leaf.space, spaces.Box)
        self.path, self.space = leaf.path, leaf.space
        self.low, self.high = (bound.reshape(-1).astype(np.float64) for bound in (leaf.space.low, leaf.space.high))
        has_low, has_high = self.low > -UNBOUNDED, self.high < UNBOUNDED
        self.linear = has_low & has_high
        self.origin = np.where(has_low & ~has_high, self.low, np.where(has_high & ~has_low, self.high, 0.0))
        # 0: open on both sides
        self.sign = np.where(has_low & ~has_high, 1.0, np.where(has_high & ~has_low, -1.0, 0.0))
        self.width = np.ones(len(self.low))
        np.subtract(self.high, self.low, out=self.width, where=self.linear)
        self.width[self.width < 1e-300] = 1  # equal bounds, or all but equal
        self.is_linear = bool(self.linear.all())
        self.bottom, self.scale = _common(np.where(self.linear, self.low, 0)), _common(2 / self.width)
        self.sizes = np.zeros(len(self.low), np.int64)

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Positions ``(N, n)`` in [-1, 1] of actions ``(N, *shape)``."""
        # what is clipped to -1 or 1 below is as well taken for 1e300, whose distances are finite
        flat = np.asarray(values, np.float64).reshape(len(values), -1).clip(-1e300, 1e300)
        unit = (flat - self.bottom) * self.scale - 1
        if not self.is_linear:
            distance = _symlog(flat - self.origin) / SYMLOG_RANGE
            open_ended = np.where(self.sign == 0, distance, 2 * np.abs(distance) - 1)
            unit = np.where(self.linear, unit, open_ended)
        return unit.clip(-1, 1).astype(np.float32)

    def decode(self, positions: np.ndarray) -> np.ndarray:
        unit = np.clip(positions.astype(np.float64), -1, 1)
        linear = self.bottom + (unit + 1) / 2 * self.width
        distance = np.where(self.sign == 0, unit, (unit + 1) / 2 * self.sign) * SYMLOG_RANGE
        values = np.where(self.linear, linear, self.origin + _symexp(distance)).reshape(
            len(positions), *self.space.shape
        )
        dtype, low, high = self.space.dtype, self.space.low, self.space.high
        if np.issubdtype(dtype, np.floating):
            most = np.finfo(dtype).max  # float16 ends before 10,000 above 60,000
            return values.clip(-most, most).astype(dtype).clip(low, high)
        # Rounding near 2^63 would overflow in the cast: take the bound itself there.
        rounded = np.round(values)
        inside = (rounded > low.astype(np.float64)) & (rounded < high.astype(np.float64))
        return np.where(
            inside, np.where(inside, rounded, 0).astype(dtype), np.where(rounded <= low, low, high)
        ).astype(dtype)


def _common(values: np.ndarray) -> np.ndarray | np.float64:
    """One number in place of many equal ones, which computes several times as fast with short rows."""
    return np.float64(values[0]) if len(values) and (values == values[0]).all() else values


class _TextLeaf(_ChoiceLeaf):
    """Text: one element (or more digits) a character, with one choice more for "the text ends here"."""

    def __init__(self, leaf: Leaf, base: int) -> None:
        text = leaf.space
        assert isinstance(text, spaces.Text)
        self.text, self.characters = text, sorted(text.character_set)
        if text.min_length and not self.characters:
            raise UnsupportedSpaceError(
                f"Text at leaf '{leaf.path or '(root)'}' has no member: there is no character to choose; give it a "
                "charset."
            )
        self.index = {character: number for number, character in enumerate(self.characters)}
        # a text that is shorter than min_length must not end
        choices = [len(self.characters) + (place >= text.min_length) for place in range(text.max_length)]
        super().__init__(Leaf(leaf.path, spaces.MultiDiscrete(np.array(choices, np.int64))), base)

    def encode(self, values: np.ndarray) -> np.ndarray:
        codes = np.array(self.n, np.int64)[None].repeat(len(values), 0) - 1  # the last choice is the end
        for row, value in enumerate(values):
            codes[row, : len(value)] = [self.index[character] for character in value]
        return super().encode(codes)

    def decode(self, positions: np.ndarray) -> np.ndarray:
        end = len(self.characters)
        texts = []
        for row in super().decode(positions):
            ends = np.flatnonzero(row >= end)
            texts.append("".join(self.characters[code] for code in (row[: ends[0]] if len(ends) else row)))
        return leaf_array(self.text, texts)


def _flat(mask: Member, lanes: int) -> np.ndarray:
    """A mask of one leaf, whose scalars may have arrays of their own, as one array ``(N, n)``."""
    several = isinstance(mask, tuple | list) or (isinstance(mask, np.ndarray) and mask.dtype == object)
    if several and any(isinstance(part, tuple | list) or np.ndim(part) for part in mask):
        return np.concatenate([_flat(part, lanes) for part in mask], axis=1)
    return np.asarray(mask).reshape(lanes, -1)


def _action_leaf(leaf: Leaf, choices: int) -> _ChoiceLeaf | _ContinuousLeaf | _TextLeaf:
    space = leaf.space
    size = space.max_length if isinstance(space, spaces.Text) else math.prod(space.shape or ())
    if size > MAX_ELEMENTS:
        raise UnsupportedSpaceError(
            f"{type(space).__name__} at leaf '{leaf.path or '(root)'}' has {size:,} elements, more than an action can "
            f"have ({MAX_ELEMENTS:,}); make it smaller by a wrapper."
        )
    if isinstance(space, spaces.Text):
        return _TextLeaf(leaf, choices)
    if isinstance(space, spaces.Box):
        if np.issubdtype(space.dtype, np.floating):
            return _ContinuousLeaf(leaf)
        # as Python's integers: differences of 64-bit bounds overflow
        width = np.asarray(space.high.astype(object) - space.low.astype(object))
        if (width >= choices).any():
            return _ContinuousLeaf(leaf)
    return _ChoiceLeaf(leaf, choices)


class ActionCodec:
    """Converts between actions of one space and the positions of their elements.

    Args:
        space: any Gymnasium action space whose leaves are supported.
        choices: logits of the model's head.
        bag_buckets: size of the model's embedding table for previous choices.
        element_buckets: size of the model's embedding table for elements.

    Raises:
        UnsupportedSpaceError: if a leaf is not supported, has no member or too many elements; names it.
    """

    def __init__(self, space: Space, choices: int, bag_buckets: int, element_buckets: int) -> None:
        self.space, self.choices, self.bag_buckets = space, choices, bag_buckets
        self.leaves = [_action_leaf(leaf, choices) for leaf in leaves(space)]
        self.sizes = (
            np.concatenate([leaf.sizes for leaf in self.leaves]).astype(np.int64)
            if self.leaves
            else np.zeros(0, np.int64)
        )
        if len(self.sizes) > MAX_ELEMENTS:
            raise UnsupportedSpaceError(
                f"an action of {space!s:.200} has {len(self.sizes):,} elements, more than {MAX_ELEMENTS:,}; "
                "make it smaller by a wrapper."
            )
        owner = [(leaf, index) for leaf in self.leaves for index in range(len(leaf.sizes))]
        self.owner = owner
        self._widths = {leaf.path: sum(leaf.n) if isinstance(leaf, _ChoiceLeaf) else 0 for leaf in self.leaves}
        self.continuous = np.array([leaf.continuous for leaf, _ in owner], bool)
        names = [("element", leaf.path, leaf.continuous, index) for leaf, index in owner]
        self.ids = np.array([bucket(key(*name), 0, element_buckets) for name in names], np.int64).reshape(-1)
        self._choices, self._numbers = np.flatnonzero(~self.continuous), np.flatnonzero(self.continuous)
        self._starts = np.array(
            [key("previous", *names[index]) % (bag_buckets - 1) for index in self._choices], np.int64
        )

    def positions(self, parts: Arrays, environment: str = "the environment", count: int = 1) -> np.ndarray:
        """Positions ``(N, E)`` float32 of actions ``{path: (N, *shape)}``.

        Args:
            parts: the actions by leaf.
            environment: name of the environment, for messages.
            count: N, for a space without leaves.

        Raises:
            NonFiniteError: if an action is NaN or infinite.
        """
        count = len(next(iter(parts.values()))) if parts else count
        columns = []
        for leaf in self.leaves:
            values = parts[leaf.path]
            if leaf.continuous and not np.isfinite(values).all():
                raise NonFiniteError(
                    f"{environment}: the action at leaf '{leaf.path or '(root)'}' is NaN or infinite; "
                    "repair or drop these episodes."
                )
            columns.append(leaf.encode(values))
        return (
            columns[0] if len(columns) == 1 else np.concatenate([np.zeros((count, 0), np.float32), *columns], axis=1)
        )

    def previous(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ids ``(N, k)`` of the choices and the continuous part ``(N, m)`` of an action, as the next token has them."""
        if self.continuous.all():
            return np.zeros((len(positions), 0), np.int64), positions
        ids = (self._starts + positions.take(self._choices, axis=1).astype(np.int64)) % (self.bag_buckets - 1) + 1
        return ids, positions.take(self._numbers, axis=1)

    def choose(
        self,
        logits: np.ndarray,
        means: np.ndarray,
        deviations: np.ndarray,
        deterministic: bool = True,
        temperature: float | np.ndarray = 1.0,
        rng: np.random.Generator | None = None,
        mask: np.ndarray | None = None,
    ) -> np.ndarray:
        """Chooses a position for every element.

        Args:
            logits: scores of the choices, ``(N, E, choices)``; entries beyond an element's size are ignored.
            means: means of continuous elements, ``(N, E)``.
            deviations: expected absolute errors of the means, ``(N, E)``.
            deterministic: take the most likely choice or the mean; otherwise sample (continuous elements from a
                Laplace distribution).
            temperature: sampling temperature, one for all or ``(N,)``.
            rng: random generator, needed for sampling.
            mask: legal choices of all leaves in turn, ``(N, n)``, from `read_mask`; where it allows nothing for a
                scalar, it is ignored.

        Returns:
            Positions ``(N, E)`` float32.
        """
        logits = np.asarray(logits, np.float64)[:, : len(self.sizes)].copy()
        logits[:, np.arange(self.choices) >= self.sizes[:, None]] = -np.inf
        legal = None if mask is None else self._legal(mask, len(logits))
        scores = logits
        if not deterministic:
            assert rng is not None, "sampling needs a random generator"
            heat = np.reshape(np.clip(temperature, COLDEST, HOTTEST), (-1, 1))
            scores = logits / heat[..., None] + rng.gumbel(size=logits.shape)  # the largest is a sample
        best = scores.argmax(axis=2)
        for element, (leaf, index) in enumerate(self.owner):
            # which digits are possible, and legal, depends on the digits before
            if isinstance(leaf, _ChoiceLeaf) and (legal is not None or not leaf.leading[index]):
                chosen = best[:, element - index : element]
                possible = leaf.limit(scores[:, element], index, chosen)
                if legal is not None:
                    possible = leaf.only(possible, index, chosen, legal[element])
                best[:, element] = possible.argmax(axis=1)
        values = np.asarray(means, np.float32)
        if not deterministic:
            assert rng is not None
            values = rng.laplace(values, np.maximum(deviations, 0) * heat).astype(np.float32)
        inside = np.minimum(np.maximum(values, -1), 1)  # several times as fast as `clip` with short rows
        return np.where(self.continuous, inside, best.astype(np.float32))

    def _legal(self, mask: np.ndarray, lanes: int) -> dict[int, np.ndarray]:
        """Legal choices ``(N, n)`` of the scalar of every choice; a row that allows nothing counts as no mask."""
        self._check_mask(mask, lanes)
        counts = [n for leaf in self.leaves if isinstance(leaf, _ChoiceLeaf) for n in leaf.n]
        parts = np.split(mask.astype(bool), np.cumsum(counts)[:-1], axis=1)
        digits = [digits for leaf in self.leaves if isinstance(leaf, _ChoiceLeaf) for digits in leaf.digits]
        each = [
            part | ~part.any(axis=1, keepdims=True)
            for part, count in zip(parts, digits, strict=True)
            for _ in range(count)
        ]
        return dict(zip(self._choices.tolist(), each, strict=True))

    def _check_mask(self, mask: np.ndarray, lanes: int) -> None:
        choices = sum(self._widths.values())
        if mask.shape != (lanes, choices) or not choices:
            raise SpaceMismatchError(
                f"action_mask has shape {mask.shape}, expected {(lanes, choices)}: one entry for each choice of "
                f"{self.space}"
            )

    def read_mask(self, mask: Member, lanes: int) -> np.ndarray:
        """Legal choices of all leaves in turn, ``(N, n)`` of ``N = lanes``, as `choose` takes them.

        Args:
            mask: an array ``(n,)`` or ``(N, n)``; what `sample` of the action space takes as a mask (a dict or a tuple
                by parts, None for a part that is free), its arrays with or without an axis of lanes; or an object array
                of such masks, one for each lane, None where all is legal.
            lanes: number of lanes.

        Raises:
            SpaceMismatchError: if it is a mask of another space.
        """
        try:
            read = self._read(self.space, mask, lanes, "")
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise SpaceMismatchError(
                f"action_mask {mask!r:.80} does not fit {self.space!s:.200} in {lanes} lane(s): expected one entry for "
                "each choice, or a mask as action_space.sample takes it"
            ) from error
        self._check_mask(read, lanes)
        return read

    def _read(self, space: Space, mask: Member, lanes: int, path: str) -> np.ndarray:
        by_lane = (isinstance(mask, list) and lanes > 1) or (isinstance(mask, np.ndarray) and mask.dtype == object)
        if by_lane and len(mask) == lanes:
            return np.concatenate([self._read(space, one, 1, path) for one in mask])
        if isinstance(space, spaces.Dict | spaces.Tuple):
            parts = children(space, path)
            if mask is None or isinstance(mask, Mapping) or (isinstance(mask, tuple) and len(mask) == len(parts)):
                rows = [self._read(part, None if mask is None else mask[key], lanes, at) for key, at, part in parts]
                return np.concatenate([np.zeros((lanes, 0), bool), *rows], axis=1)
        if mask is None:  # nothing is allowed, which says nothing
            return np.zeros((lanes, self._widths[path]), bool)
        flat = _flat(mask, lanes)
        if isinstance(space, spaces.MultiBinary) and 2 * flat.shape[1] == self._widths[path]:
            # as Gymnasium has it: 0 and 1 are prescribed, 2 is free
            flat = np.stack([flat != 1, flat != 0], axis=-1).reshape(lanes, -1)
        return flat

    def decode(self, positions: np.ndarray) -> Arrays:
        """Actions ``{path: (N, *shape)}``, each a member of its leaf's space, of positions ``(N, E)``."""
        parts, start = {}, 0
        for leaf in self.leaves:
            stop = start + len(leaf.sizes)
            parts[leaf.path] = leaf.decode(positions[:, start:stop])
            start = stop
        return parts
