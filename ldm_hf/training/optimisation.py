"""Settings of the optimiser."""

from __future__ import annotations

import math

import torch
from torch.distributed.fsdp import MixedPrecisionPolicy

from ..modeling_ldm import LDMForActionPrediction


def compile_for_training(model: LDMForActionPrediction, device: torch.device) -> None:
    """Compiles, in place, the decoder and the action head, which take most of a training step.

    On GPUs, attention becomes FlexAttention (Dong et al. 2024), which skips the blocks outside the window; with a mask
    they would all be computed. FlexAttention has no backward pass on CPUs.
    """
    backbone = model.model.backbone
    if device.type == "cuda" and backbone._supports_flex_attn:
        backbone.set_attn_implementation("flex_attention")
    backbone.compile(dynamic=False)
    model.action_head.compile(dynamic=True)  # batches differ in their number of action elements


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Groups the trained parameters: weight decay on matrices only, not on biases, norms or embedding tables."""
    tables = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    trained = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for p in trained if p.dim() >= 2 and id(p) not in tables]
    others = [p for p in trained if p.dim() < 2 or id(p) in tables]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def cosine_with_warmup(step: int, warmup: int, total: int, final: float = 0.05) -> float:
    """Factor of the learning rate: linear up, then a cosine down to ``final``."""
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def best_mixed_precision(device: torch.device) -> str:
    """The mixed precision that suits a device: ``"bf16"`` on GPUs that multiply it natively, else ``"no"``.

    On CPUs bf16 autocast is slower: 0.6 times the speed of float32 for ldm-nano on a CPU with AVX512-BF16, 1/60 on one
    without.
    """
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16"
    return "no"


def sharded_precision(mixed_precision: str) -> MixedPrecisionPolicy | None:
    """The precision of sharded data parallelism (FSDP2): weights multiply in bf16, gradients are summed in float32.

    accelerate's default policy casts inputs, too: raw numbers would lose precision, and numbers of choices above 256
    would change.
    """
    if mixed_precision != "bf16":
        return None
    return MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
