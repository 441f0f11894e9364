"""One ring-buffer cache for the streams of all clients: a slot for each lane, of which a step takes any.

All buffers are made once, for ``capacity`` slots. A step writes one key and one value for each of its rows, and attends
to the rows' own slots; nothing is moved when streams come, go or pause.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from ..cache_ldm import (
    REBASE_INTERVAL,
    RecurrentLayer,
    RingBufferCache,
    RingBufferLayer,
    as_array,
    as_tensor,
)


class SlotLayer(RingBufferLayer):
    """Keys and values ``(capacity, H, W, d)`` of one layer."""

    def __init__(self, cache: SlotCache, window: int) -> None:
        super().__init__(cache, window)
        self._cache = cache

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        capacity = len(self._cache.lengths)
        super().lazy_initialization(key_states.expand(capacity, -1, -1, -1), value_states.expand(capacity, -1, -1, -1))

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes one step ``(B, H, 1, d)`` of the chosen rows and returns their buffers; for several, see `ahead`."""
        cache = self._cache
        if not self.is_initialized:
            self.lazy_initialization(key_states[:1], value_states[:1])
        if key_states.shape[2] > 1:
            return self.ahead(key_states, value_states, cache.pick(self.keys), cache.pick(self.values))
        places = cache.current % self.window
        self.keys[cache.rows, :, places] = key_states[:, :, 0]
        self.values[cache.rows, :, places] = value_states[:, :, 0]
        return cache.pick(self.keys), cache.pick(self.values)

    def rebase(self, shift: torch.Tensor, rotary: nn.Module | None) -> None:
        """Turns the keys of the chosen rows back, as `RingBufferLayer.rebase` turns all."""
        rows = self._cache.rows
        few = RingBufferLayer(self._cache, self.window)
        few._rows = torch.arange(len(rows), device=rows.device)
        few.take(self.keys[rows], self.values[rows])
        few.rebase(shift, rotary)
        self.keys[rows], self.values[rows] = few.keys, few.values


class SlotRecurrentLayer(RecurrentLayer):
    """States of one layer without attention, ``(capacity, ...)`` each."""

    def __init__(self, cache: SlotCache) -> None:
        super().__init__(cache)
        self._cache = cache
        self.stores: dict[str, torch.Tensor] = {}

    def fetch(self) -> None:
        """Puts the states of the chosen rows where the backbone overwrites them."""
        for kind, store in self.stores.items():
            self.take(kind, self._cache.pick(store))

    def keep(self, active: torch.Tensor | None) -> None:
        super().keep(active)
        for kind, state in self.states.items():
            if kind not in self.stores:
                self.stores[kind] = state.new_zeros(len(self._cache.lengths), *state.shape[1:])
            self.stores[kind][self._cache.rows] = state


class SlotCache(RingBufferCache):
    """The cache of all streams; `choose` says whose step comes next. Arguments as for `RingBufferCache`, with
    ``lanes`` as the capacity."""

    attending_layer, recurrent_layer = SlotLayer, SlotRecurrentLayer
    taken: torch.Tensor | slice
    _recurrent: list[SlotRecurrentLayer]  # type: ignore[assignment]  # narrower than the base's

    def choose(self, rows: np.ndarray) -> None:
        """Makes these slots, ``(B,)``, the rows of the next step; each at most once."""
        self.rows = torch.from_numpy(rows).to(self.lengths.device)
        first = int(rows[0])
        # neighbours are read where they lie; others are brought together for the attention
        together = bool((rows == np.arange(first, first + len(rows))).all())
        self.taken = slice(first, first + len(rows)) if together else self.rows
        self._current = self.lengths[self.rows]
        for layer in self._recurrent:
            layer.fetch()

    def pick(self, buffer: torch.Tensor) -> torch.Tensor:
        """The chosen rows of a buffer."""
        if isinstance(self.taken, slice):
            return buffer[self.taken]
        return buffer.index_select(0, self.taken)  # takes half as long as an index in brackets

    @property
    def current(self) -> torch.Tensor:
        return self._current

    def advance(self, active: torch.Tensor | None, steps: int = 1) -> None:
        for layer in self._recurrent:
            layer.keep(active)
        self._write(active, steps)
        self.lengths[self.rows] = self._current + steps * (1 if active is None else active.to(self.lengths))

    def take_back(self) -> None:
        """Forgets the step that was to be taken, after a failure."""
        self.lengths[self.rows] = self._current

    def _rebase(self, rotary: nn.Module | None) -> None:
        """As for `RingBufferCache`, but slots that are empty or have just begun are not touched."""
        self.rows = (self.lengths >= 2 * self.window).nonzero()[:, 0]
        shift = (self.lengths[self.rows] // self.window - 1) * self.window
        self.lengths[self.rows] -= shift
        for layer in self._attending if len(self.rows) else []:
            layer.rebase(shift, rotary)

    @torch.inference_mode()
    def clear(self, slots: np.ndarray) -> None:
        """Empties slots, ``(B,)``, so that nothing of their stream is left."""
        chosen = torch.from_numpy(slots).to(self.lengths.device)
        self.lengths[chosen] = 0
        for buffer in self._buffers().values():
            buffer[chosen] = 0

    def _buffers(self) -> dict[str, torch.Tensor]:
        """All that is kept beside the lengths, ``(capacity, ...)`` each, by the names of `RingBufferCache.arrays`."""
        found: dict[str, torch.Tensor] = {}
        for number, layer in enumerate(self._attending):
            if layer.is_initialized:
                found |= {f"keys.{number}": layer.keys, f"values.{number}": layer.values}
        for number, recurrent in enumerate(self._recurrent):
            found |= {f"{kind}.{number}": store for kind, store in recurrent.stores.items()}
        return found

    @torch.inference_mode()
    def export(self, slots: np.ndarray) -> dict[str, np.ndarray]:
        """What slots, ``(B,)``, hold, as `RingBufferCache.arrays` of a cache of ``B`` lanes gives it."""
        chosen = torch.from_numpy(slots).to(self.lengths.device)
        begun = bool(self.lengths[chosen].any())
        # a cache of its own re-bases its positions when its steps reach a multiple of the interval
        steps = self._steps % REBASE_INTERVAL or REBASE_INTERVAL if begun else 0
        found = {"lengths": as_array(self.lengths[chosen]), "steps": np.array(steps)}
        if begun:
            found |= {name: as_array(buffer[chosen]) for name, buffer in self._buffers().items()}
        return found

    @torch.inference_mode()
    def restore(self, slots: np.ndarray, arrays: Mapping[str, np.ndarray]) -> None:
        """Puts into slots, ``(B,)``, what `export`, or `RingBufferCache.arrays` of ``B`` lanes, gave.

        Raises:
            ValueError: if they are those of a cache of another size; the slots keep what they had.
            KeyError: if one is missing.
        """
        chosen = torch.from_numpy(slots).to(self.lengths.device)
        lengths, steps = torch.from_numpy(arrays["lengths"]), int(arrays["steps"])
        longest = 2 * REBASE_INTERVAL + self.window
        if lengths.shape != chosen.shape or lengths.dtype != torch.long or not steps >= 0:
            raise ValueError(f"a history of {lengths.shape} steps in {steps}")
        if ((lengths < 0) | (lengths > longest)).any():
            raise ValueError("a history of an impossible length")
        if not steps:
            self.clear(slots)
            return
        buffers = self._buffers()
        if not buffers:
            raise ValueError("this server has not made a step yet")
        given = {name: as_tensor(arrays[name], self.lengths.device) for name in buffers}
        for name, buffer in buffers.items():
            if given[name].shape != (len(slots), *buffer.shape[1:]) or given[name].dtype != buffer.dtype:
                raise ValueError(f"{name} is {given[name].dtype} {tuple(given[name].shape)}")
            if not given[name].isfinite().all():
                raise ValueError(f"{name} is not finite")
        self.lengths[chosen] = lengths.to(self.lengths)
        for name, buffer in buffers.items():
            buffer[chosen] = given[name]
