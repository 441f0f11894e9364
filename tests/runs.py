"""A small dataset, and training scripts started on it."""

import importlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import torch
from accelerate.state import AcceleratorState
from gymnasium import spaces
from transformers import HfArgumentParser

from ldm_hf import LDMConfig, LDMForActionPrediction, LDMProcessor
from ldm_hf.spaces import space_to_json
from ldm_hf.training import readable_errors
from ldm_hf.trajectories import EnvironmentInfo, TrajectoryWriter

from . import fork_server
from .conftest import TINY, random_steps

EXAMPLES = Path(__file__).parents[1] / "examples"
ENVIRONMENTS = {  # spaces and lengths of episodes
    "Arm-v0": (
        spaces.Dict({"x": spaces.Box(-1, 1, (3,)), "d": spaces.Discrete(4)}),
        spaces.Box(-1, 1, (2,)),
        (30, 20),
    ),
    "Text-v0": (spaces.Text(6, charset="abc "), spaces.MultiDiscrete([3, 5]), (40,)),
    "Short-v0": (spaces.Box(-5, 5, (2,)), spaces.Discrete(3), (3, 2)),
}
SEGMENT = 16
SPEEDS = {"updates_per_second", "transitions_per_second", "tokens_per_second", "mfu", "waiting"}
TWO_PROCESSES = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")

# Accelerate shards on GPUs only; PyTorch's FSDP2 does so on CPUs, too, once accelerate takes the processes for GPUs.
SHARDED = """
import sys
sys.path.insert(0, {examples!r})
from accelerate import DistributedType, PartialState
from accelerate.utils import FullyShardedDataParallelPlugin
import {script} as script
from ldm_hf.training import make_accelerator, run_script

def sharding(args):
    accelerator = make_accelerator(args)
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="transformer_based_wrap", transformer_cls_names_to_wrap=["Qwen3DecoderLayer"],
        reshard_after_forward=False, state_dict_type="SHARDED_STATE_DICT", cpu_ram_efficient_loading=False,
    )
    PartialState._shared_state["distributed_type"] = accelerator.state.distributed_type = DistributedType.FSDP
    accelerator.state.fsdp_plugin = plugin
    return accelerator

script.make_accelerator = sharding
run_script(script.Arguments, script.main)
"""


def write_sharded(folder, script):
    """A training script whose model is shared among its processes."""
    path = folder / f"sharded_{script}.py"
    path.write_text(SHARDED.format(examples=str(EXAMPLES), script=script))
    return path


def write_dataset(folder, environments=ENVIRONMENTS):
    for name, (observation_space, action_space, lengths) in environments.items():
        described = (space_to_json(space) for space in (observation_space, action_space))
        info = EnvironmentInfo(name, name, *described, task=f"do {name}", domain=name[:3].lower())
        with TrajectoryWriter(folder, info) as out:
            for seed, length in enumerate(lengths):
                out.write(random_steps(observation_space, action_space, length, seed))


def write_model(folder):
    torch.manual_seed(0)
    config = LDMConfig(**TINY)
    LDMForActionPrediction(config).save_pretrained(folder)
    LDMProcessor.from_config(config).save_pretrained(folder)


def flags(folder, *options):
    """Options of a training script: dataset ``data`` and model ``start`` of a folder, six updates by default."""
    defaults = {
        "dataset": folder / "data",
        "model": folder / "start",
        "batch_size": 2,
        "segment": SEGMENT,
        "max_steps": 6,
        "checkpointing_steps": 3,
        "logging_steps": 1,
        "warmup_steps": 2,
        "cpu_threads": 1,
    }
    return [*(str(part) for name, value in defaults.items() for part in (f"--{name}", value)), *map(str, options)]


def environment(folder, gpu=False):
    made = {
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "LDM_HF_CACHE": str(folder / "cache"),
        "PYTHONFAULTHANDLER": "1",  # a process that dies of a signal says where each of its threads was
    }
    return made if gpu else made | {"CUDA_VISIBLE_DEVICES": ""}


def start(folder, *options, script="pretrain.py", launcher=(), gpu=False):
    """The script in a process of its own, which sees GPUs if it is to."""
    command = [sys.executable, *launcher, str(EXAMPLES / script), *flags(folder, *options)]
    told = {"cwd": folder, "env": os.environ | environment(folder, gpu)}
    if gpu:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **told)
    return fork_server.Process(command, nested="torch.distributed.run" not in launcher, **told)


def run(folder, *options, **kwargs):
    """The same, awaited; its ``returncode``, ``stdout`` and ``stderr``."""
    process = start(folder, *options, **kwargs)
    process.stdout, process.stderr = process.communicate(timeout=300)
    return process


def together(command, count, folder, **variables):
    """Python in so many processes that find each other, as torchrun would start them; all must end well."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    processes = []
    for rank in range(count):
        told = {name: str(value) for name, value in (shared | {"RANK": rank, "LOCAL_RANK": rank} | variables).items()}
        env = os.environ | environment(folder) | told
        processes.append(fork_server.Process([sys.executable, *command], cwd=folder, env=env))
    errors = [process.communicate(timeout=300)[1][-4000:] for process in processes]
    assert [process.returncode for process in processes] == [0] * count, "\n---\n".join(errors)


def train_together(folder, output, *options, script="pretrain.py", count=2):
    """The script in several processes that share the work. Returns the output folder."""
    together([str(EXAMPLES / script), *flags(folder, "--output_dir", output, *options)], count, folder)
    return output


def launch(folder, output, *options, **kwargs):
    """The same as `run`; must end well. Returns the output folder."""
    result = run(folder, "--output_dir", output, *options, **kwargs)
    assert result.returncode == 0, result.stderr[-8000:]
    return output


def load_script(name):
    with patch.object(sys, "path", [str(EXAMPLES), *sys.path]):
        return importlib.import_module(Path(name).stem)


def train(folder, output, *options, script="pretrain.py"):
    """The script in this process, which saves the seconds that imports take. Returns the output folder."""
    module = load_script(script)
    AcceleratorState._reset_state(reset_partial_state=True)
    parser = HfArgumentParser(module.Arguments)
    (args,) = parser.parse_args_into_dataclasses(flags(folder, "--output_dir", output, *options))
    with patch.dict(os.environ, environment(folder)), readable_errors(args):
        module.main(args)
    return output


def log_of(output):
    """Without the speeds, which no two runs share."""
    lines = [json.loads(line) for line in (output / "training_log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in SPEEDS} for line in lines]


def weights_of(output):
    return LDMForActionPrediction.from_pretrained(output).state_dict()
