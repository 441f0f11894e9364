"""The Large Decision Model: a decoder with one token per environment step, and a small head for each action element."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from typing import Any, NoReturn, Self

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModel, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.utils.generic import ModelOutput

from .actions_ldm import NO_LABEL
from .cache_ldm import RingBufferCache, backbone_masks, give_layers_windows, segment_mask
from .configuration_ldm import LDMConfig
from .errors import CheckpointError, NotALanguageModelError

NUM_FEEDBACK = 6  # reward at two scales, whether it is known, terminated, truncated, whether there is a previous step
OCTAVES = (-2, 0, 2, 4)  # frequencies of raw numbers, see LDMFourierStem
NUM_SLOTS = 64  # embeddings that distinguish the tiles or images of one observation
KERNELS, STRIDES = (8, 4, 3), (4, 2, 1)
# Weight of squared errors beside cross-entropies, for actions in [-1, 1]. Ten times as much is worse, see docs/LOG.md.
SQUARED_WEIGHT = 5.0


@dataclass
class LDMOutput(ModelOutput):
    """Output of [`LDMForActionPrediction`][].

    Args:
        loss: mean over rows (environments) of ``row_losses``, when labels are given.
        logits: scores of the choices, ``(P, T, num_choices)``, one row per (row of the batch, action element) as listed
            by ``element_rows``; entries beyond the size of an element are the dtype's minimum.
        means: predicted value of each continuous element, in units of [-1, 1], ``(P, T)``; meaningless for other
            elements.
        deviations: expected absolute error of ``means``, ``(P, T)``.
        row_losses: loss of each row, ``(B,)``, in nats for choices, averaged over elements and steps; NaN for a row
            without labels.
        cache: the roll-out cache.
        hidden_states: hidden states of the backbone, if requested.
        attentions: attention weights of the backbone, if requested.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    means: torch.Tensor | None = None
    deviations: torch.Tensor | None = None
    row_losses: torch.Tensor | None = None
    cache: RingBufferCache | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


def symlog(x: torch.Tensor) -> torch.Tensor:
    """Computes sign(x) log(1 + |x|) (Webber 2012; Hafner et al. 2023)."""
    return x.sign() * x.abs().log1p()


# Only the module that owns a weight may use it: accelerate's hooks load weights from other devices, memory or disk just
# before the forward pass of their module.


class LDMBag(nn.Embedding):
    """Sum of the embeddings of ids ``(..., k)``; 0 is padding."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        if not ids.shape[-1]:
            return self.weight.new_zeros(*ids.shape[:-1], self.embedding_dim)
        summed = F.embedding_bag(ids.reshape(-1, ids.shape[-1]), self.weight, mode="sum", padding_idx=0)
        return summed.view(*ids.shape[:-1], -1)


class LDMColumns(nn.Module):
    """A linear map of ``(..., n)`` to ``(..., width)`` that leaves out the columns beyond ``n``, which may vary.

    It is no `nn.Linear`: adapters (PEFT's ``all-linear``) and quantisers take such a layer to read all of its columns.
    """

    def __init__(self, columns: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, columns))
        nn.init.kaiming_uniform_(self.weight, math.sqrt(5))  # like `nn.Linear`: a seed makes the same model as ever

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x.to(self.weight.dtype), self.weight[:, : x.shape[-1]])


class LDMNumericStem(nn.Module):
    """Maps standardised scalars ``(B, T, n)`` linearly at two scales."""

    def __init__(self, columns: int, width: int) -> None:
        super().__init__()
        self.linear = LDMColumns(columns, width)
        self.fine = LDMColumns(columns, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Compresses far values and spreads values near the mean: a balancing pole stays within a tenth of a standard
        # deviation.
        y: torch.Tensor = self.linear(symlog(x)) + self.fine(torch.tanh(4 * x))
        return y


class LDMFourierStem(nn.Module):
    """Maps raw scalars ``(B, T, n)`` through sines and cosines of several wave lengths (Tancik et al. 2020).

    The input is arcsinh(x): near zero a wave is as long in x as in arcsinh(x), far from zero its length is a constant
    share of x.
    """

    def __init__(self, columns: int, width: int) -> None:
        super().__init__()
        self.linear = LDMColumns(columns * 2 * len(OCTAVES), width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        angles = torch.stack([x * (math.pi * 2.0**octave) for octave in OCTAVES], dim=-1)
        # cos - 1, so that a padded column adds nothing
        y: torch.Tensor = self.linear(torch.cat([angles.sin(), angles.cos() - 1], dim=-1).flatten(-2))
        return y


class LDMGridStem(nn.Module):
    """Maps tiles of symbols ``(G, T, S, S, C)`` to ``(G, T, width)``.

    Narrow embeddings of a cell's symbols are summed; two convolutions and a position-specific linear map follow.
    """

    def __init__(self, config: LDMConfig) -> None:
        super().__init__()
        channels, side = config.grid_channels, (config.grid_size + 1) // 2
        self.symbols = LDMBag(config.grid_buckets, config.grid_embedding, padding_idx=0)
        self.slots = nn.Embedding(NUM_SLOTS, config.grid_embedding)
        self.conv1 = nn.Conv2d(config.grid_embedding, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.linear = nn.Linear(channels * side * side, config.hidden_size)

    def forward(self, grid: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        tiles, steps, side = grid.shape[:3]
        x: torch.Tensor = self.symbols(grid.flatten(1, 3)) + self.slots(slots % NUM_SLOTS)[:, None]
        x = x.view(tiles * steps, side, side, -1).permute(0, 3, 1, 2)
        x = F.gelu(self.conv2(F.gelu(self.conv1(x))))
        x = self.linear(x.flatten(1))
        return x.view(tiles, steps, -1)


class LDMPixelStem(nn.Module):
    """Maps images ``(P, T, 3, size, size)`` uint8 to ``(P, T, width)``."""

    def __init__(self, config: LDMConfig) -> None:
        super().__init__()
        self.convs = nn.ModuleList()
        channels, side = 3, config.image_size
        for out, kernel, stride in zip(config.image_channels, KERNELS, STRIDES, strict=False):
            self.convs.append(nn.Conv2d(channels, out, kernel, stride))
            channels, side = out, (side - kernel) // stride + 1
        self.slots = nn.Embedding(NUM_SLOTS, channels * side * side)
        self.linear = nn.Linear(channels * side * side, config.hidden_size)

    def forward(self, pixels: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        x: torch.Tensor = pixels.flatten(0, 1).to(self.slots.weight.dtype) / 127.5 - 1
        for conv in self.convs:
            x = F.gelu(conv(x))
        x = x.flatten(1).view(*pixels.shape[:2], -1) + self.slots(slots % NUM_SLOTS)[:, None]
        x = self.linear(x)
        return x


def _refusal(method: str) -> Callable[..., NoReturn]:
    """A method of language models that says that it makes no sense here."""

    def refuse(self: PreTrainedModel, *args: object, **kwargs: object) -> NoReturn:
        raise NotALanguageModelError(method)

    return refuse


class LDMPreTrainedModel(PreTrainedModel):
    """Base of the models: weight initialisation, saving and loading."""

    config: LDMConfig
    base_model_prefix = "model"
    main_input_name = "feedback"
    input_modalities = ["time"]
    supports_gradient_checkpointing = True
    _no_split_modules = ["LDMGridStem", "LDMPixelStem", "LDMActionHead"]
    _skip_keys_device_placement = ["cache"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    # the loss is a mean over rows, which a Trainer that accumulates gradients has to average
    accepts_loss_kwargs = False
    # former checkpoints have the backbone's vocabulary of one word
    _keys_to_ignore_on_load_unexpected = [r"backbone\.(embed_tokens|embeddings)\.weight"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, LDMColumns):
            init.normal_(module.weight, std=self.config.initializer_range)

    generate = _refusal("generate")
    resize_token_embeddings = _refusal("resize_token_embeddings")
    set_output_embeddings = _refusal("set_output_embeddings")
    get_position_embeddings = _refusal("get_position_embeddings")
    resize_position_embeddings = _refusal("resize_position_embeddings")

    @classmethod
    def from_pretrained_backbone(cls, backbone: str | PathLike[str], **kwargs: Any) -> Self:
        """A new model whose decoder has the weights of a pretrained language model; all other weights are initialised.

        The result is saved and loaded like any other LDM, without the language model.

        Args:
            backbone: folder or Hub id of a language model of a type in ``BACKBONES``. Its vocabulary is left out.
            **kwargs: further fields of [`LDMConfig`].

        Raises:
            CheckpointError: if there is no such model, or it lacks weights.
            ValueError: if its type is not supported; names those that are.
        """
        model = cls(LDMConfig(backbone=str(backbone), **kwargs))
        try:
            decoder, loading = AutoModel.from_pretrained(
                backbone,
                config=model.config.backbone_config,
                dtype=model.dtype,
                ignore_mismatched_sizes=True,  # the vocabulary
                output_loading_info=True,
            )
        except (OSError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(f"no weights of a language model at {backbone}: {error}") from error
        decoder.set_input_embeddings(None)
        lacking = loading["missing_keys"] | {name for name, *_ in loading["mismatched_keys"]}
        if lacking := sorted(lacking & decoder.state_dict().keys()):
            raise CheckpointError(f"{backbone}: {len(lacking)} weights of the decoder are missing, {lacking[0]} first")
        model.base_model.get_submodule("backbone").load_state_dict(decoder.state_dict())
        return model


class LDMModel(LDMPreTrainedModel):
    """Stems and decoder: takes steps of environments, gives one hidden state per step."""

    def __init__(self, config: LDMConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.bag = LDMBag(config.bag_buckets, width, padding_idx=0)
        self.numeric = LDMNumericStem(config.max_numeric, width)
        self.raw_numeric = LDMFourierStem(config.max_numeric, width)
        self.action_numeric = LDMNumericStem(config.max_action_numeric, width)
        self.feedback = nn.Linear(NUM_FEEDBACK, width)
        self.grid = LDMGridStem(config)
        self.pixels = LDMPixelStem(config)
        self.norm = nn.RMSNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        # in the dtype of the other modules, whatever its own configuration says
        self.backbone = AutoModel.from_config(config.backbone_config, dtype=torch.get_default_dtype())
        # it is fed embeddings: a word would never get a gradient
        self.backbone.set_input_embeddings(None)
        self.backbone.tp_plan.pop("embed_tokens", None)
        if config.layer_windows is not None:
            give_layers_windows(self.backbone, config.layer_windows)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.bag

    def set_input_embeddings(self, value: Any) -> None:
        self.bag = value

    def embed_task(self, task: torch.Tensor) -> torch.Tensor:
        """Embeds the ids of task texts ``(B, k)`` as ``(B, width)``."""
        text: torch.Tensor = self.bag(task)
        if not self.config.scaled_task:
            return text
        return text / task.ne(0).sum(-1, keepdim=True).clamp(min=1).sqrt().to(text.dtype)

    def forward(
        self,
        feedback: torch.Tensor,
        signature: torch.Tensor,
        numeric: torch.Tensor | None = None,
        raw_numeric: torch.Tensor | None = None,
        categorical: torch.Tensor | None = None,
        action_numeric: torch.Tensor | None = None,
        task: torch.Tensor | None = None,
        grid: torch.Tensor | None = None,
        grid_rows: torch.Tensor | None = None,
        grid_slots: torch.Tensor | None = None,
        pixels: torch.Tensor | None = None,
        pixel_rows: torch.Tensor | None = None,
        pixel_slots: torch.Tensor | None = None,
        cache: RingBufferCache | None = None,
        use_cache: bool | None = None,
        active: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Runs the decoder over ``B`` streams of ``T`` steps.

        The inputs come from [`LDMProcessor`][]; [`LDMForActionPrediction`][] describes them.
        """
        # a model in half precision takes the processor's float32
        bag = self.bag(signature)[:, None]
        x = self.feedback(feedback.to(bag.dtype)) + bag
        if numeric is not None:
            x = x + self.numeric(numeric)
        if raw_numeric is not None:
            x = x + self.raw_numeric(raw_numeric)
        if action_numeric is not None:
            x = x + self.action_numeric(action_numeric)
        if categorical is not None:
            x = x + self.bag(categorical)
        if task is not None:
            x = x + self.embed_task(task)[:, None]
        if grid is not None:
            x = x.index_add(0, grid_rows, self.grid(grid, grid_slots).to(x.dtype))
        if pixels is not None:
            x = x.index_add(0, pixel_rows, self.pixels(pixels, pixel_slots).to(x.dtype))
        x = self.norm(x)
        embeds = x + self.mlp(x)
        if cache is None and use_cache:
            cache = RingBufferCache.from_config(self.config, len(embeds), embeds.device)
        outputs: BaseModelOutputWithPast
        if cache is None:
            make = functools.partial(segment_mask, self.config, self.backbone.config, embeds)
            masks = backbone_masks(self.config, make)
            outputs = self.backbone(inputs_embeds=embeds, use_cache=False, **masks, **kwargs)
            return outputs
        steps = embeds.shape[1]
        if steps > 1 and cache.is_recurrent:
            raise ValueError("layers without attention take one step at a time from a cache")
        outputs = self.backbone(
            inputs_embeds=embeds,
            **backbone_masks(self.config, functools.partial(cache.attention_mask, embeds.dtype, steps)),
            position_ids=cache.position_ids(steps),
            cache=cache,
            use_cache=True,
            **kwargs,
        )
        cache.advance(active, steps)
        # `CompiledModel` calls `cache.count` itself; a Python counter here would split the graph.
        if not torch.compiler.is_compiling():
            cache.count(getattr(self.backbone, "rotary_emb", None), steps)
        return outputs


class LDMActionHead(nn.Module):
    """Predicts one action element from the hidden state of a step and the embedding of the element."""

    def __init__(self, config: LDMConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.hidden = nn.Linear(width, width)
        self.elements = nn.Embedding(config.element_buckets, width, padding_idx=0)
        self.logits = nn.Linear(width, config.num_choices)
        self.means = nn.Linear(width, 1)
        self.deviations = nn.Linear(width, 1)

    def forward(
        self, hidden: torch.Tensor, rows: torch.Tensor, ids: torch.Tensor, sizes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Computes logits ``(P, T, num_choices)``, means and deviations ``(P, T)``.

        Args:
            hidden: hidden states of the steps, ``(B, T, width)``.
            rows: row of the batch that an element belongs to, ``(P,)``.
            ids: ids of the elements, ``(P,)``.
            sizes: number of choices of an element, ``(P,)``; 0 for a continuous one.
        """
        # The first layer is shared by the elements of a step: only its sum with the element's embedding differs.
        x = F.gelu(self.hidden(hidden)[rows] + self.elements(ids)[:, None])
        logits = self.logits(x).float()
        beyond = torch.arange(logits.shape[-1], device=logits.device) >= sizes[:, None]
        # Detached: the error estimate must not change the features behind the mean.
        deviations = self.deviations(x.detach())
        return (
            logits.masked_fill(beyond[:, None], torch.finfo(logits.dtype).min),
            self.means(x).squeeze(-1).float(),
            deviations.squeeze(-1).float(),
        )


class LDMForActionPrediction(LDMPreTrainedModel):
    """[`LDMModel`][] with the action head: predicts the reference policy's action of every step."""

    def __init__(self, config: LDMConfig) -> None:
        super().__init__(config)
        self.model = LDMModel(config)
        self.action_head = LDMActionHead(config)
        self.post_init()

    def forward(
        self,
        feedback: torch.Tensor,
        signature: torch.Tensor,
        element_rows: torch.Tensor,
        element_ids: torch.Tensor,
        element_sizes: torch.Tensor,
        labels: torch.Tensor | None = None,
        numeric: torch.Tensor | None = None,
        raw_numeric: torch.Tensor | None = None,
        categorical: torch.Tensor | None = None,
        action_numeric: torch.Tensor | None = None,
        task: torch.Tensor | None = None,
        grid: torch.Tensor | None = None,
        grid_rows: torch.Tensor | None = None,
        grid_slots: torch.Tensor | None = None,
        pixels: torch.Tensor | None = None,
        pixel_rows: torch.Tensor | None = None,
        pixel_slots: torch.Tensor | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> LDMOutput | tuple[object, ...]:
        """Predicts actions of ``B`` streams of ``T`` steps. All inputs come from [`LDMProcessor`][].

        Args:
            feedback: reward and flags of the previous step, ``(B, T, 6)``.
            signature: ids of the pair of spaces, ``(B, k)``.
            element_rows: row of the batch that an action element belongs to, ``(P,)``.
            element_ids: ids of the elements, ``(P,)``.
            element_sizes: number of choices of an element, ``(P,)``; 0 for a continuous one.
            labels: the reference's action, ``(P, T)``: numbers of choices, or values in [-1, 1]; -100: no label.
            numeric: standardised scalars of the observation, ``(B, T, n)``.
            raw_numeric: arcsinh of the unscaled scalars, ``(B, T, n)``, float32 even if the weights are not.
            categorical: ids of the observation's and the previous action's choices, ``(B, T, k)``; 0 is padding.
            action_numeric: continuous part of the previous action in [-1, 1], ``(B, T, m)``.
            task: ids of the task text, ``(B, k)``; zeros if there is none.
            grid: tiles of symbols, ``(G, T, S, S, C)``.
            grid_rows: row of the batch that a tile belongs to, ``(G,)``.
            grid_slots: key of the tile's place in the observation, ``(G,)``.
            pixels: images, ``(P, T, 3, size, size)`` uint8.
            pixel_rows: row of the batch that an image belongs to, ``(P,)``.
            pixel_slots: key of the image's place in the observation, ``(P,)``.
            return_dict: False returns a tuple.
            **kwargs: in a roll-out: ``cache`` (``use_cache=True`` to begin) and ``active``, the lanes whose history
                takes in these steps, ``(B,)`` bool; arguments such as ``output_hidden_states``.
        """
        numbers = (numeric, raw_numeric, categorical, action_numeric, task)
        pictures = (grid, grid_rows, grid_slots, pixels, pixel_rows, pixel_slots)
        outputs = self.model(feedback, signature, *numbers, *pictures, **kwargs)
        logits, means, deviations = self.action_head(
            outputs.last_hidden_state, element_rows, element_ids, element_sizes
        )
        loss = row_losses = None
        if labels is not None:
            row_losses = self._row_losses(
                logits, means, deviations, labels, element_rows, element_sizes, len(feedback)
            )
            loss = row_losses.nanmean()
        output = LDMOutput(
            loss=loss,
            logits=logits,
            means=means,
            deviations=deviations,
            row_losses=row_losses,
            cache=outputs.cache,
            hidden_states=outputs.hidden_states,
            attentions=outputs.get("attentions"),  # a state space has none
        )
        if return_dict is None:
            return_dict = self.config.return_dict
        return output if return_dict else output.to_tuple()

    @staticmethod
    def _row_losses(
        logits: torch.Tensor,
        means: torch.Tensor,
        deviations: torch.Tensor,
        labels: torch.Tensor,
        rows: torch.Tensor,
        sizes: torch.Tensor,
        count: int,
    ) -> torch.Tensor:
        """Loss of each row ``(B,)``: cross-entropy of choices and squared errors of continuous elements.

        It is the mean over elements and labelled steps: a row weighs the same however many elements its action has.
        """
        labelled, continuous = labels != NO_LABEL, (sizes == 0)[:, None]
        choices = torch.where(labelled & ~continuous, labels, 0).long()
        nll = -logits.log_softmax(-1).gather(-1, choices[..., None]).squeeze(-1)
        error = means - labels
        squared = SQUARED_WEIGHT * (error.square() + (deviations - error.detach().abs()).square())
        losses = torch.where(continuous, squared, nll) * labelled
        sums = losses.new_zeros(count).index_add(0, rows, losses.sum(1))
        counts = losses.new_zeros(count).index_add(0, rows, labelled.sum(1).to(losses.dtype))
        return sums / counts.masked_fill(counts == 0, float("nan"))


__all__ = ["LDMForActionPrediction", "LDMModel", "LDMOutput", "LDMPreTrainedModel"]
