"""examples/finetune.py: whole models, frozen decoders and adapters, on spaces that the model has never seen."""

import json
import shutil
import sys
import time

import numpy as np
import pytest
import torch
from gymnasium import spaces

from ldm_hf import LDMAgent, LDMForActionPrediction, LDMProcessor
from ldm_hf.errors import MissingExtraError
from ldm_hf.training import add_lora, merge_lora
from ldm_hf.trajectories import open_dataset

from ..model.test_model import rich_batch
from ..runs import (
    load_script,
    log_of,
    run,
    start,
    train,
    train_together,
    weights_of,
    write_dataset,
    write_model,
    write_sharded,
)

OBSERVATION = spaces.Dict({"lamp": spaces.MultiBinary(3), "level": spaces.Box(0, 10, (5,))})
ACTION = spaces.Tuple([spaces.Discrete(7), spaces.Box(-2, 2, (2,))])
NEW = {"New-v0": (OBSERVATION, ACTION, (12,) * 10)}
OPTIONS = ("--max_steps", 8, "--evaluation_steps", 2, "--checkpointing_steps", 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A pretrained model that knows other environments, and data of a new one."""
    folder = tmp_path_factory.mktemp("finetune")
    write_dataset(folder / "data", NEW)
    write_model(folder / "start")
    processor = LDMProcessor.from_pretrained(folder / "start")
    processor.add_environment("Old-v0", spaces.Box(-1, 1, (2,)), spaces.Discrete(2))
    processor.save_pretrained(folder / "start")
    return folder


def finetune(folder, name, *options):
    return train(folder, folder / name, *OPTIONS, *options, script="finetune.py")


def changed(folder, output):
    """The parameters that are others than those of the pretrained model, by their first names."""
    before, after = weights_of(folder / "start"), weights_of(output)
    assert before.keys() == after.keys()
    names = [name for name in before if not torch.equal(before[name], after[name])]
    return {"decoder" if ".backbone." in name else "other" for name in names}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "expected"),
    [("full", {"decoder", "other"}), ("frozen", {"other"}), ("lora", {"decoder", "other"})],
)
def test_a_fine_tuned_model_acts_in_the_new_spaces(folder, method, expected):
    output = finetune(folder, method, "--method", method)
    assert changed(folder, output) == expected
    known = LDMProcessor.from_pretrained(output).environments
    assert set(known) == {"Old-v0", "New-v0"} and known["New-v0"]["statistics"]["reward"]["std"] > 0
    agent = LDMAgent.from_pretrained(output, (OBSERVATION, ACTION), environment="New-v0")
    OBSERVATION.seed(0)
    assert ACTION.contains(agent.act(OBSERVATION.sample()))
    lines = log_of(output)
    assert all(np.isfinite(line["loss"]) for line in lines) and np.isfinite(lines[-1]["held_out_loss"])
    summary = json.loads((output / "training.json").read_text())
    assert summary["best_step"] in (2, 4, 6, 8) and not (output / "best.safetensors").exists()


@pytest.mark.slow
def test_weights_of_before_and_after_are_averaged(folder):
    before, after = weights_of(folder / "start"), weights_of(finetune(folder, "plain"))
    averaged = weights_of(finetune(folder, "averaged", "--kept", 0.25))
    for name, weight in averaged.items():
        torch.testing.assert_close(weight, 0.25 * before[name] + 0.75 * after[name])
    assert changed(folder, folder / "averaged")


@pytest.mark.slow
def test_a_killed_fine_tuning_repeats_the_uninterrupted_one(folder):
    options = ("--method", "lora", "--max_steps", 40, "--patience", 100, "--resume_from_checkpoint", "latest")
    whole, output = finetune(folder, "whole", *options), folder / "killed"
    process = start(folder, "--output_dir", output, *OPTIONS, *options, script="finetune.py")
    log = output / "training_log.jsonl"
    while not log.exists() or len(log.read_text().splitlines()) < 10:
        assert process.poll() is None, process.communicate()[1][-3000:]
        time.sleep(0.01)
    process.kill()
    process.wait()
    finetune(folder, "killed", *options)
    assert log_of(output) == log_of(whole)
    assert all(torch.equal(value, weights_of(output)[name]) for name, value in weights_of(whole).items())


@pytest.mark.slow
def test_layers_that_learn_at_rates_of_their_own_are_resumed_exactly(folder):
    """Frozen weights stay as they are; at a decay of nearly nothing, only the head and the last norm learn."""
    options = ("--layer_decay", 0.5, "--held_out", 0, "--method", "frozen")
    whole = finetune(folder, "by-layer", *options)
    shutil.copytree(whole / "checkpoint-4", folder / "by-layer-broken" / "checkpoint-4")
    again = finetune(folder, "by-layer-broken", *options, "--resume_from_checkpoint", "latest")
    assert log_of(again) == log_of(whole)[4:]
    assert all(torch.equal(value, weights_of(again)[name]) for name, value in weights_of(whole).items())
    assert changed(folder, whole) == {"other"}
    before, nothing = weights_of(folder / "start"), ("--layer_decay", 1e-30, "--weight_decay", 0)
    learned = weights_of(finetune(folder, "head-alone", *nothing, "--held_out", 0, "--max_steps", 2))
    others = {name for name in before if not torch.equal(before[name], learned[name])}
    assert others and all(name.startswith(("action_head.", "model.backbone.norm.")) for name in others)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_sharded_model_keeps_its_best_weights_too(folder, method):
    """All updates but the first ruin the model; measured again, what was saved has the loss of the best."""
    options = ("--method", method, "--evaluation_steps", 1, "--max_steps", 4, "--learning_rate", 0.3)
    script = write_sharded(folder, "finetune")
    output = train_together(folder, folder / f"sharded-{method}", *options, script=script)
    summary = json.loads((output / "training.json").read_text())
    assert summary["best_step"] < summary["steps"] == 4 and not (output / "best.safetensors").exists()
    assert changed(folder, output) == {"decoder", "other"}
    still = ("--model", output, "--evaluation_steps", 1, "--max_steps", 1, "--learning_rate", 0, "--batch_size", 4)
    again = train(folder, folder / f"again-{method}", *still, script="finetune.py")
    assert log_of(again)[0]["held_out_loss"] == pytest.approx(summary["held_out_loss"], rel=1e-4)


@pytest.mark.slow
def test_training_ends_when_it_no_longer_helps(folder):
    """With a learning rate that ruins the model."""
    output = finetune(folder, "ruined", "--learning_rate", 3, "--patience", 1, "--max_steps", 100)
    summary = json.loads((output / "training.json").read_text())
    assert summary["steps"] == summary["best_step"] + 2 < 100
    assert summary["held_out_loss"] == min(line["held_out_loss"] for line in log_of(output)[1::2])


@pytest.mark.slow
def test_too_few_episodes_are_all_trained_on(folder, caplog):
    finetune(folder, "two", "--episodes", 2)
    assert "no episodes are held out" in caplog.text
    summary = json.loads((folder / "two" / "training.json").read_text())
    assert summary["steps"] == 8 and "best_step" not in summary


@pytest.mark.slow
def test_what_is_no_model_is_told_in_one_line(folder):
    result = run(folder, "--output_dir", folder / "none", "--model", folder / "data", script="finetune.py")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].startswith(f"error: no usable LDM at {folder / 'data'}")


@pytest.mark.parametrize(
    ("episodes", "share", "trained", "held"),
    [(None, 0.1, 9, 1), (None, 0.0, 10, None), (5, 0.1, 4, 1), (4, 0.5, 4, None), (50, 0.3, 7, 3), (1, 0.1, 1, None)],
)
def test_held_out_episodes_are_never_trained_on(tmp_path, episodes, share, trained, held):
    write_dataset(tmp_path, NEW)
    seen, unseen = load_script("finetune.py").split(open_dataset(tmp_path)["New-v0"], episodes, share)
    assert seen.num_episodes == trained and (unseen.num_episodes if unseen else None) == held
    if unseen:
        steps, others = seen.slice(0, seen.num_steps), unseen.slice(0, unseen.num_steps)
        assert not set(steps["reward"].tolist()) & set(others["reward"].tolist())


def test_demonstrations_begin_where_they_are_asked_to(tmp_path):
    write_dataset(tmp_path, NEW)
    stream, split = open_dataset(tmp_path)["New-v0"], load_script("finetune.py").split
    seen, held_out = split(stream, 5, 0.2, first=3)
    assert np.array_equal(seen.episode_returns(), stream.episode_returns()[3:7]) and held_out.num_episodes == 1
    assert split(stream, 5, 0.0, first=8)[0].num_episodes == 2


def test_adapters_change_the_decoder_only_by_what_they_learn(model, processor):
    rich = rich_batch(processor)
    before = model(**rich).loss
    names = {name for name, _ in model.named_parameters()}
    add_lora(model, rank=2)
    torch.testing.assert_close(model(**rich).loss, before)  # they begin at zero
    trained = [name for name, p in model.named_parameters() if p.requires_grad and ".backbone." in name]
    assert trained and all("lora_" in name for name in trained)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    model(**rich).loss.backward()
    optimizer.step()
    after = model(**rich).loss
    assert after < before
    merge_lora(model)
    assert {name for name, _ in model.named_parameters()} == names
    torch.testing.assert_close(model(**rich).loss, after, rtol=1e-4, atol=1e-5)


def test_adapters_need_an_extra(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"ldm_hf\[lora\]"):
        add_lora(model, 2)
    assert isinstance(model, LDMForActionPrediction)
