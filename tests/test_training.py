"""Pretraining: batches that can be recomputed, the optimiser's settings, and the script from start to resumed end."""

import json
import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces
from transformers import AutoConfig, AutoModelForCausalLM

from ldm_hf import LDMConfig, LDMForActionPrediction, LDMProcessor
from ldm_hf.configuration_ldm import NO_LABEL
from ldm_hf.errors import NonFiniteError
from ldm_hf.spaces import space_to_json
from ldm_hf.training import (
    SegmentDataset,
    best_mixed_precision,
    cosine_with_warmup,
    parameter_groups,
    processor_for,
)
from ldm_hf.trajectories import EnvironmentInfo, TrajectoryWriter, WindowSampler, open_dataset

from .conftest import TINY, random_steps

PRETRAIN = Path(__file__).parents[1] / "examples" / "pretrain.py"
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


def write_dataset(folder):
    for name, (observation_space, action_space, lengths) in ENVIRONMENTS.items():
        described = (space_to_json(space) for space in (observation_space, action_space))
        info = EnvironmentInfo(name, name, *described, task=f"do {name}", domain=name[:3].lower())
        with TrajectoryWriter(folder, info) as out:
            for seed, length in enumerate(lengths):
                out.write(random_steps(observation_space, action_space, length, seed))


@pytest.fixture()
def streams(tmp_path):
    write_dataset(tmp_path / "data")
    return open_dataset(tmp_path / "data")


@pytest.fixture()
def make_dataset(config, streams):
    processor = processor_for(config, streams)

    def make(seed=0, rank=0, batch_size=6, **shares):
        lengths = {name: stream.num_steps for name, stream in streams.items()}
        sampler = WindowSampler(lengths, SEGMENT, batch_size, seed, rank, world_size=2)
        return SegmentDataset(streams, processor, sampler, num_batches=8, **shares)

    return make


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# --- batches ---------------------------------------------------------------------------------------------------------------------


def test_a_batch_depends_on_seed_rank_and_step_alone(make_dataset):
    dataset, again = make_dataset(), make_dataset()
    batches = [dataset[step] for step in range(8)]
    for step in reversed(range(8)):
        assert same(batches[step], again[step])
    others = [batches[4], make_dataset(seed=1)[3], make_dataset(rank=1)[3]]
    assert not any(same(batches[3], other) for other in others)
    assert len(dataset) == len(list(dataset)) == 8
    for step in (-1, 8):
        with pytest.raises(IndexError):
            dataset[step]


def test_environments_tell_whose_rows_these_are(make_dataset):
    dataset = make_dataset()
    batch, names = dataset[2], dataset.environments(2)
    assert set(names) == set(ENVIRONMENTS) and len(names) == 6
    for row, name in enumerate(names):
        signature = dataset.processor.layout(name).signature
        assert batch["signature"][row].tolist() == [*signature, *[0] * (batch["signature"].shape[1] - len(signature))]


def test_a_segment_is_a_piece_of_its_stream(make_dataset):
    """The step before it is known as history but has no token; statistics and scales are those of the environment."""
    dataset = make_dataset()
    whole = dataset.processor.layout("Arm-v0").encode_segment(dataset.trajectories["Arm-v0"].slice(0, 50))
    for start in (0, 1, 28, 50 - SEGMENT):
        piece, stop = dataset.encode("Arm-v0", start, 1, 1, 1, 0), start + SEGMENT
        assert piece.length == SEGMENT
        np.testing.assert_allclose(piece.observation.numeric, whole.observation.numeric[start:stop])
        for name in ("categorical", "action_numeric", "feedback", "labels"):
            assert np.array_equal(getattr(piece, name), getattr(whole, name)[start:stop]), name


def test_a_short_stream_is_padded_without_labels(make_dataset):
    dataset = make_dataset()
    batch, row = dataset[0], dataset.environments(0).index("Short-v0")
    labels = batch["labels"][batch["element_rows"] == row]
    assert labels.shape == (1, SEGMENT) and (labels[:, :5] != NO_LABEL).all() and (labels[:, 5:] == NO_LABEL).all()


def test_segments_without_statistics_task_or_rewards(make_dataset):
    dataset = make_dataset(unknown_statistics=0.3, no_task=0.3, no_reward=0.3)
    full = dataset.encode("Arm-v0", 10, 0.3, 0.3, 0.3, 0)
    assert full.task.any() and full.feedback[:, 2].all()
    no_statistics, no_task, no_reward = (
        dataset.encode("Arm-v0", 10, *(0.29 if which == index else 0.3 for index in range(3)), 0) for which in range(3)
    )
    assert not np.allclose(no_statistics.observation.numeric, full.observation.numeric)
    assert not no_statistics.observation.numeric[0].any()  # the first step of a stream is its own mean
    assert not no_task.task.any() and np.array_equal(no_task.feedback, full.feedback)
    assert not no_reward.feedback[:, :3].any() and no_reward.task.any()


def test_statistics_of_a_stream_come_from_before_its_segment(make_dataset):
    """As in a roll-out that has been going on for a while; never from before the stream's own start."""
    dataset = make_dataset(unknown_statistics=1, max_past=16)
    layout, stream = dataset.processor.layout("Arm-v0"), dataset.trajectories["Arm-v0"]
    whole = layout.encode_segment(stream.slice(0, 50), known_statistics=False)
    longest = dataset.encode("Arm-v0", 12, 0, 1, 1, 0.99)  # 16 ** 0.99 - 1 is more than there is before step 12
    np.testing.assert_allclose(longest.observation.numeric, whole.observation.numeric[12 : 12 + SEGMENT], rtol=1e-5)
    shorter = dataset.encode("Arm-v0", 12, 0, 1, 1, 0.5)
    piece = layout.encode_segment(stream.slice(9, 12 + SEGMENT), past=3, known_statistics=False)
    assert np.array_equal(shorter.observation.numeric, piece.observation.numeric)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_shares_are_those_asked_for(make_dataset, share):
    dataset = make_dataset(batch_size=40, unknown_statistics=0, no_task=share, no_reward=0)
    without = torch.stack([(dataset[step]["task"] == 0).all(dim=1) for step in range(8)])
    assert without.double().mean().item() == pytest.approx(share, abs=0.08 if 0 < share < 1 else 0)
    assert len({str(rows) for rows in without.tolist()}) == (8 if 0 < share < 1 else 1)


def test_a_batch_trains(make_dataset, model):
    dataset = make_dataset()
    output = model(**dataset[0])
    output.loss.backward()
    assert torch.isfinite(output.row_losses).all() and output.row_losses.shape == (6,)


def test_nan_in_trajectories_names_the_environment(tmp_path, config):
    observation_space, action_space, _ = ENVIRONMENTS["Short-v0"]
    steps = random_steps(observation_space, action_space, 5)
    steps["observation"][""][3, 1] = np.nan
    info = EnvironmentInfo("Broken-v0", "Broken-v0", space_to_json(observation_space), space_to_json(action_space))
    with TrajectoryWriter(tmp_path, info) as out:
        out.write(steps)
    streams = open_dataset(tmp_path)
    dataset = SegmentDataset(streams, processor_for(config, streams), WindowSampler({"Broken-v0": 5}, 5, 1), 1)
    with pytest.raises(NonFiniteError, match="Broken-v0"):
        dataset[0]


def test_the_processor_knows_the_dataset(config, streams):
    processor = processor_for(config, streams)
    processor.check_model(config)
    assert set(processor.environments) == set(ENVIRONMENTS)
    for name, stream in streams.items():
        layout = processor.layout(name)
        assert layout.observation_space == stream.observation_space and layout.action_space == stream.action_space
        assert layout.reward_rms == pytest.approx(np.sqrt(np.mean(stream.slice(0, stream.num_steps)["reward"] ** 2.0)))
        assert layout.task_ids.any() and np.array_equal(layout.task_ids, layout.encode_task(f"do {name}"))
    np.testing.assert_allclose(
        processor.layout("Short-v0").mean, streams["Short-v0"].slice(0, 5)["observation"][""].mean(0), rtol=1e-5
    )


# --- optimiser -------------------------------------------------------------------------------------------------------------------


def test_weight_decay_is_for_matrices_only(model):
    decayed, others = parameter_groups(model, 0.1)
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed_names, other_names = ({names[id(p)] for p in group["params"]} for group in (decayed, others))
    assert decayed_names.isdisjoint(other_names) and decayed_names | other_names == set(names.values())
    assert len(decayed["params"]) + len(others["params"]) == len(names)
    for name in ("model.bag.weight", "model.grid.symbols.weight", "action_head.elements.weight", "model.norm.weight"):
        assert name in other_names
    for name in ("model.numeric.linear.weight", "model.pixels.convs.0.weight", "action_head.logits.weight"):
        assert name in decayed_names
    assert not any(name.endswith("bias") or "norm" in name for name in decayed_names)


def test_the_learning_rate_rises_then_follows_a_cosine():
    factors = [cosine_with_warmup(step, 10, 110, final=0.1) for step in range(120)]
    np.testing.assert_allclose(factors[:11], [*np.arange(1, 11) / 10, 1])
    assert factors[60] == pytest.approx(0.55) and factors[110:] == pytest.approx([0.1] * 10)
    assert all(later < earlier for earlier, later in pairwise(factors[10:111]))
    assert cosine_with_warmup(0, 0, 10) == 1 and cosine_with_warmup(5, 5, 5) == 1


@pytest.mark.parametrize(
    ("device", "native", "best"), [("cpu", True, "no"), ("cuda", True, "bf16"), ("cuda", False, "no")]
)
def test_bf16_only_where_it_is_native(monkeypatch, device, native, best):
    # including_emulation=True says yes on every recent GPU
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation
    )
    assert best_mixed_precision(torch.device(device)) == best


# --- the script ------------------------------------------------------------------------------------------------------------------


def pretrain(folder, *further, launcher=()):
    command = [
        sys.executable,
        *launcher,
        str(PRETRAIN),
        "--batch_size",
        "2",
        "--segment",
        str(SEGMENT),
        "--max_steps",
        "6",
    ]
    command += ["--checkpointing_steps", "3", "--logging_steps", "1", "--warmup_steps", "2", "--cpu_threads", "1"]
    environment = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [*command, *map(str, further)],
        cwd=folder,
        env=os.environ | environment | {"LDM_HF_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
    )


def log_of(output):
    """Without the speed, which no two runs share."""
    lines = [json.loads(line) for line in (output / "training_log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "steps_per_second"} for line in lines]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folders of an uninterrupted run, and of one that was interrupted in step 5 and resumed."""
    folder = tmp_path_factory.mktemp("pretrain")
    write_dataset(folder / "data")
    torch.manual_seed(0)
    LDMForActionPrediction(LDMConfig(**TINY)).save_pretrained(folder / "start")
    whole, broken = folder / "whole", folder / "broken"
    arguments = ("--dataset", folder / "data", "--model", folder / "start")
    finished = pretrain(folder, *arguments, "--output_dir", whole)
    assert finished.returncode == 0, finished.stderr
    shutil.copytree(whole / "checkpoint-3", broken / "checkpoint-3")
    log = (whole / "training_log.jsonl").read_text().splitlines(keepends=True)
    (broken / "training_log.jsonl").write_text("".join(log[:4]))
    resumed = pretrain(folder, *arguments, "--output_dir", broken, "--resume_from_checkpoint", "latest")
    assert resumed.returncode == 0, resumed.stderr
    return whole, broken


@pytest.mark.slow
def test_a_resumed_run_repeats_the_uninterrupted_one(runs):
    expected, resumed = (log_of(output) for output in runs)
    assert [line["step"] for line in expected] == [1, 2, 3, 4, 5, 6]
    assert len({line["loss"] for line in expected}) == 6 and all(np.isfinite(line["loss"]) for line in expected)
    assert resumed[-3:] == expected[-3:]
    weights, others = (LDMForActionPrediction.from_pretrained(output).state_dict() for output in runs)
    assert all(torch.equal(value, others[name]) for name, value in weights.items())


@pytest.mark.slow
def test_the_log_of_a_resumed_run_has_every_step_once(runs):
    expected, resumed = (log_of(output) for output in runs)
    assert resumed == expected


@pytest.mark.slow
def test_the_pretrained_folder_loads(runs):
    whole, _ = runs
    model, processor = LDMForActionPrediction.from_pretrained(whole), LDMProcessor.from_pretrained(whole)
    processor.check_model(model.config)
    assert set(processor.environments) == set(ENVIRONMENTS)
    start = LDMForActionPrediction.from_pretrained(whole.parent / "start").state_dict()
    assert not torch.equal(model.state_dict()["model.bag.weight"], start["model.bag.weight"])
    assert not list(whole.glob("unfinished-*")) and (whole / "checkpoint-6" / "progress.json").exists()


@pytest.mark.slow
def test_a_folder_that_is_no_dataset_ends_in_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    failed = pretrain(tmp_path, "--dataset", tmp_path / "empty", "--output_dir", tmp_path / "out")
    assert failed.returncode != 0 and "Traceback" not in failed.stderr
    errors = [line for line in failed.stderr.splitlines() if "error" in line]
    assert len(errors) == 1 and errors[0].startswith(f"error: {tmp_path / 'empty'} is no trajectory dataset")


@pytest.mark.slow
def test_accelerate_launch_trains_and_a_tracker_is_told(runs):
    folder = runs[0].parent
    launcher = ("-m", "accelerate.commands.launch", "--quiet", "--num_processes", "1")
    arguments = ("--dataset", folder / "data", "--model", folder / "start", "--output_dir", folder / "launched")
    launched = pretrain(folder, *arguments, "--report_to", "tensorboard", launcher=launcher)
    assert launched.returncode == 0, launched.stderr
    assert log_of(folder / "launched") == log_of(runs[0])
    assert list((folder / "launched").rglob("events.out.tfevents.*"))
    assert all(any(name.startswith("loss/") for name in line) for line in log_of(folder / "launched"))


@pytest.mark.slow
def test_a_run_starts_from_a_language_model(runs):
    folder = runs[0].parent
    sizes = TINY["backbone_config"] | {"vocab_size": 50, "use_sliding_window": False}
    language_model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**sizes))
    language_model.save_pretrained(folder / "lm")
    arguments = ("--dataset", folder / "data", "--output_dir", folder / "warm", "--backbone", folder / "lm")
    finished = pretrain(folder, *arguments, "--max_steps", "1", "--warmup_steps", "1000")
    assert finished.returncode == 0, finished.stderr
    weights = LDMForActionPrediction.from_pretrained(folder / "warm").model.backbone.state_dict()
    for name, value in language_model.model.state_dict().items():
        if name != "embed_tokens.weight":
            torch.testing.assert_close(weights[name], value, atol=1e-4, rtol=0)  # one small step away
    both = pretrain(folder, *arguments, "--model", folder / "start")
    assert both.returncode == 1 and both.stderr.splitlines()[-1].startswith("error: --model and --backbone")
