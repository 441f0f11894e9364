"""Parts of the model that did not become its own, each put in place of the package's for the duration of a run of encoders.py."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ldm_hf import LDMForActionPrediction, agent, modeling_ldm, processing_ldm
from ldm_hf.actions import ActionCodec
from ldm_hf.modeling_ldm import LDMColumns, LDMNumericStem, symlog
from ldm_hf.observations import ObservationEncoder
from ldm_hf.processing_ldm import EnvironmentLayout
from ldm_hf.statistics_ldm import RunningStatistics

NEXT_WEIGHT = 0.0


class LDM(LDMForActionPrediction):
    """The model, which also predicts the numbers of the next observation if `next_observation` says so."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        if NEXT_WEIGHT:
            self.next_numeric = nn.Linear(config.hidden_size, config.max_numeric)

    def forward(self, **inputs: Any) -> Any:
        if not (NEXT_WEIGHT and self.training and "numeric" in inputs):
            return super().forward(**inputs)
        output = super().forward(**inputs, output_hidden_states=True)
        target = symlog(inputs["numeric"])[:, 1:]
        predicted = self.next_numeric(output.hidden_states[-1])[:, :-1, : target.shape[-1]]
        output.loss = output.loss + NEXT_WEIGHT * (predicted - target).square().sum(-1).mean()
        return output


@contextmanager
def next_observation(weight: float):
    """Squared error of the next observation's standardised numbers as a second loss."""
    with patch.dict(globals(), {"NEXT_WEIGHT": weight}):
        yield


def no_signature():
    """The space layout is not told."""
    return patch.object(EnvironmentLayout, "_signature", lambda self: np.zeros(1, np.int64))


@contextmanager
def nothing_standardised():
    """Only the Fourier features of raw values are left of an observation's numbers."""

    def zeros(x, mean, std, precision=0.0):
        return np.zeros_like(x)

    with patch.object(processing_ldm, "standardise", zeros), patch.object(agent, "standardise", zeros):
        yield


@contextmanager
def running(confidence):
    """Running statistics times ``confidence(number of steps so far)``."""
    prefix, observe = processing_ldm.prefix_standardise, RunningStatistics.observe

    def of_segment(x, precision=0.0):
        return prefix(x, precision) * confidence(np.arange(1, len(x) + 1))[:, None]

    def of_lanes(self, x, active):
        return observe(self, x, active) * confidence(self.count)[:, None]

    with (
        patch.object(processing_ldm, "prefix_standardise", of_segment),
        patch.object(RunningStatistics, "observe", of_lanes),
    ):
        yield


def no_fourier():
    """Only standardised numbers."""
    return patch.object(modeling_ldm.LDMFourierStem, "forward", lambda self, x: 0.0)


def fourier_of_standardised():
    """Fourier features, but of the standardised numbers."""
    encode = ObservationEncoder.encode

    def changed(self, parts, numbers, standardised):
        return encode(self, parts, np.sinh(np.clip(standardised, -10, 10)), standardised)

    return patch.object(ObservationEncoder, "encode", changed)


def octaves(*chosen: int):
    """Other wave lengths."""
    return patch.object(modeling_ldm, "OCTAVES", chosen)


class _BentFourierStem(LDMNumericStem):
    """Waves through the two scales of standardised numbers, which adds overtones."""

    def __init__(self, columns: int, width: int) -> None:
        super().__init__(columns * 2 * len(modeling_ldm.OCTAVES), width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        angles = torch.stack([x * (np.pi * 2.0**octave) for octave in modeling_ldm.OCTAVES], dim=-1)
        return super().forward(torch.cat([angles.sin(), angles.cos() - 1], dim=-1).flatten(-2))


def bent_waves():
    """See `_BentFourierStem`."""
    return patch.object(modeling_ldm, "LDMFourierStem", _BentFourierStem)


class _OneScale(LDMNumericStem):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(symlog(x))


class _ThreeScales(LDMNumericStem):
    def __init__(self, columns: int, width: int) -> None:
        super().__init__(columns, width)
        self.finest = LDMColumns(columns, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + self.finest(torch.tanh(16 * x))


def one_scale():
    """Only the compressed values."""
    return patch.object(modeling_ldm, "LDMNumericStem", _OneScale)


def three_scales():
    """One more, four times finer."""
    return patch.object(modeling_ldm, "LDMNumericStem", _ThreeScales)


def _mean_over_rows(values, labels, rows, count):
    labelled = labels >= 0
    values = values * labelled
    sums = values.new_zeros(count).index_add(0, rows, values.sum(1))
    counts = values.new_zeros(count).index_add(0, rows, labelled.sum(1).to(values.dtype))
    return sums / counts.masked_fill(counts == 0, float("nan"))


def _two_hot(logits, labels, rows, count, continuous=None):
    log_p = logits.log_softmax(-1)
    position = labels.clamp(min=0)
    low = position.floor().long().clamp(max=logits.shape[-1] - 2)
    share = position - low
    near = -log_p.gather(-1, low[..., None]).squeeze(-1)
    far = -log_p.gather(-1, (low + 1)[..., None]).squeeze(-1)
    plain = -log_p.gather(-1, position.long()[..., None]).squeeze(-1)
    bins = torch.zeros(len(rows), dtype=torch.bool) if continuous is None else continuous
    return _mean_over_rows(torch.where(bins[:, None], near * (1 - share) + far * share, plain), labels, rows, count)


def two_hot():
    """Weight on the two bins around the label."""
    return patch.object(LDMForActionPrediction, "_row_losses", staticmethod(_two_hot))


def heavier(weight: float):
    """Continuous elements weigh more in a loss."""
    row_losses = LDMForActionPrediction._row_losses

    def weighted(logits, labels, rows, count, continuous=None):
        losses = row_losses(logits, labels, rows, count, continuous)
        share = torch.zeros(count).index_add(0, rows, continuous.float()) > 0
        return torch.where(share, weight * losses, losses)

    return patch.object(LDMForActionPrediction, "_row_losses", staticmethod(weighted))


@contextmanager
def regression(weight: float = 50):
    """The first logit is the action in [-1, 1]; Gaussian log-likelihood with a deviation of a tenth of that by default."""

    def losses(logits, labels, rows, count, continuous=None):
        position = labels.clamp(min=0)
        plain = -logits.log_softmax(-1).gather(-1, position.long()[..., None]).squeeze(-1)
        bins = torch.zeros(len(rows), dtype=torch.bool) if continuous is None else continuous
        distance = logits[..., 0] - (2 * position / (logits.shape[-1] - 1) - 1)
        return _mean_over_rows(torch.where(bins[:, None], weight * distance.square(), plain), labels, rows, count)

    def decode(logits, best):
        return (np.clip(logits[..., 0], -1, 1) + 1) / 2 * (logits.shape[-1] - 1)

    with (
        patch.object(LDMForActionPrediction, "_row_losses", staticmethod(losses)),
        patch.object(ActionCodec, "_expectation", staticmethod(decode)),
    ):
        yield


class _GaussianHead(modeling_ldm.LDMActionHead):
    """Bins that start from a Gaussian with a predicted mean and deviation."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.line = nn.Linear(config.hidden_size, 2)

    def forward(self, hidden, rows, ids, sizes):
        x = F.gelu(self.hidden(hidden)[rows] + self.elements(ids)[:, None])
        logits = self.logits(x).float()
        middle, scale = self.line(x).float().unbind(-1)
        bins = logits.shape[-1]
        places = torch.arange(bins, device=logits.device) - (1 + middle[..., None]) / 2 * (bins - 1)
        deviation = scale.clamp(-4, 4).exp()[..., None] * bins / 8
        logits = logits - 0.5 * (places / deviation).square()
        beyond = torch.arange(bins, device=logits.device) >= sizes[:, None]
        return logits.masked_fill(beyond[:, None], torch.finfo(logits.dtype).min)


def gaussian_head():
    """See `_GaussianHead`."""
    return patch.object(modeling_ldm, "LDMActionHead", _GaussianHead)


def mean():
    """The mean of all bins."""

    def decode(logits, best):
        weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return weights @ np.arange(logits.shape[-1]) / weights.sum(axis=-1)

    return patch.object(ActionCodec, "_expectation", staticmethod(decode))


def mode():
    """The most likely bin instead of the mean of those around it."""
    return patch.object(ActionCodec, "_expectation", staticmethod(lambda logits, best: best))


@contextmanager
def two_tokens():
    """A token for what was done and one for what was seen then; the second one predicts."""
    encode_history = EnvironmentLayout.encode_history

    def negative(self, *args, **kwargs):
        ids, numeric, feedback = encode_history(self, *args, **kwargs)
        return -ids, numeric, feedback  # told apart from the observation's ids by their sign

    def forward(
        self,
        feedback,
        signature,
        numeric=None,
        raw_numeric=None,
        categorical=None,
        action_numeric=None,
        task=None,
        **kwargs,
    ):
        cache, active = kwargs.get("cache"), kwargs.get("active")
        seen = self.bag(signature)[:, None].expand(-1, feedback.shape[1], -1)
        done = self.feedback(feedback) + seen
        if task is not None:
            seen = seen + self.bag(task)[:, None]
        if numeric is not None:
            seen = seen + self.numeric(numeric) + self.raw_numeric(raw_numeric)
        if categorical is not None:
            seen = seen + self.bag(categorical.clamp(min=0))
            done = done + self.bag((-categorical).clamp(min=0))
        if action_numeric is not None:
            done = done + self.action_numeric(action_numeric)
        tokens = self.norm(torch.stack([done, seen], dim=2))
        tokens = tokens + self.mlp(tokens)
        if cache is None:
            outputs = self.backbone(inputs_embeds=tokens.flatten(1, 2), use_cache=False)
            outputs.last_hidden_state = outputs.last_hidden_state[:, 1::2]
            return outputs
        for token in tokens.unbind(2):
            mask = cache.attention_mask(token.dtype)
            outputs = self.backbone(
                inputs_embeds=token, attention_mask=mask, position_ids=cache.position_ids, cache=cache, use_cache=True
            )
            cache.advance(active, self.backbone.rotary_emb)
        return outputs

    with (
        patch.object(EnvironmentLayout, "encode_history", negative),
        patch.object(modeling_ldm.LDMModel, "forward", forward),
    ):
        yield
