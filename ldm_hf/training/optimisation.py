"""Settings of the optimiser."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.distributed.fsdp import MixedPrecisionPolicy

from ..modeling_ldm import LDMForActionPrediction


def compile_for_training(model: LDMForActionPrediction, device: torch.device) -> None:
    """Compiles, in place, the decoder and the action head: what a training step spends its time in.

    On GPUs, attention becomes FlexAttention (Dong et al. 2024), which skips the blocks outside the window; a mask would have them all computed.
    It has no backward pass on CPUs.
    """
    backbone = model.model.backbone
    if device.type == "cuda" and backbone._supports_flex_attn:
        backbone.set_attn_implementation("flex_attention")
    backbone.compile(dynamic=False)
    model.action_head.compile(dynamic=True)  # batches differ in their number of action elements


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """What is trained, with weight decay on matrices only: not on biases, norms or embedding tables."""
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
    """``"bf16"`` on GPUs that multiply it natively, else ``"no"``.

    On CPUs bf16 autocast loses: 0.6 times the speed of float32 for ldm-nano on a CPU with AVX512-BF16, 1/60 on one without.
    """
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16"
    return "no"


def sharded_precision(mixed_precision: str) -> MixedPrecisionPolicy | None:
    """Of sharded data parallelism (FSDP2): weights multiply in bf16, gradients are summed in float32.

    accelerate's own policy casts inputs, too: raw numbers would lose their digits, and numbers of choices above 256 would become others.
    """
    if mixed_precision != "bf16":
        return None
    return MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
