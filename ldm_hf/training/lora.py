"""Fine-tuning that leaves the decoder's weights as they are: frozen, or with low-rank adapters beside them."""

from __future__ import annotations

from ..errors import MissingExtraError
from ..modeling_ldm import LDMForActionPrediction


def freeze_decoder(model: LDMForActionPrediction) -> None:
    """Freezes the decoder, so that only the stems and the action head are trained."""
    model.model.backbone.requires_grad_(False)


def add_lora(model: LDMForActionPrediction, rank: int) -> None:
    """Freezes the decoder and adds low-rank adapters to all of its matrices (Hu et al. 2021).

    Args:
        model: model to change.
        rank: rank of the adapters.

    Raises:
        MissingExtraError: if peft is not installed.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise MissingExtraError("peft", "lora") from None
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
    model.model.backbone = get_peft_model(model.model.backbone, config)


def merge_lora(model: LDMForActionPrediction) -> None:
    """Merges the adapters into the weights, so that the model is saved and loaded like any other."""
    model.model.backbone = model.model.backbone.merge_and_unload()
