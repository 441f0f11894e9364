"""examples/pretrain.py from start to resumed end, with one process and with several."""

import contextlib
import json
import os
import re
import shutil
import signal
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from ldm_hf import LDMForActionPrediction, LDMProcessor
from ldm_hf.errors import CheckpointError, LDMError
from ldm_hf.training import Pretraining, SegmentDataset, processor_for
from ldm_hf.training.pretraining import starting_model
from ldm_hf.trajectories import WindowSampler, open_dataset

from ..conftest import TINY
from ..runs import (
    ENVIRONMENTS,
    EXAMPLES,
    SEGMENT,
    SPEEDS,
    TWO_PROCESSES,
    launch,
    log_of,
    run,
    start,
    together,
    train,
    train_together,
    weights_of,
    write_dataset,
    write_model,
    write_sharded,
)

pytestmark = pytest.mark.slow  # every run is a process or several that import torch
CONFIGURATIONS = sorted((EXAMPLES / "accelerate").glob("*.yaml"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrain")
    write_dataset(folder / "data")
    write_model(folder / "start")
    return folder


@pytest.fixture(scope="module")
def whole(folder):
    """Of six uninterrupted updates."""
    return train(folder, folder / "whole")


def close(first, second):
    return all(torch.allclose(value, second[name], rtol=1e-3, atol=1e-5) for name, value in first.items())


def same(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items())


# --- resuming --------------------------------------------------------------------------------------------------------


def test_an_interrupted_run_repeats_the_uninterrupted_one(folder, whole):
    expected, broken = log_of(whole), folder / "broken"
    shutil.copytree(whole / "checkpoint-3", broken / "checkpoint-3")
    log = (whole / "training_log.jsonl").read_text().splitlines(keepends=True)
    (broken / "training_log.jsonl").write_text("".join(log[:4]) + log[4][:20])  # killed while writing
    train(folder, broken, "--resume_from_checkpoint", "latest")
    assert [line["step"] for line in expected] == [1, 2, 3, 4, 5, 6]
    assert len({line["loss"] for line in expected}) == 6 and all(np.isfinite(line["loss"]) for line in expected)
    assert log_of(broken) == expected and same(weights_of(whole), weights_of(broken))


def test_the_average_of_the_weights_is_saved_and_resumed(folder, whole):
    options = ("--ema_decay", "0.9", "--hide_previous_actions", "0.5")
    averaged = train(folder, folder / "averaged", *options)
    shutil.copytree(averaged / "checkpoint-3", folder / "averaged-broken" / "checkpoint-3")
    again = train(folder, folder / "averaged-broken", *options, "--resume_from_checkpoint", "latest")
    weights, last = weights_of(averaged), load_file(averaged / "checkpoint-6" / "model.safetensors")
    assert same(weights, weights_of(again)) and not close(weights, last)
    assert [line["loss"] for line in log_of(averaged)] != [line["loss"] for line in log_of(whole)]


def test_a_run_in_endless_worlds_is_resumed_with_the_same_worlds(folder):
    whole = train(folder, folder / "worlds", "--random_worlds", "0.5", "--batch_size", 4)
    shutil.copytree(whole / "checkpoint-3", folder / "worlds-broken" / "checkpoint-3")
    options = ("--random_worlds", "0.5", "--batch_size", 4, "--resume_from_checkpoint", "latest")
    again = train(folder, folder / "worlds-broken", *options, "--num_workers", 1)  # generated there
    assert log_of(again) == log_of(whole)[3:] and same(weights_of(whole), weights_of(again))
    assert any("loss/random worlds" in line for line in log_of(whole))
    assert LDMProcessor.from_pretrained(whole).environments.keys() == ENVIRONMENTS.keys()
    with pytest.raises(CheckpointError, match="RandomWorlds-bandit had 1099511627776 steps, has none"):
        train(folder, whole, "--resume_from_checkpoint", "latest", "--max_steps", 9, "--batch_size", 4)


def test_a_new_model_with_windows_of_its_own():
    options = {"dataset": "data", "output_dir": "out", "layer_windows": [4, 4, 24]}
    assert starting_model(Pretraining(**options)).config.windows == [4, 4, 24]
    with pytest.raises(LDMError, match="--layer_windows is for a preset or an LDM"):
        starting_model(Pretraining(**options, backbone="somewhere"))


def test_a_pretrained_model_gets_longer_windows_or_a_scaled_task_and_keeps_its_weights(whole):
    options = {"dataset": "data", "output_dir": "out", "model": str(whole)}
    before = starting_model(Pretraining(**options)).config
    longer = starting_model(Pretraining(**options, layer_windows=[4, 24]))
    scaled = starting_model(Pretraining(**options, scaled_task=True))
    assert (longer.config.windows, scaled.config.windows) == ([4, 24], before.windows)
    assert (before.layer_windows, before.scaled_task, scaled.config.scaled_task) == (None, False, True)
    assert same(longer.state_dict(), weights_of(whole)) and same(scaled.state_dict(), weights_of(whole))


def test_a_checkpoint_between_two_lines_of_the_log_changes_nothing(folder):
    often = ("--logging_steps", "4", "--checkpointing_steps", "3", "--keep_checkpoints", "1")
    expected = log_of(train(folder, folder / "lines", *often))
    assert [line["step"] for line in expected] == [3, 4, 6]
    assert [path.name for path in (folder / "lines").glob("checkpoint-*")] == ["checkpoint-6"]


@pytest.mark.parametrize("launcher", [(), TWO_PROCESSES], ids=["one process", "two processes"])
def test_a_killed_run_goes_on_with_the_same_losses(folder, launcher):
    """By SIGKILL of what was started: torchrun leaves its processes behind then, which must not go on writing."""
    options = ("--max_steps", "60", "--checkpointing_steps", "5", "--resume_from_checkpoint", "latest")
    output = folder / f"killed-{len(launcher)}"
    process = start(folder, "--output_dir", output, *options, launcher=launcher)
    log = output / "training_log.jsonl"
    while not log.exists() or len(log.read_text().splitlines()) < 12:
        assert process.poll() is None, process.communicate()[1][-3000:]
        time.sleep(0.01)
    process.kill()
    process.wait()
    launch(folder, output, *options, launcher=launcher)
    if launcher:
        whole = train_together(folder, folder / "whole-two", *options)
    else:
        whole = train(folder, folder / "whole-one", *options)
    assert log_of(output) == log_of(whole) and [line["step"] for line in log_of(whole)] == list(range(1, 61))
    assert same(weights_of(output), weights_of(whole))
    assert not list(output.glob("unfinished-*"))


def test_a_process_that_dies_ends_the_run_with_one_message(folder):
    output = folder / "dead"
    options = ("--output_dir", output, "--max_steps", "100000", "--checkpointing_steps", "5")
    process = start(folder, *options, launcher=TWO_PROCESSES)
    while not (output / "checkpoint-10").exists():
        assert process.poll() is None, process.communicate()[1][-3000:]
        time.sleep(0.02)
    workers = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    rank = {int(re.search(rb"\0RANK=(\d)", Path(f"/proc/{pid}/environ").read_bytes())[1]): pid for pid in workers}
    os.kill(rank[1], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    told = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert len(told) == 1 and "--resume_from_checkpoint latest" in told[0], errors[-3000:]
    assert re.search(r"another process of this run died|told to end", told[0])
    newest = max(int(path.name.split("-")[1]) for path in output.glob("checkpoint-*"))
    train(folder, output, "--max_steps", newest + 2, "--resume_from_checkpoint", "latest")


def test_a_run_is_not_mixed_with_another(folder, whole):
    with pytest.raises(CheckpointError, match="holds checkpoints of a former run"):
        train(folder, whole)
    (folder / "other.yaml").write_text(yaml.safe_dump({"datasets": ["data"], "environments": {"Arm-v0": 3}}))
    with (
        contextlib.chdir(folder),
        pytest.raises(CheckpointError, match=r"Arm-v0 was 33\.33% of the segments, is 60\.00%"),
    ):
        train(folder, whole, "--resume_from_checkpoint", "latest", "--dataset", "other.yaml", "--max_steps", 9)
    with pytest.raises(CheckpointError, match="--segment was 16, is 8"):
        train(folder, whole, "--resume_from_checkpoint", "latest", "--segment", 8, "--max_steps", 9)


def test_a_complete_run_is_left_as_it_is(folder, whole, caplog):
    before = {path: path.stat().st_mtime_ns for path in whole.iterdir()}
    train(folder, whole, "--resume_from_checkpoint", "latest")
    assert "is complete" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in whole.iterdir()} == before


def test_a_truncated_checkpoint_is_named(folder, whole):
    output = folder / "truncated"
    shutil.copytree(whole / "checkpoint-3", output / "checkpoint-3")
    weights = output / "checkpoint-3" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="checkpoint-3 is damaged or of another model"):
        train(folder, output, "--resume_from_checkpoint", "latest")


# --- several processes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "run"),
    [
        (("--batch_size", 2, "--gradient_accumulation_steps", 2), train),
        (("--batch_size", 1, "--gradient_accumulation_steps", 2), train_together),
    ],
    ids=["accumulated", "accumulated in two processes"],
)
def test_losses_and_weights_depend_on_the_global_batch_alone(folder, options, run):
    four = folder / "four"
    if not four.exists():
        train(folder, four, "--batch_size", 4)
    output = run(folder, folder / f"four-by-{run.__name__}", *options)
    for line, other in zip(log_of(four), log_of(output), strict=True):
        assert line.keys() == other.keys() and other == pytest.approx(line, rel=1e-4)
    assert close(weights_of(four), weights_of(output))


GRADIENTS = """
import os
from safetensors.torch import save_file
from ldm_hf import LDMForActionPrediction
from ldm_hf.training import SegmentDataset, TrainingRun, make_accelerator, processor_for
from ldm_hf.trajectories import WindowSampler, open_dataset

accelerator = make_accelerator(TrainingRun(dataset="", output_dir="", cpu_threads=1))
assert accelerator.num_processes == 2
trajectories = open_dataset(os.environ["DATA"])
model = LDMForActionPrediction.from_pretrained(os.environ["MODEL"])
lengths = {name: stream.num_steps for name, stream in trajectories.items()}
sampler = WindowSampler(lengths, int(os.environ["SEGMENT"]), 3, 0, accelerator.process_index, 2)
batches = SegmentDataset(trajectories, processor_for(model.config, trajectories), sampler, 1)
wrapped = accelerator.prepare(model)
accelerator.backward(wrapped(**batches[0]).loss)
if accelerator.is_main_process:
    save_file({n: p.grad for n, p in model.named_parameters() if p.grad is not None}, "gradients.safetensors")
"""


def test_gradients_of_two_processes_are_those_of_one(folder, tmp_path):
    """Without the optimiser, whose division by the size of gradients hides errors of scale."""
    (tmp_path / "gradients.py").write_text(GRADIENTS)
    places = {"DATA": str(folder / "data"), "MODEL": str(folder / "start"), "SEGMENT": str(SEGMENT)}
    together(["gradients.py"], 2, tmp_path, **places)
    found = load_file(tmp_path / "gradients.safetensors")
    trajectories = open_dataset(folder / "data")
    model = LDMForActionPrediction.from_pretrained(folder / "start")
    sampler = WindowSampler({name: stream.num_steps for name, stream in trajectories.items()}, SEGMENT, 6)
    model(**SegmentDataset(trajectories, processor_for(model.config, trajectories), sampler, 1)[0]).loss.backward()
    expected = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys() and len(found) > 20
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-7)


def test_a_sharded_run_learns_and_resumes_like_others(folder):
    """Whatever the plugin of `examples/accelerate/fsdp2.yaml` says, on two processes of this machine's CPU."""
    script = write_sharded(folder, "pretrain")
    whole, broken = train_together(folder, folder / "sharded", script=script), folder / "sharded-broken"
    alone = train(folder, folder / "sharded-four", "--batch_size", 4)
    assert log_of(whole)[0] == pytest.approx(log_of(alone)[0], rel=1e-5)
    # where a batch has no images, say, their stem's moments fade there and stay here
    assert log_of(whole)[-1]["loss"] == pytest.approx(log_of(alone)[-1]["loss"], rel=0.05)
    assert {name: value.shape for name, value in weights_of(whole).items()} == {
        name: value.shape for name, value in weights_of(alone).items()
    }
    shutil.copytree(whole / "checkpoint-3", broken / "checkpoint-3")
    train_together(folder, broken, "--resume_from_checkpoint", "latest", script=script)
    assert log_of(broken) == log_of(whole)[3:] and same(weights_of(broken), weights_of(whole))


def test_a_sharded_run_multiplies_in_half_precision(folder, whole):
    options = ("--batch_size", "1", "--mixed_precision", "bf16")
    output = train_together(folder, folder / "sharded-half", *options, script=write_sharded(folder, "pretrain"))
    losses, expected = ([line["loss"] for line in log_of(run)] for run in (output, whole))
    assert losses[0] != pytest.approx(expected[0], rel=1e-5) and losses[0] == pytest.approx(expected[0], rel=0.02)
    assert losses == pytest.approx(expected, rel=0.2)  # rounding grows from update to update
    assert {value.dtype for value in weights_of(output).values()} == {torch.float32}


def test_a_model_tells_all_runs_that_made_it(folder, whole):
    second = train(folder, folder / "second", "--model", whole, "--max_steps", 2)
    third = json.loads((train(folder, folder / "third", "--model", second) / "training.json").read_text())
    former = third["former_runs"]
    assert [run["steps"] for run in former] == [6, 2] and third["steps"] == 6
    assert [Path(run["arguments"]["model"]).name for run in [*former, third]] == ["start", "whole", "second"]


def test_a_run_grows_from_one_process_to_two(folder, whole):
    """The larger batches go on in the sequence of segments where the smaller ones ended."""
    output = folder / "grown"
    shutil.copytree(whole / "checkpoint-3", output / "checkpoint-3")
    train_together(folder, output, "--resume_from_checkpoint", "latest", "--max_steps", "5")
    assert json.loads((output / "checkpoint-3" / "progress.json").read_text())["segments"] == 6
    assert json.loads((output / "training.json").read_text())["transitions"] == SEGMENT * (6 + 2 * 4)
    assert [line["step"] for line in log_of(output)] == [4, 5]


def test_a_run_grows_from_two_processes_to_four(folder):
    """Every segment of the sequence is drawn once, whoever draws it."""
    output = folder / "grown-again"
    train_together(folder, output, "--max_steps", "3")
    train_together(folder, output, "--resume_from_checkpoint", "latest", "--max_steps", "5", count=4)
    assert [line["step"] for line in log_of(output)] == [1, 2, 3, 4, 5]
    lengths = {name: stream.num_steps for name, stream in open_dataset(folder / "data").items()}
    first = json.loads((output / "checkpoint-3" / "progress.json").read_text())["segments"] - 3 * 8
    sampler = partial(WindowSampler, lengths, SEGMENT, batch_size=2)
    drawn = [
        number for step in range(3) for rank in range(2) for number in sampler(rank=rank, world_size=2).numbers(step)
    ]
    for step in (3, 4):
        for rank in range(4):
            drawn += sampler(rank=rank, world_size=4, first=first).numbers(step)
    assert drawn == list(range(3 * 4 + 2 * 8))
    assert json.loads((output / "training.json").read_text())["transitions"] == SEGMENT * len(drawn)


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
def test_configurations_of_accelerate_are_understood(path):
    config = load_config_from_file(str(path))  # refuses unknown keys
    known = launch_command_parser()
    for key in config.fsdp_config:
        assert known.parse_args([f"--{key}", "1", "script.py"])
    described = yaml.safe_load(path.read_text())
    assert config.num_processes == described["num_processes"] >= config.num_machines
    assert config.distributed_type.value == described["distributed_type"]


def test_accelerate_launch_trains_and_a_tracker_is_told(folder, whole):
    configuration = str(EXAMPLES / "accelerate" / "cpu.yaml")
    launcher = ("-m", "accelerate.commands.launch", "--quiet", "--config_file", configuration)
    output = launch(folder, folder / "launched", "--report_to", "tensorboard", launcher=launcher)
    assert log_of(output) == log_of(whole)
    assert list(output.rglob("events.out.tfevents.*"))
    assert all(any(name.startswith("loss/") for name in line) for line in log_of(output))


def test_processes_that_accelerate_does_not_start_are_missed(folder):
    launcher = ("-m", "accelerate.commands.launch", "--quiet", "--cpu", "--num_processes", "2")
    options = ("--output_dir", folder / "alone", "--max_steps", 1)
    result = run(folder, *options, launcher=launcher)
    assert result.returncode == 0 and "torchrun --nproc_per_node" in result.stderr


# --- one run ---------------------------------------------------------------------------------------------------------


def test_the_pretrained_folder_loads(folder, whole):
    model, processor = LDMForActionPrediction.from_pretrained(whole), LDMProcessor.from_pretrained(whole)
    processor.check_model(model.config)
    assert set(processor.environments) == set(ENVIRONMENTS)
    assert not torch.equal(model.state_dict()["model.bag.weight"], weights_of(folder / "start")["model.bag.weight"])
    assert not list(whole.glob("unfinished-*")) and (whole / "checkpoint-6" / "progress.json").exists()


def test_every_line_tells_how_fast_it_went(whole):
    for text in (whole / "training_log.jsonl").read_text().splitlines():
        line = json.loads(text)
        assert line.keys() >= SPEEDS and all(line[name] >= 0 for name in SPEEDS)
        assert line["transitions_per_second"] <= line["tokens_per_second"] and line["waiting"] < 1


def test_a_dry_run_tells_what_it_needs_and_writes_nothing(folder, capsys):
    train(folder, folder / "dry", "--dry_run", "--max_steps", 300)
    words = " ".join(capsys.readouterr().out.replace("│", " ").split())
    total = sum(sum(lengths) for *_, lengths in ENVIRONMENTS.values())
    parameters = sum(p.numel() for p in LDMForActionPrediction.from_pretrained(folder / "start").parameters())
    for part in (
        f"{parameters:,}, {parameters:,} of them trained",
        "1 × cpu",
        "GiB at the highest",
        "an update 32 steps: 2 segments of 16 × 1 micro-batches × 1 processes",
        f"{total / 32:.1f} updates ({total} transitions)",
        f"300 updates, {300 * 32 / total:,.1f} epochs",
        "of the time waiting for data",
        "minutes",
    ):
        assert part in words, words
    assert not (folder / "dry").exists()


def test_a_compiled_and_checkpointed_decoder_learns_the_same(folder, whole, monkeypatch):
    # traced and differentiated as ever, without the minute that a C++ compiler takes
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    output = train(folder, folder / "compiled", "--compile", "--gradient_checkpointing")
    for line, other in zip(log_of(whole), log_of(output), strict=True):
        assert other == pytest.approx(line, rel=1e-3)
    assert weights_of(whole).keys() == weights_of(output).keys()


def test_bf16_trains(folder):
    output = train(folder, folder / "half", "--mixed_precision", "bf16")
    assert all(np.isfinite(line["loss"]) for line in log_of(output))
    assert {value.dtype for value in weights_of(output).values()} == {torch.float32}


def test_workers_prepare_the_same_batches(folder, whole):
    assert log_of(train(folder, folder / "workers", "--num_workers", "2")) == log_of(whole)


def test_a_folder_that_is_no_dataset_ends_in_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    failed = run(tmp_path, "--dataset", tmp_path / "empty", "--output_dir", tmp_path / "out")
    assert failed.returncode != 0 and "Traceback" not in failed.stderr
    errors = [line for line in failed.stderr.splitlines() if "error" in line]
    assert len(errors) == 1 and errors[0].startswith(f"error: {tmp_path / 'empty'} is no trajectory dataset")


def test_a_run_starts_from_a_language_model(folder):
    sizes = TINY["backbone_config"] | {"vocab_size": 50, "use_sliding_window": False}
    language_model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**sizes))
    language_model.save_pretrained(folder / "lm")
    options = ("--model", "", "--backbone", folder / "lm", "--max_steps", "1", "--warmup_steps", "1000")
    weights = LDMForActionPrediction.from_pretrained(train(folder, folder / "warm", *options)).model.backbone
    found = weights.state_dict()
    for name, value in language_model.model.state_dict().items():
        if name != "embed_tokens.weight":
            torch.testing.assert_close(found[name], value, atol=1e-4, rtol=0)  # one small step away
    with pytest.raises(LDMError, match="--model and --backbone"):
        train(folder, folder / "both", "--backbone", folder / "lm")
