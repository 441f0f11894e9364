"""A ring-buffer cache: constant time and memory per step for streams of any length, with lanes that move independently.

Attention does not depend on the order of its keys, and rotary positions are applied before a key is written. So the
newest key simply replaces the one that has just left the window, instead of shifting the whole buffer (as transformers'
static sliding cache does). Every layer has a window of its own.

Layers without attention (short convolutions, state spaces) keep a state of fixed size. A stream begins with a state of
zeros.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import nn
from transformers.cache_utils import Cache, CacheLayerMixin, LinearAttentionLayer
from transformers.masking_utils import create_sliding_window_causal_mask

from .configuration_ldm import OWN_WINDOWS, RECURRENT, WINDOWED, Fields, LDMConfig

REBASE_INTERVAL = 1024  # steps; rotary angles of larger positions would lose float32 precision


def as_array(tensor: torch.Tensor) -> np.ndarray:
    """A tensor as an array; NumPy has no bfloat16."""
    tensor = tensor.detach().cpu()
    return tensor.view(torch.int16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()


def as_tensor(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """The tensor that `as_array` gave."""
    tensor = torch.from_numpy(array).to(device)
    return tensor.view(torch.bfloat16) if tensor.dtype == torch.int16 else tensor


def turned_back(keys: torch.Tensor, shift: torch.Tensor, rotary: Any) -> torch.Tensor:
    """Keys ``(B, H, W, d)`` as if they had been written ``shift``, ``(B,)``, positions earlier."""
    cos, sin = (part[:, None] / rotary.attention_scaling for part in rotary(keys, shift[:, None]))
    half = keys.shape[-1] // 2
    # minus rotate_half: the angle is negative
    turned: torch.Tensor = keys * cos + torch.cat([keys[..., half:], -keys[..., :half]], dim=-1) * sin
    return turned


class RingBufferLayer(CacheLayerMixin):
    """Keys and values ``(B, H, W, d)`` of one layer; lane ``b`` is written at slot ``lengths[b] % W``."""

    is_sliding = True
    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, cache: RingBufferCache, window: int) -> None:
        super().__init__()
        self._lengths, self._rows, self.window = cache.lengths, cache.rows, window

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        batch, heads, _, width = key_states.shape
        self.keys = key_states.new_zeros(batch, heads, self.window, width)
        self.values = value_states.new_zeros(batch, heads, self.window, value_states.shape[-1])
        self.dtype, self.device = key_states.dtype, key_states.device
        self.is_initialized = True

    def take(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Takes over keys and values ``(B, H, W, d)``."""
        self.lazy_initialization(keys, values)
        self.keys.copy_(keys)
        self.values.copy_(values)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes one step ``(B, H, 1, d)`` and returns the whole buffers; for several, see `ahead`."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if key_states.shape[2] > 1:
            return self.ahead(key_states, value_states, self.keys, self.values)
        slots = self._lengths % self.window
        self.keys[self._rows, :, slots] = key_states[:, :, 0]
        self.values[self._rows, :, slots] = value_states[:, :, 0]
        return self.keys, self.values

    def ahead(
        self, new_keys: torch.Tensor, new_values: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The buffers ``(B, H, W, d)`` and behind them several steps ``(B, H, T, d)``, which `write` will write.

        The first of these steps still attend to what the last ones will replace.
        """
        self._new = new_keys, new_values
        return torch.cat([keys, new_keys], dim=2), torch.cat([values, new_values], dim=2)

    def write(self, rows: torch.Tensor, lengths: torch.Tensor) -> None:
        """Writes the newest of the steps that came last.

        Args:
            rows: rows of the buffers that take them in, ``(B,)``; negative for one that does not.
            lengths: steps that each row has kept, ``(B,)``.
        """
        steps, taken = self._new[0].shape[2], rows >= 0
        newest = torch.arange(max(steps - self.window, 0), steps, device=rows.device)
        slots = (lengths[taken][:, None] + newest) % self.window
        for buffer, new in zip((self.keys, self.values), self._new, strict=True):
            buffer[rows[taken][:, None], :, slots] = new[taken][:, :, newest].transpose(1, 2)
        del self._new

    def rebase(self, shift: torch.Tensor, rotary: nn.Module | None) -> None:
        """Turns every key back by a number of positions, ``(B,)``, and moves it to the slot of its new position."""
        if bool((shift % self.window).any()):
            slots = (torch.arange(self.window, device=shift.device) + shift[:, None]) % self.window
            for part in (self.keys, self.values):
                part.copy_(part[self._rows[:, None], :, slots].transpose(1, 2))
        if rotary is not None:
            self.keys.copy_(turned_back(self.keys, shift, rotary))

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.window, 0

    def get_seq_length(self) -> int:
        return int(self._lengths.max())

    def get_max_length(self) -> int:
        return self.window


class RecurrentLayer(LinearAttentionLayer):
    """States ``(B, ...)`` of one layer, which the backbone overwrites in place in every step."""

    def __init__(self, cache: RingBufferCache) -> None:
        super().__init__()
        self._before: dict[str, torch.Tensor] = {}  # the states before the step

    def keep(self, active: torch.Tensor | None) -> None:
        """Keeps the step in lanes where ``active``, ``(B,)`` bool, is True (None: all), takes it back in the others."""
        for name, state in self.states.items():
            if name not in self._before:
                self._before[name] = torch.zeros_like(state)
            before = self._before[name]
            if active is not None:
                state.copy_(torch.where(active.view(-1, *[1] * (state.dim() - 1)), state, before))
            before.copy_(state)

    @property
    def states(self) -> dict[str, torch.Tensor]:
        """The states by kind, as far as a step has made them."""
        states = {"conv": self.conv_states[0], "recurrent": self.recurrent_states[0]}
        return {kind: state for kind, state in states.items() if state is not None}

    def take(self, kind: str, state: torch.Tensor) -> None:
        """Takes over a state."""
        if kind == "conv":
            self.lazy_initialization(conv_states=state)
        else:
            self.lazy_initialization(recurrent_states=state)
        self.states[kind].copy_(state)
        self._before[kind] = state.clone()
        self.has_previous_state[0] = True

    # states made in a roll-out under inference mode may be written there only
    @torch.inference_mode()
    def clear(self, lanes: torch.Tensor | slice) -> None:
        """Resets the states of these lanes."""
        for state in (*self.states.values(), *self._before.values()):
            state[lanes] = 0


class RingBufferCache(Cache):
    """The cache of a roll-out on ``lanes`` environments.

    Args:
        window: number of keys that attention sees, W; or that of each layer, 0 for one without attention.
        layers: number of the backbone's layers, or the type of each: ``"conv"`` and ``"linear_attention"`` keep a
            state, all others attend.
        lanes: number of environments stepped together, B.
        device: device of the model.
    """

    attending_layer: Callable[[Any, int], RingBufferLayer] = RingBufferLayer
    recurrent_layer: Callable[[Any], RecurrentLayer] = RecurrentLayer

    def __init__(
        self,
        window: int | Sequence[int],
        layers: int | Sequence[str],
        lanes: int,
        device: torch.device | str = "cpu",
    ) -> None:
        types = ["sliding_attention"] * layers if isinstance(layers, int) else layers
        windows = [window] * len(types) if isinstance(window, int) else window
        self.window = max(windows)  # the longest
        self.rows = torch.arange(lanes, device=device)
        self.lengths = torch.zeros(lanes, dtype=torch.long, device=device)
        self._steps = 0
        all_layers: list[Any] = [
            self.recurrent_layer(self) if kind in RECURRENT else self.attending_layer(self, steps)
            for kind, steps in zip(types, windows, strict=True)
        ]
        self._attending = [layer for layer in all_layers if isinstance(layer, RingBufferLayer)]
        self._recurrent = [layer for layer in all_layers if isinstance(layer, RecurrentLayer)]
        super().__init__(layers=all_layers)

    @classmethod
    def from_config(cls, config: LDMConfig, lanes: int, device: torch.device | str = "cpu") -> Self:
        """An empty cache for a model of this configuration."""
        return cls(config.layer_windows or config.window, config.layer_kinds, lanes, device)

    def take(self, lengths: torch.Tensor, history: Sequence[torch.Tensor]) -> None:
        """Takes over a history of its own size.

        Args:
            lengths: steps that each lane has kept, ``(B,)``.
            history: keys of all layers that attend, then their values, ``(B, H, W, d)`` each.
        """
        self.lengths.copy_(lengths)
        for layer, keys, values in zip(
            self._attending, history[: len(history) // 2], history[len(history) // 2 :], strict=True
        ):
            layer.take(keys, values)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """All that it holds, by name; bfloat16 as the int16 of the same bits."""
        found = {"lengths": self.lengths, "steps": torch.tensor(self._steps)}
        if self.has_begun:
            for number, layer in enumerate(self._attending):
                found |= {f"keys.{number}": layer.keys, f"values.{number}": layer.values}
            for number, recurrent in enumerate(self._recurrent):
                found |= {f"{kind}.{number}": state for kind, state in recurrent.states.items()}
        return {name: as_array(tensor) for name, tensor in found.items()}

    @torch.inference_mode()  # as a roll-out makes its tensors
    def take_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes over what `arrays` of a cache of this size gave.

        Raises:
            ValueError: if they are those of a cache of another size.
        """
        lanes, device = len(self.rows), self.lengths.device
        lengths, steps = torch.from_numpy(arrays["lengths"]), int(arrays["steps"])
        if lengths.shape != (lanes,) or lengths.dtype != torch.long or steps < 0:
            raise ValueError(f"a history of {lengths.shape} steps in {steps}")
        self.lengths.copy_(lengths)
        self._steps = steps
        if not steps:
            return
        for number, layer in enumerate(self._attending):
            keys, values = (as_tensor(arrays[f"{name}.{number}"], device) for name in ("keys", "values"))
            if any((len(part), part.shape[2]) != (lanes, layer.window) for part in (keys, values)):
                raise ValueError(f"layer {number} has keys {tuple(keys.shape)}")
            layer.take(keys, values)
        for number, recurrent in enumerate(self._recurrent):
            for kind in ("conv", "recurrent"):
                if f"{kind}.{number}" in arrays:
                    recurrent.take(kind, as_tensor(arrays[f"{kind}.{number}"], device))

    @property
    def history(self) -> list[torch.Tensor]:
        """Keys of all layers that attend, then their values, ``(B, H, W, d)`` each."""
        return [*(layer.keys for layer in self._attending), *(layer.values for layer in self._attending)]

    @property
    def has_begun(self) -> bool:
        """Whether it has taken in a step, and so made its buffers."""
        return self._steps > 0

    @property
    def is_recurrent(self) -> bool:
        """Whether it has layers without attention."""
        return bool(self._recurrent)

    @property
    def current(self) -> torch.Tensor:
        """Steps that each lane of the step about to be written has kept, ``(B,)``."""
        return self.lengths

    def position_ids(self, steps: int = 1) -> torch.Tensor:
        """Positions ``(B, T)`` of the ``T`` steps about to be written."""
        first = self.current[:, None]
        return first if steps == 1 else first + torch.arange(steps, device=self.lengths.device)

    @property
    def windows(self) -> list[int]:
        """Length of the buffer of each layer that attends."""
        return [layer.window for layer in self._attending]

    def attention_mask(self, dtype: torch.dtype, steps: int = 1, window: int | None = None) -> torch.Tensor:
        """Additive mask ``(B, 1, T, W)``, or ``(B, 1, T, W + T)`` of several steps, see `RingBufferLayer.ahead`.

        A lane sees the slots written since its start that are in the window, and the steps up to its own.

        Args:
            dtype: dtype of the model.
            steps: number of steps about to be written, T.
            window: window of the layer, W; the longest by default.
        """
        window, device = window or self.window, self.lengths.device
        slots = torch.arange(window, device=device)
        if steps == 1:
            seen = (slots <= self.current[:, None])[:, None]
        else:
            queries, keys = self.position_ids(steps)[:, :, None], self.position_ids(steps)[:, None]
            last = self.current[:, None] - 1
            written = last - (last - slots) % window  # position of what each slot holds
            keys = torch.cat([written[:, None], keys], dim=2)
            seen = (keys >= 0) & (keys <= queries) & (keys > queries - window)
        mask = torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill(~seen, torch.finfo(dtype).min)
        return mask[:, None]

    def advance(self, active: torch.Tensor | None, steps: int = 1) -> None:
        """Moves on after steps.

        Args:
            active: lanes that keep the steps just taken, ``(B,)`` bool; the others forget them. None: all keep them.
            steps: number of steps.
        """
        for layer in self._recurrent:
            layer.keep(active)
        self._write(active, steps)
        self.lengths += steps if active is None else steps * active.to(self.lengths)

    def _write(self, active: torch.Tensor | None, steps: int) -> None:
        """Writes several steps, which `RingBufferLayer.update` leaves to it."""
        if steps > 1:
            rows = self.rows if active is None else self.rows.masked_fill(~active, -1)
            for layer in self._attending:
                layer.write(rows, self.current)

    def count(self, rotary: nn.Module | None, steps: int = 1) -> None:
        """Counts the steps and re-bases positions from time to time: the part of `advance` that cannot be compiled.

        Args:
            rotary: the backbone's rotary embedding, None if no layer attends.
            steps: number of steps.
        """
        self._steps += steps
        if self._steps % REBASE_INTERVAL < steps:
            self._rebase(rotary)

    def _rebase(self, rotary: nn.Module | None) -> None:
        """Turns every key back by a multiple of the longest window, so that positions stay small."""
        shift = (self.lengths // self.window - 1).clamp(min=0) * self.window
        self.lengths -= shift
        for layer in self._attending:
            layer.rebase(shift, rotary)

    def reset(self, lanes: torch.Tensor | np.ndarray | None = None) -> None:
        """Empties all lanes, or those where ``lanes``, ``(B,)`` bool, is True."""
        chosen = slice(None) if lanes is None else torch.as_tensor(lanes, device=self.lengths.device)
        self.lengths[chosen] = 0
        for layer in self._recurrent:
            layer.clear(chosen)


# --- masks, where a window is not the backbone's own


def give_layers_windows(backbone: Any, windows: Sequence[int]) -> None:
    """Makes each layer of a decoder take its own of the masks that `backbone_masks` gives."""
    for number, (layer, window) in enumerate(zip(backbone.layers, windows, strict=True)):
        layer.register_forward_pre_hook(functools.partial(_take_own_mask, number), with_kwargs=True)
        if backbone.config.model_type in OWN_WINDOWS:
            layer.self_attn.sliding_window = window  # of attention that takes no mask


def _take_own_mask(
    number: int, layer: nn.Module, args: tuple[object, ...], kwargs: Fields
) -> tuple[tuple[object, ...], Fields]:
    """Gives a layer its own mask. Decoders know one mask for all layers, and hand further arguments on to them."""
    kwargs["attention_mask"] = kwargs.pop("layer_masks")[number]
    return args, kwargs


def backbone_masks(config: LDMConfig, make: Callable[[int], object]) -> Fields:
    """Arguments of the backbone: the mask that ``make`` makes of the window, or that of each layer's window."""
    if config.layer_windows is None:
        return {"attention_mask": make(config.window)}
    made = {window: make(window) for window in sorted(set(config.windows)) if window}
    any_mask = next((mask for mask in made.values() if mask is not None), None)  # spares the backbone to make one
    return {"attention_mask": any_mask, "layer_masks": [made.get(window) for window in config.windows]}


def segment_mask(config: LDMConfig, decoder: Any, embeds: torch.Tensor, window: int) -> object:
    """Mask of a whole segment: a step sees ``window`` steps up to itself. None: the backbone takes care of that.

    Args:
        config: configuration of the model.
        decoder: configuration of its backbone as it is now, which knows the kind of attention.
        embeds: embeddings of the steps, ``(B, T, width)``.
        window: window of a layer.

    Raises:
        ValueError: if the attention takes no mask, and the backbone has no such window of its own.
    """
    kind, own = decoder.model_type, config.layer_windows is not None
    if set(config.layer_kinds) <= set(RECURRENT) or (kind in WINDOWED and not own):
        return None
    if window != decoder.sliding_window:
        decoder = copy.copy(decoder)
        decoder.sliding_window = window
    mask = create_sliding_window_causal_mask(decoder, inputs_embeds=embeds, attention_mask=None, cache=None)
    if mask is None and embeds.shape[1] > window and not (own and kind in OWN_WINDOWS):
        raise ValueError(
            f"attention {decoder._attn_implementation!r} takes no mask, and a {kind!r} backbone has no window of "
            'its own; use attn_implementation="sdpa" or one of these backbones: '
            + ", ".join(OWN_WINDOWS if own else WINDOWED)
        )
    return mask
