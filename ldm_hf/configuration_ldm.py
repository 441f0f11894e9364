"""Configuration of the Large Decision Model."""

# No postponed annotations here: transformers validates the types of the fields and would see strings.

import json
import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import field
from pathlib import Path
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig, Qwen3Config
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME
from transformers.utils.hub import cached_file, get_checkpoint_shard_files

from .errors import CheckpointError, short

# Decoders that tests/model/test_backbones.py runs: rotary positions over the whole head (or no attention at all), and
# states that begin at zero.
BACKBONES = (
    *("qwen3", "qwen2", "llama", "mistral", "olmo2", "granite"),
    *("lfm2", "mamba2", "olmo_hybrid", "granitemoehybrid"),
)
RECURRENT = ("conv", "linear_attention")  # types of layers without attention
WINDOWED = ("qwen3", "qwen2", "mistral")  # backbones whose own attention has the sliding window
OWN_WINDOWS = ("qwen3", "qwen2")  # those among them whose layers can differ in it
PRETRAINED_WINDOW = 128  # for a language model without a sliding window

LARGEST = 2**24  # of any single size; larger ones are damage, and would take memory before anybody notices
LAYERS = 2**10
PARAMETERS = 2**36
PER_BYTE = 8  # parameters of a model for each byte of its weights; more would be made up, and take memory
ADAPTER = "adapter_config.json"
INDEX_BYTES = 2**26  # of the list of the files of weights
LIMITS = {
    "num_choices": 2**16,
    "max_numeric": 2**20,
    "max_action_numeric": 2**16,
    "max_text_tokens": 2**12,
    "bag_buckets": LARGEST,
    "element_buckets": LARGEST,
    "grid_buckets": LARGEST,
    "grid_embedding": 2**12,
    "grid_channels": 2**12,
    "grid_size": 2**8,
    "image_size": 2**11,
}
FLAGS = ("output_attentions", "output_hidden_states", "return_dict", "use_cache", "scaled_task")
# What a file may ask for; anything else, such as a kernel of the Hub, is code from elsewhere.
ATTENTIONS = (None, "eager", "sdpa", "flex_attention")

Fields = dict[str, Any]
"""Fields of a configuration by name."""

PRESETS: dict[str, Fields] = {
    # Trains on two CPU cores in minutes.
    "ldm-nano": {
        "backbone": {
            "hidden_size": 192,
            "intermediate_size": 448,
            "num_hidden_layers": 3,
            "num_attention_heads": 6,
            "sliding_window": 32,
        },
        "initializer_range": 0.05,  # small networks learn faster from larger weights; 0.02 is for widths near 1,000
        "scaled_task": True,
        "bag_buckets": 4096,
        "element_buckets": 512,
    },
    "ldm-small": {
        "backbone": {
            "hidden_size": 384,
            "intermediate_size": 1024,
            "num_hidden_layers": 9,
            "num_attention_heads": 6,
            "sliding_window": 64,
        },
        "initializer_range": 0.03,
        "scaled_task": True,
        "bag_buckets": 16384,
        "image_size": 64,
        "image_channels": [32, 64, 64],
    },
    # The published size of LDM-v0 (arXiv 2606.24962); its layers and widths are not public.
    "ldm-base": {
        "backbone": {
            "hidden_size": 1024,
            "intermediate_size": 2784,
            "num_hidden_layers": 22,
            "num_attention_heads": 16,
            "sliding_window": 128,
        },
        "initializer_range": 0.02,
        "scaled_task": True,
        "bag_buckets": 16384,
        "image_size": 84,
        "image_channels": [32, 64, 64],
    },
}


@strict
class LDMConfig(PreTrainedConfig):
    r"""Configuration of [`LDMModel`][] and [`LDMForActionPrediction`][].

    Attributes:
        backbone_config: configuration of one of transformers' decoders in ``BACKBONES`` (Qwen3-style by default).
        backbone: folder or Hub id of a pretrained language model. Without a ``backbone_config``, that of this model is
            read; only ``LDMForActionPrediction.from_pretrained_backbone`` loads its weights.
        window: number of steps that a layer with attention sees; 0 takes the backbone's own sliding window (128 for a
            language model without one).
        layer_windows: number of steps that each layer sees, such as ``[32, 32, 512]``, 0 for a layer without
            attention; ``window`` is then the largest of them. None: ``window`` for all layers.
        num_choices: number of logits of the action head.
        max_numeric: columns for the numeric scalars of an observation; more scalars share them, with alternating signs.
        max_action_numeric: columns for the continuous part of the previous action.
        max_text_tokens: maximal number of words and word pairs of a text observation or task text.
        bag_buckets: size of the hashed embedding table of choices and words.
        element_buckets: size of the embedding table of action elements.
        grid_buckets: size of the embedding table of symbols.
        grid_embedding: width of one symbol's embedding.
        grid_size: side of a tile of a symbol grid; larger grids become several tiles.
        grid_channels: channels of the convolutions over a tile.
        image_size: side of the square that pixel observations are resized to.
        image_channels: output channels of the pixel convolutions (kernels 8, 4, 3 with strides 4, 2, 1; Mnih et al.
            2015).
        initializer_range: standard deviation of initial weights.
        scaled_task: divide the sum of the task text's embeddings by the root of their number, as all presets do: a
            longer sum drowns what a single step shows, and hinders learning what has to be remembered. False: the
            plain sum, as in models whose configuration does not name it.
    """

    model_type = "ldm"
    sub_configs = {"backbone_config": AutoConfig}
    keys_to_ignore_at_inference = ["cache"]

    backbone_config: Fields | PreTrainedConfig | None = None
    backbone: str | None = None
    window: int = 0
    layer_windows: list[int] | tuple[int, ...] | None = None
    num_choices: int = 101
    max_numeric: int = 256
    max_action_numeric: int = 32
    max_text_tokens: int = 32
    bag_buckets: int = 8192
    element_buckets: int = 1024
    grid_buckets: int = 8192
    grid_embedding: int = 16
    grid_size: int = 10
    grid_channels: int = 32
    image_size: int = 56
    image_channels: list[int] | tuple[int, ...] = field(default_factory=lambda: [16, 32])
    initializer_range: float = 0.02
    scaled_task: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        check_sizes({name: getattr(self, name) for name in LIMITS})
        if self.backbone_config is None and self.backbone is not None:
            decoder = _pretrained_decoder(self.backbone)
            self.window = self.window or getattr(decoder, "sliding_window", None) or PRETRAINED_WINDOW
        elif self.backbone_config is None:
            decoder = _qwen3(PRESETS["ldm-nano"]["backbone"], self.initializer_range)
        elif isinstance(self.backbone_config, dict):
            values = dict(self.backbone_config)
            if values.get("model_type", "qwen3") not in BACKBONES:
                raise ValueError(_not_supported(values["model_type"]))
            _check_numbers(values)
            decoder = AutoConfig.for_model(values.pop("model_type", "qwen3"), **values)
        else:
            decoder = deepcopy(self.backbone_config)
        # Kept here, since not every decoder has a window (the model gives those a mask), and some lose it on loading.
        if self.layer_windows is not None:
            self.layer_windows = _checked_windows(self.layer_windows, _layer_kinds(decoder))
            self.window = max(self.layer_windows)
        self.window = self.window or getattr(decoder, "sliding_window", None) or 0
        decoder.sliding_window = self.window
        if decoder.model_type in WINDOWED and getattr(decoder, "layer_types", None):
            decoder.layer_types = ["sliding_attention"] * decoder.num_hidden_layers
        decoder.vocab_size, decoder.pad_token_id = 1, None  # it is fed embeddings
        decoder.bos_token_id = decoder.eos_token_id = None
        self.backbone_config = decoder
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict: Fields, **kwargs: Any) -> "LDMConfig":
        """Takes over the fields of a saved configuration, which may come from a stranger.

        Raises:
            ValueError: if it would fetch a configuration or code from elsewhere.
        """
        decoder = config_dict.get("backbone_config") or {}
        if not isinstance(decoder, dict) or (config_dict.get("backbone") and not decoder):
            raise ValueError("the configuration has no usable backbone_config")
        _check_numbers(config_dict)
        for place in (config_dict, decoder):
            if wrong := [name for name in FLAGS if place.get(name) not in (None, True, False)]:
                raise ValueError(f"{wrong[0]} is {short(place[wrong[0]])}")
            for name in ("attn_implementation", "_attn_implementation"):
                if place.get(name) not in ATTENTIONS:
                    raise ValueError(
                        f"the configuration asks for the {name} {short(place[name])}, which may be code from "
                        "elsewhere; remove it there, and pass attn_implementation yourself if you trust it"
                    )
        config: LDMConfig = super().from_dict(config_dict, **kwargs)
        return config

    def validate_sizes(self) -> None:
        """Checks that the model is of a size that can exist.

        Raises:
            ValueError: if it has more than ``PARAMETERS``, or its cache as many numbers.
        """
        cache = self.hidden_size * sum(self.windows)
        if max(self.num_parameters, cache) > PARAMETERS:
            raise ValueError(
                f"a model of about {self.num_parameters:.3g} parameters, whose cache holds {cache:.3g} numbers, "
                "is larger than any that can be used"
            )

    @property
    def num_parameters(self) -> int:
        """Approximate number of parameters, from the sizes alone."""
        decoder, width = self._decoder, self.hidden_size
        rows = self.bag_buckets + self.element_buckets + self.num_choices + self.max_numeric + self.max_action_numeric
        layer = width * (4 * width + 3 * int(getattr(decoder, "intermediate_size", None) or width))
        kernels = 64 * math.prod(max(1, int(channels)) for channels in self.image_channels[-2:])
        grids = self.grid_buckets * self.grid_embedding
        return rows * width + int(decoder.num_hidden_layers) * layer + kernels + grids

    def validate_backbone(self) -> None:
        """Checks that roll-outs are possible.

        They need a decoder whose cache is supported, and a window: attention over an endless stream would need endless
        memory.

        Raises:
            ValueError: if the type of decoder is not supported, or there is no window.
        """
        kind = self._decoder.model_type
        if kind not in BACKBONES:
            raise ValueError(_not_supported(kind))
        if self.window < 1:
            raise ValueError(
                f"backbone_config of type {kind!r} has no sliding_window, and window is {self.window}; "
                "set window=W, the steps that attention sees."
            )

    @property
    def _decoder(self) -> Any:
        """The backbone's configuration; its fields depend on its type."""
        return self.backbone_config

    @property
    def layer_kinds(self) -> list[str]:
        """Types of the backbone's layers, transformers' ``layer_types``: ``"conv"``, ``"sliding_attention"``, ..."""
        return _layer_kinds(self._decoder)

    @property
    def windows(self) -> list[int]:
        """Number of steps that each layer sees; 0 for a layer without attention."""
        if self.layer_windows is not None:
            return list(self.layer_windows)
        return [0 if kind in RECURRENT else self.window for kind in self.layer_kinds]

    @property
    def default_segment(self) -> int:
        """Steps of a training segment: four times the shortest window, and no less than the longest."""
        return max(4 * min((window for window in self.windows if window), default=self.window), self.window)

    @property
    def hidden_size(self) -> int:
        """Width of a token."""
        return int(self._decoder.hidden_size)

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> "LDMConfig":
        """A configuration of a published size.

        Args:
            name: ``ldm-nano`` (~3M parameters), ``ldm-small`` (~25M) or ``ldm-base`` (~308M, the size of LDM-v0).
            **overrides: fields that differ from the preset.

        Raises:
            ValueError: if there is no preset of this name.

        Example:
            >>> LDMConfig.preset("ldm-base", num_choices=51).window
            128
        """
        if name not in PRESETS:
            raise ValueError(f"no preset {name!r}; there are: {', '.join(PRESETS)}")
        values = dict(PRESETS[name])
        backbone = _qwen3(values.pop("backbone"), values["initializer_range"])
        return cls(**({"backbone_config": backbone} | values | overrides))


def check_sizes(sizes: Fields) -> None:
    """Checks sizes that processor and model share before anything is made of them.

    Raises:
        ValueError: if one is no whole number from 1 to its limit.
    """
    for name, size in sizes.items():
        if type(size) is not int or not 1 <= size <= LIMITS[name]:
            raise ValueError(f"{name} should be a whole number from 1 to {LIMITS[name]}, is {short(size)}")


def _check_numbers(values: Fields) -> None:
    """Raises a `ValueError` if a whole number in the fields of a configuration is larger than any that makes sense."""
    for name, size in values.items():
        limit = LAYERS if name in ("num_hidden_layers", "num_labels") else LARGEST
        if isinstance(size, int) and abs(size) > limit and "theta" not in name:
            raise ValueError(f"{name} is {size:.3g}, at most {limit} is possible")


def _layer_kinds(decoder: Any) -> list[str]:
    return getattr(decoder, "layer_types", None) or ["sliding_attention"] * decoder.num_hidden_layers


def _checked_windows(windows: Sequence[int], kinds: Sequence[str]) -> list[int]:
    """The windows of all layers.

    Raises:
        ValueError: if there are more or fewer than layers, one is of an impossible size, or no layer attends.
    """
    if len(windows) != len(kinds):
        raise ValueError(f"layer_windows has {len(windows)} windows for {len(kinds)} layers; give one for each layer")
    for number, (window, kind) in enumerate(zip(windows, kinds, strict=True)):
        if kind in RECURRENT and window != 0:
            raise ValueError(f"layer_windows: layer {number} ({kind}) does not attend; its window is 0, not {window}")
        if kind not in RECURRENT and not 1 <= window <= LARGEST:
            raise ValueError(f"layer_windows: the window of layer {number} is {window}; give 1 to {LARGEST} steps")
    if not any(windows):
        raise ValueError("layer_windows: none of the layers attends; leave it out")
    return list(windows)


def _not_supported(kind: object) -> str:
    return f"backbone_config of type {kind!r} is not supported; these are: {', '.join(BACKBONES)}."


def _pretrained_decoder(path: str) -> PreTrainedConfig:
    """The configuration of a pretrained language model."""
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(path)
        return config
    except (OSError, ValueError) as error:
        raise CheckpointError(f"no pretrained language model at {path}: {error}") from error


def _qwen3(sizes: Fields, initializer_range: float) -> Qwen3Config:
    """A Qwen3-style decoder with sliding-window attention in every layer and no vocabulary (it is fed embeddings)."""
    return Qwen3Config(
        **sizes,
        head_dim=sizes["hidden_size"] // sizes["num_attention_heads"],
        num_key_value_heads=sizes["num_attention_heads"],
        use_sliding_window=True,
        max_window_layers=0,
        vocab_size=1,
        initializer_range=initializer_range,
        max_position_embeddings=8192,
    )


def check_weights(path_or_repo: str | Path, parameters: int) -> None:
    """Checks that there are weights for a model before memory is taken for it.

    Args:
        path_or_repo: folder or Hub id of the model.
        parameters: number of parameters that its configuration describes.

    Raises:
        OSError: if there are no weights in safetensors.
        ValueError: if they are by far too few.
    """
    size = weight_bytes(path_or_repo)
    if parameters > PER_BYTE * size:
        raise ValueError(f"config.json describes about {parameters:,} parameters, but the weights have {size:,} bytes")


def base_of(path_or_repo: str | Path) -> str:
    """Where the weights of a model are: elsewhere if there is only an adapter of PEFT.

    Raises:
        OSError: if there is nothing.
        ValueError: if the adapter is damaged.
    """
    place = str(path_or_repo)
    adapter = cached_file(place, ADAPTER, _raise_exceptions_for_missing_entries=False)
    return place if adapter is None else str(json.loads(Path(adapter).read_bytes())["base_model_name_or_path"])


def weight_bytes(path_or_repo: str | Path) -> int:
    """Size of the weights of a model, in a folder or on the Hub, whence they are fetched.

    Raises:
        OSError: if there are none in safetensors.
        ValueError: if their index is damaged.
    """
    place = str(path_or_repo)
    whole = cached_file(place, SAFE_WEIGHTS_NAME, _raise_exceptions_for_missing_entries=False)
    if whole is not None:
        return Path(whole).stat().st_size
    index = cached_file(place, SAFE_WEIGHTS_INDEX_NAME, _raise_exceptions_for_missing_entries=False)
    if index is None:
        raise OSError(f"it has no {SAFE_WEIGHTS_NAME}; weights in other formats are not read")
    names = set(json.loads(Path(index).read_bytes()[:INDEX_BYTES])["weight_map"].values())
    if outside := [name for name in names if Path(name).name != name]:
        raise ValueError(f"{SAFE_WEIGHTS_INDEX_NAME} names the file {short(outside[0])}")
    parts, _ = get_checkpoint_shard_files(place, index)
    return sum(Path(part).stat().st_size for part in parts)


__all__ = ["BACKBONES", "PRESETS", "LDMConfig"]
