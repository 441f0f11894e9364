"""Shared by all benchmarks: options, clocks, the table that is printed and written, models of any size."""

from __future__ import annotations

import argparse
import copy
import functools
import json
import os
import platform
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from gymnasium import spaces
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

from ldm_hf import LDMConfig, LDMForActionPrediction, LDMProcessor
from ldm_hf.layout_ldm import EnvironmentLayout, Sizes
from ldm_hf.spaces import stack
from ldm_hf.utils.files import write_atomically
from ldm_hf.utils.installed import versions

Row = dict[str, str | int | float | None]
"""A row of a table: cells by the title of their column."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
OBSERVATION, ACTION = spaces.Box(-1, 1, (17,)), spaces.Box(-1, 1, (6,))  # HalfCheetah's sizes
HEAD = 32  # width of a head of ldm-nano


def parser(doc: str) -> argparse.ArgumentParser:
    """Options that every benchmark has."""
    made = argparse.ArgumentParser(description=doc.splitlines()[0], conflict_handler="resolve")
    made.add_argument("--json", type=Path, help="JSON file to write the table to")
    made.add_argument("--threads", type=int, default=1, help="number of torch threads")
    made.add_argument("--device", default="cpu", help="torch device")
    return made


def add_sizes(made: argparse.ArgumentParser) -> None:
    """Options of a benchmark whose model has any size; the defaults are those of ldm-nano."""
    made.add_argument("--hidden", type=int, default=192, help="hidden size")
    made.add_argument("--layers", type=int, default=3, help="number of layers")
    made.add_argument("--window", type=int, default=32, help="attention window in steps")
    made.add_argument("--dtype", choices=DTYPES, default="fp32", help="floating-point format of the model")


def machine() -> str:
    """Name and number of cores of the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return f"{line.split(':')[1].strip()}, {os.cpu_count()} cores"
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def show(
    title: str,
    rows: list[Row],
    args: argparse.Namespace,
    notes: list[str] | None = None,
    more: Mapping[str, object] | None = None,
) -> None:
    """Prints rows as a table, notes below it, and writes both, and ``more``, as JSON if asked to."""
    device = torch.cuda.get_device_name() if args.device.startswith("cuda") else machine()
    threads = " and ".join(map(str, np.atleast_1d(args.threads)))
    table = Table(title=f"{title}\n{device}, {threads} thread(s)")
    for name in rows[0]:
        table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right")
    for row in rows:
        table.add_row(*map(_cell, row.values()))
    console = Console()
    console.width = max(console.width, 120)
    console.print(table)
    for note in notes or []:
        console.print(note, markup=False, highlight=False)
    if args.json:
        command = shlex.join(["benchmarks/" + Path(sys.argv[0]).name, *sys.argv[1:]])
        data = {
            "title": title,
            "command": command,
            "machine": device,
            "threads": args.threads,
            "rows": rows,
            "notes": notes or [],
            "versions": versions(),
            **(more or {}),
        }
        write_atomically(args.json, json.dumps(data, indent=2) + "\n")


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,.3g}" if isinstance(value, float) else str(value)


def clock(function: Callable[[], object], device: str = "cpu") -> float:
    """Seconds that a call takes, including work that it leaves running on a GPU."""
    started = time.perf_counter()
    function()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - started


def cpu_seconds(function: Callable[[], object]) -> float:
    """CPU seconds of a call, over all threads of this process; other processes of the machine do not count."""
    started = time.process_time()
    function()
    return time.process_time() - started


def seconds(function: Callable[[], object], repeats: int, device: str = "cpu") -> float:
    """Median seconds of a call, after a first one to warm up."""
    return float(np.median([clock(function, device) for _ in range(repeats + 1)][1:]))


def race(
    contenders: dict[str, Callable[[], object]],
    budget: float,
    device: str = "cpu",
    rounds: int = 5,
    own_time: bool = False,
) -> dict[str, float]:
    """Median seconds of a call of each contender. They take turns, so that a busy machine slows all of them down.

    Args:
        contenders: Functions by the name of the contender.
        budget: Seconds for each contender.
        device: Device that they run on.
        rounds: Turns of each contender; at least one call per turn, and the first of several only warms up.
        own_time: Count this process's CPU seconds only, on a machine that others use; one thread, no GPU.
    """
    measure = cpu_seconds if own_time else functools.partial(clock, device=device)
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, function in contenders.items():
            turn = [measure(function)]
            while sum(turn) < budget / rounds:
                turn.append(measure(function))
            times[name] += turn[1:] or turn
    return {name: float(np.median(values)) for name, values in times.items()}


def sized(hidden: int, layers: int, window: int) -> LDMConfig:
    """A Qwen3-style LDM with heads of width 64."""
    backbone = {
        "hidden_size": hidden,
        "intermediate_size": 8 * hidden // 3 // 32 * 32,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // 64,
        "num_key_value_heads": hidden // 64,
        "head_dim": 64,
        "use_sliding_window": True,
        "sliding_window": window,
        "max_window_layers": 0,
        "vocab_size": 1,
    }
    return LDMConfig(backbone_config=backbone)


def nano_sizes(width: int, layers: int = 3) -> dict[str, int]:
    """Sizes of a decoder with ldm-nano's proportions and width of a head."""
    heads = width // HEAD
    return {
        "hidden_size": width,
        "intermediate_size": 7 * width // 3,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": HEAD,
    }


def random_segments(config: LDMConfig, rows: int, steps: int, labels: bool = True) -> dict[str, torch.Tensor]:
    """A batch of random steps in HalfCheetah's spaces."""
    layout = EnvironmentLayout(Sizes.of(config), OBSERVATION, ACTION)
    rng = np.random.default_rng(0)
    actions = stack(ACTION, list(rng.uniform(-1, 1, (steps, 6))))
    encoded = layout.encode_segment(
        {
            "observation": stack(OBSERVATION, list(rng.uniform(-1, 1, (steps, 17)))),
            "action": actions,
            "label": actions,
            "reward": rng.normal(size=steps),
            "terminated": np.zeros(steps, bool),
            "truncated": np.zeros(steps, bool),
        },
        known_statistics=False,
    )
    batch = LDMProcessor.from_config(config)([encoded] * rows)
    return {name: value for name, value in batch.items() if labels or name != "labels"}


def model_of(config: LDMConfig, device: str, dtype: torch.dtype = torch.float32) -> LDMForActionPrediction:
    """A model with random weights."""
    torch.manual_seed(0)
    return LDMForActionPrediction(config).to(device, dtype).eval()


def quantised(model: LDMForActionPrediction) -> LDMForActionPrediction:
    """A copy whose backbone multiplies by int8 weights with one scale per row and dynamically scaled activations.

    Made by torch's own dynamic quantisation: torchao's int8 was slower than float32 on CPUs (docs/LOG.md).
    """
    copied = copy.deepcopy(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces that this moves to torchao
        copied.model.backbone = quantize_dynamic(model.model.backbone, {nn.Linear: per_channel_dynamic_qconfig})
    return copied
