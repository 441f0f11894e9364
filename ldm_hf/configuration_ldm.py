"""Configuration of the Large Decision Model."""

# No postponed annotations here: transformers validates the types of the fields, and would see strings.

from dataclasses import field
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig, Qwen3Config

PRESETS: dict[str, dict[str, Any]] = {
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
        "bag_buckets": 16384,
        "image_size": 84,
        "image_channels": [32, 64, 64],
    },
}


@strict
class LDMConfig(PreTrainedConfig):
    r"""Configuration of [`LDMModel`][] and [`LDMForActionPrediction`][].

    Attributes:
        backbone_config: any decoder of transformers that attends to a sliding window (Qwen3-style by default).
        num_choices: logits of the action head = bins of a continuous action element.
        max_numeric: numeric scalars of an observation; more share columns with alternating signs.
        max_action_numeric: the same for the continuous part of the previous action.
        max_text_tokens: words and word pairs kept of a text observation or task text.
        bag_buckets: ids of the hashed table of choices and words.
        element_buckets: ids of the table of action elements.
        grid_buckets: ids of the table of symbols.
        grid_embedding: width of one symbol's embedding.
        grid_size: side of a tile of a symbol grid; larger grids become several tiles.
        grid_channels: channels of the convolutions over a tile.
        image_size: side of the square that pixel observations are resized to.
        image_channels: output channels of the pixel convolutions (kernels 8, 4, 3 with strides 4, 2, 1; Mnih et al. 2015).
        initializer_range: standard deviation of initial weights.
    """

    model_type = "ldm"
    sub_configs = {"backbone_config": AutoConfig}

    backbone_config: dict | PreTrainedConfig | None = None
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

    def __post_init__(self, **kwargs: Any) -> None:
        if self.backbone_config is None:
            self.backbone_config = _qwen3(PRESETS["ldm-nano"]["backbone"], self.initializer_range)
        elif isinstance(self.backbone_config, dict):
            values = dict(self.backbone_config)
            self.backbone_config = AutoConfig.for_model(values.pop("model_type", "qwen3"), **values)
        super().__post_init__(**kwargs)

    def validate_window(self) -> None:
        """The ring buffer of a roll-out holds one window: full attention over an endless stream would need endless memory."""
        if not self.window:
            raise ValueError(
                f"backbone_config of type {self.backbone_config.model_type!r} has no sliding_window; set one "  # type: ignore[union-attr]
                "(for Qwen3: use_sliding_window=True, sliding_window=W, max_window_layers=0)."
            )

    @property
    def window(self) -> int:
        """Keys seen by attention, in steps."""
        return getattr(self.backbone_config, "sliding_window", None) or 0

    @property
    def hidden_size(self) -> int:
        """Width of a token."""
        return self.backbone_config.hidden_size  # type: ignore[union-attr]

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> "LDMConfig":
        """``ldm-nano`` (~3M parameters), ``ldm-small`` (~25M) or ``ldm-base`` (~308M, the published size of LDM-v0).

        Args:
            name: of the preset.
            **overrides: further fields of the configuration.

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


def _qwen3(sizes: dict[str, Any], initializer_range: float) -> Qwen3Config:
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


__all__ = ["PRESETS", "LDMConfig"]
