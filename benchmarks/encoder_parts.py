"""Rejected alternatives to parts of the model; encoders.py patches each into the package for the duration of a run."""

from __future__ import annotations

from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import torch
from torch import nn

from ldm_hf import LDMConfig, LDMForActionPrediction, layout_ldm, modeling_ldm
from ldm_hf.actions_ldm import NO_LABEL
from ldm_hf.layout_ldm import EnvironmentLayout
from ldm_hf.modeling_ldm import LDMColumns, LDMNumericStem, LDMOutput, symlog
from ldm_hf.observations_ldm import ObservationEncoder
from ldm_hf.statistics_ldm import RunningStatistics

NEXT_WEIGHT = 0.0


class LDM(LDMForActionPrediction):
    """The model, which inside of `next_observation` also predicts the numbers of the next observation."""

    def __init__(self, config: LDMConfig) -> None:
        super().__init__(config)
        if NEXT_WEIGHT:
            self.next_numeric = nn.Linear(config.hidden_size, config.max_numeric)

    def forward(self, **inputs: torch.Tensor) -> LDMOutput:
        if not (NEXT_WEIGHT and self.training and "numeric" in inputs):
            return super().forward(**inputs)
        output = super().forward(**inputs, output_hidden_states=True)
        target = symlog(inputs["numeric"])[:, 1:]
        predicted = self.next_numeric(output.hidden_states[-1])[:, :-1, : target.shape[-1]]
        output.loss = output.loss + NEXT_WEIGHT * (predicted - target).square().sum(-1).mean()
        return output


@contextmanager
def next_observation(weight: float):
    """Adds the squared error of the next observation's standardised numbers as a second loss."""
    with patch.dict(globals(), {"NEXT_WEIGHT": weight}):
        yield


def no_signature():
    """Withholds the space layout from the model."""
    return patch.object(EnvironmentLayout, "_signature", lambda self: np.zeros(1, np.int64))


@contextmanager
def nothing_standardised():
    """Keeps only the Fourier features of raw values of an observation's numbers."""

    def zeros(x, mean, deviation):
        return np.zeros_like(x)

    with patch.object(layout_ldm, "standardise", zeros):
        yield


@contextmanager
def running(confidence):
    """Multiplies running statistics by ``confidence(number of steps so far)``."""
    prefix, observe = layout_ldm.prefix_standardise, RunningStatistics.observe

    def of_segment(x, precision=0.0, first=0):
        return prefix(x, precision, first) * confidence(np.arange(first + 1, len(x) + 1))[:, None]

    def of_lanes(self, x, active):
        return observe(self, x, active) * confidence(self.count)[:, None]

    with (
        patch.object(layout_ldm, "prefix_standardise", of_segment),
        patch.object(RunningStatistics, "observe", of_lanes),
    ):
        yield


def no_fourier():
    """Keeps only standardised numbers."""
    return patch.object(modeling_ldm.LDMFourierStem, "forward", lambda self, x: 0.0)


def fourier_of_standardised():
    """Takes Fourier features of the standardised instead of the raw numbers."""
    encode = ObservationEncoder.encode

    def changed(self, parts, numbers, standardised):
        return encode(self, parts, np.sinh(np.clip(standardised, -10, 10)), standardised)

    return patch.object(ObservationEncoder, "encode", changed)


def octaves(*chosen: int):
    """Uses other wave lengths."""
    return patch.object(modeling_ldm, "OCTAVES", chosen)


class _BentFourierStem(LDMNumericStem):
    """Waves through the two scales of standardised numbers, which adds overtones."""

    def __init__(self, columns: int, width: int) -> None:
        super().__init__(columns * 2 * len(modeling_ldm.OCTAVES), width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        angles = torch.stack([x * (np.pi * 2.0**octave) for octave in modeling_ldm.OCTAVES], dim=-1)
        return super().forward(torch.cat([angles.sin(), angles.cos() - 1], dim=-1).flatten(-2))


def bent_waves():
    """Uses `_BentFourierStem` for Fourier features."""
    return patch.object(modeling_ldm, "LDMFourierStem", _BentFourierStem)


class _OneScale(LDMNumericStem):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(symlog(x))


class _ThreeScales(LDMNumericStem):
    def __init__(self, columns: int, width: int) -> None:
        super().__init__(columns, width)
        self.finest = LDMColumns(columns, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + self.finest(torch.tanh(16 * x))


def one_scale():
    """Keeps only the compressed values of standardised numbers."""
    return patch.object(modeling_ldm, "LDMNumericStem", _OneScale)


def three_scales():
    """Adds a third scale of standardised numbers, four times finer."""
    return patch.object(modeling_ldm, "LDMNumericStem", _ThreeScales)


class _BinsHead(modeling_ldm.LDMActionHead):
    """Continuous elements as a distribution over ``num_choices`` bins; its mean, or part of it, is the action."""

    neighbours = 3

    def forward(self, hidden, rows, ids, sizes):
        bins = self.logits.out_features
        logits, _, deviations = super().forward(hidden, rows, ids, torch.where(sizes == 0, bins, sizes))
        places = torch.arange(bins, device=logits.device)
        distance = (places - logits.argmax(-1, keepdim=True)).abs()
        share = logits.masked_fill(distance > self.neighbours, -torch.inf).softmax(-1)
        return logits, (share @ places.float()) / (bins - 1) * 2 - 1, 0 * deviations


def _hl_gauss(logits, position):
    """Divergence from a Gaussian of one bin (Farebrother et al. 2024)."""
    distance = torch.arange(logits.shape[-1]) - position[..., None]
    target = (-0.5 * distance.square()).log_softmax(-1)
    return (target.exp() * (target - logits.log_softmax(-1))).sum(-1)


def _two_hot(logits, position):
    """Cross-entropy of the two bins around the label."""
    low = position.floor().long().clamp(max=logits.shape[-1] - 2)
    near, far = (-logits.log_softmax(-1).gather(-1, (low + up)[..., None]).squeeze(-1) for up in (0, 1))
    return torch.lerp(near, far, position - low)


def _mean_of_rows(losses, labelled, rows, count):
    sums, counts = (torch.zeros(count).index_add(0, rows, x.sum(1).float()) for x in (losses * labelled, labelled))
    return sums / counts.masked_fill(counts == 0, float("nan"))


def _of_choices(logits, labels, sizes):
    """Cross-entropies, a mask of labelled steps, and a mask of continuous elements."""
    labelled, continuous = labels != NO_LABEL, (sizes == 0)[:, None]
    choices = torch.where(labelled & ~continuous, labels, 0).long()
    return -logits.log_softmax(-1).gather(-1, choices[..., None]).squeeze(-1), labelled, continuous


def absolute_error(weight: float):
    """Trains continuous elements by the absolute error: the median instead of the mean (Zhao et al. 2023)."""

    def row_losses(logits, means, deviations, labels, rows, sizes, count):
        nll, labelled, continuous = _of_choices(logits, labels, sizes)
        losses = torch.where(continuous, weight * (means - labels).abs(), nll)
        return _mean_of_rows(losses, labelled, rows, count)

    return patch.object(LDMForActionPrediction, "_row_losses", staticmethod(row_losses))


@contextmanager
def bins(targets=_hl_gauss, neighbours: int = 3):
    """Bins instead of regression; the action is the mean of the likeliest bin and ``neighbours`` on each side."""

    def row_losses(logits, means, deviations, labels, rows, sizes, count):
        nll, labelled, continuous = _of_choices(logits, labels, sizes)
        of_bins = targets(logits, (labels.clamp(-1, 1) + 1) / 2 * (logits.shape[-1] - 1))
        return _mean_of_rows(torch.where(continuous, of_bins, nll), labelled, rows, count)

    with (
        patch.object(LDMForActionPrediction, "_row_losses", staticmethod(row_losses)),
        patch.object(_BinsHead, "neighbours", neighbours),
        patch.object(modeling_ldm, "LDMActionHead", _BinsHead),
    ):
        yield


def two_hot():
    """Bins whose target weights the two around the label."""
    return bins(_two_hot)


def squared_weight(weight: float):
    """Sets the weight of squared errors against cross-entropies."""
    return patch.object(modeling_ldm, "SQUARED_WEIGHT", weight)


@contextmanager
def two_tokens():
    """A token for the previous action and one for the observation after it; the second one predicts."""
    encode_previous = EnvironmentLayout.encode_previous

    def negative(self, *args, **kwargs):
        ids, numeric, feedback = encode_previous(self, *args, **kwargs)
        return -ids, numeric, feedback  # the sign sets them apart from the observation's ids

    def forward(
        self,
        feedback,
        signature,
        numeric=None,
        raw_numeric=None,
        categorical=None,
        action_numeric=None,
        task=None,
        *pictures,
        cache=None,
        active=None,
        **kwargs,
    ):
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
                inputs_embeds=token,
                attention_mask=mask,
                position_ids=cache.position_ids(),
                cache=cache,
                use_cache=True,
            )
            cache.advance(active)
            cache.count(self.backbone.rotary_emb)
        return outputs

    with (
        patch.object(EnvironmentLayout, "encode_previous", negative),
        patch.object(modeling_ldm.LDMModel, "forward", forward),
    ):
        yield
