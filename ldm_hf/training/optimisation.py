"""Settings of the optimiser."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import TypedDict

import torch
from torch.distributed.fsdp import MixedPrecisionPolicy

from ..errors import ArgumentError
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


class ParameterGroup(TypedDict):
    """Parameters that are trained alike.

    Attributes:
        params: the parameters.
        weight_decay: their weight decay.
        rate: their share of the learning rate.
    """

    params: list[torch.nn.Parameter]
    weight_decay: float
    rate: float


def parameter_groups(model: torch.nn.Module, weight_decay: float, layer_decay: float = 1.0) -> list[ParameterGroup]:
    """Groups the trained parameters by their weight decay and learning rate.

    Matrices have weight decay; biases, norms and embedding tables have none. With a layer decay, the action head and
    the decoder's last norm learn at the full rate, each layer below them at this share of the one above, and the stems
    below the lowest layer (Howard & Ruder 2018, arXiv 1801.06146; Clark et al. 2020, arXiv 2003.10555).

    Args:
        model: the model; parameters that need no gradient are left out.
        weight_decay: weight decay of matrices.
        layer_decay: share of the learning rate from one layer to the next below it; 1: all learn alike.

    Raises:
        ArgumentError: if the layer decay is not in (0, 1].
    """
    if not 0 < layer_decay <= 1:
        raise ArgumentError(f"--layer_decay is {layer_decay:g}; give a number above 0 and up to 1, such as 0.8")
    tables = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    below = _layers_above([name for name, _ in model.named_parameters()])
    groups: dict[tuple[float, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = parameter.dim() >= 2 and id(parameter) not in tables
            groups.setdefault((layer_decay ** below[name], decays), []).append(parameter)
    return [
        {"params": groups[key], "weight_decay": weight_decay * key[1], "rate": key[0]}
        for key in sorted(groups, reverse=True)
    ]


def _layers_above(names: Iterable[str]) -> dict[str, int]:
    """How many steps of the layer decay each parameter is below the head, by name."""
    found = {name: re.search(r"\.layers\.(\d+)\.", name) for name in names}
    layers = 1 + max((int(match[1]) for match in found.values() if match), default=-1)
    head = ("action_head.", "model.backbone.")  # of the decoder, what is in no layer: the last norm
    return {
        name: layers - int(match[1]) if match else 0 if name.startswith(head) else layers + 1
        for name, match in found.items()
    }


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
