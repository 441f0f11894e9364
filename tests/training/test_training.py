"""Training: the optimiser's settings, what is measured, and what ends a run early."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from ldm_hf.errors import ArgumentError, CheckpointError, LDMError
from ldm_hf.training import (
    EarlyStopping,
    Meter,
    TrainingRun,
    best_mixed_precision,
    cosine_with_warmup,
    make_accelerator,
    parameter_groups,
    readable_errors,
)
from ldm_hf.training.arguments import SHARES
from ldm_hf.training.averaging import MovingAverage
from ldm_hf.training.checkpoints import Progress, find_checkpoint, read_progress
from ldm_hf.training.launching import sole_writer
from ldm_hf.training.loop import _log_file, train
from ldm_hf.training.meter import flops_per_token, peak_flops

# --- optimiser -------------------------------------------------------------------------------------------------------


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


def test_layers_learn_the_slower_the_lower_they_are(model):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, 0.1, layer_decay=0.5)
    rates = {names[id(p)]: group["rate"] for group in groups for p in group["params"]}
    assert rates.keys() == {*names.values()}
    expected = {"action_head.": 1, "model.backbone.norm": 1, "model.backbone.layers.1.": 0.5}
    expected |= {"model.backbone.layers.0.": 0.25, "model.numeric.": 0.125, "model.bag.": 0.125, "model.mlp.": 0.125}
    for start, rate in expected.items():
        assert {found for name, found in rates.items() if name.startswith(start)} == {rate}
    assert {rate for rate in rates.values()} == {1, 0.5, 0.25, 0.125}
    decays = {names[id(p)]: group["weight_decay"] for group in groups for p in group["params"]}
    plain = {names[id(p)]: group["weight_decay"] for group in parameter_groups(model, 0.1) for p in group["params"]}
    assert decays == plain
    model.model.backbone.requires_grad_(False)
    given = [p for group in parameter_groups(model, 0.1, 0.5) for p in group["params"]]
    assert {id(p) for p in given} == {id(p) for p in model.parameters() if p.requires_grad}


@pytest.mark.parametrize("decay", [0.0, 1.1, -1.0])
def test_an_impossible_layer_decay_is_named(model, decay):
    with pytest.raises(ArgumentError, match="--layer_decay is"):
        parameter_groups(model, 0.1, decay)


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


def test_frozen_parameters_are_not_given_to_the_optimiser(model):
    model.model.backbone.requires_grad_(False)
    given = {id(p) for group in parameter_groups(model, 0.1) for p in group["params"]}
    assert given == {id(p) for p in model.parameters() if p.requires_grad} and len(given) < len(
        list(model.parameters())
    )


# --- average of the weights ------------------------------------------------------------------------------------------


def test_the_average_follows_the_weights(model):
    average = MovingAverage(Accelerator(cpu=True), model, 0.5)
    bias, expected = model.action_head.logits.bias, 0.0
    for update, value in enumerate([1.0, 2.0, 5.0, -3.0, 7.0, 0.0, 4.0, 1.0, 2.0, 9.0]):
        torch.nn.init.constant_(bias, value)
        average.update()
        decay = min(0.5, (1 + update) / (10 + update)) if update else 0.0
        expected = decay * expected + (1 - decay) * value
        assert average.module.action_head.logits.bias[0].item() == pytest.approx(expected, rel=1e-5)
    assert torch.equal(average.module.action_head.hidden.weight, model.action_head.hidden.weight)


@pytest.mark.parametrize("decay", [1.0, -0.1, 99.0])
def test_an_impossible_decay_is_named(model, decay):
    with pytest.raises(ArgumentError, match=f"--ema_decay is {decay}"):
        MovingAverage(Accelerator(cpu=True), model, decay)


# --- what is measured ------------------------------------------------------------------------------------------------


def test_a_line_of_the_log_tells_losses_by_domain_and_speeds():
    meter = Meter(Accelerator(cpu=True), {"a": "control", "b": "games", "c": "control"}, flops=10.0, peak=1e9)
    meter.add(["a", "b"], torch.tensor([1.0, 4.0]), tokens=32, transitions=20, waited=0.0)
    meter.add(["c", "b"], torch.tensor([2.0, float("nan")]), tokens=32, transitions=30, waited=0.0)
    meter.updates += 1
    line = meter.line()
    assert line["loss"] == pytest.approx(7 / 3) and line["loss/control"] == 1.5 and line["loss/games"] == 4
    assert line["tokens_per_second"] / line["transitions_per_second"] == pytest.approx(64 / 50)
    assert line["tokens_per_second"] / line["updates_per_second"] == pytest.approx(64)
    assert line["mfu"] == pytest.approx(line["tokens_per_second"] * 10 / 1e9) and line["waiting"] == 0
    meter.add(["a"], torch.tensor([3.0]), tokens=1, transitions=1, waited=1e9)
    again = meter.line()
    assert again["loss"] == 3 and again["waiting"] > 1 and "loss/games" not in again


def test_arithmetic_of_a_token(model):
    decoder = sum(p.numel() for part in (model.model.backbone, model.model.mlp) for p in part.parameters())
    assert flops_per_token(model) == 6 * decoder + 12 * 2 * 32 * 8  # layers, width and window of the tiny model
    assert 1e8 < peak_flops(torch.device("cpu"), half=False) < 1e14


# --- early stopping --------------------------------------------------------------------------------------------------


class Scripted(EarlyStopping):
    """Whose held-out losses are given."""

    def _measure(self, accelerator, model):
        return self.losses.pop(0)


def test_a_run_ends_when_held_out_data_are_no_longer_predicted_better(model, tmp_path):
    stopping, progress, accelerator = Scripted(None, tmp_path, every=10, patience=2), Progress(), Accelerator(cpu=True)
    stopping.losses = [3.0, 2.0, 2.5, 2.1]
    best = None
    for step in range(1, 41):
        progress.step = step
        torch.nn.init.constant_(model.action_head.logits.bias, step)
        ended = stopping(accelerator, model, progress)
        assert ended == (step == 40)
        if step == 20:
            best = {name: value.clone() for name, value in model.state_dict().items()}
    assert progress.best == (2.0, 20) and stopping.losses == []
    stopping.restore(model)
    assert all(torch.equal(value, best[name]) for name, value in model.state_dict().items())
    assert not list(tmp_path.iterdir())


def test_held_out_data_are_measured_without_changing_the_model(make_dataset, model, tmp_path):
    stopping = EarlyStopping(make_dataset(), tmp_path, every=1, patience=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    progress = Progress(step=1)
    assert not stopping(Accelerator(cpu=True), model, progress) and np.isfinite(progress.best[0])
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# --- what goes wrong -------------------------------------------------------------------------------------------------


def arguments(folder, **further):
    return TrainingRun(dataset="data", output_dir=str(folder), **further)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segment": 64}, "--segment was 128, is 64"),
        ({"seed": 1}, "--seed was 0, is 1"),
        ({"environments": {"a": 10}}, "b had 20 steps, has none"),
        ({"environments": {"a": 10, "b": 21}}, "b had 20 steps, has 21"),
        ({"environments": {"a": 10, "b": 20, "c": 5}}, "c had no steps, has 5"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, change, message):
    args, environments = arguments(tmp_path, segment=128), {"a": 10, "b": 20}
    folder = tmp_path / "checkpoint-5"
    folder.mkdir()
    saved = {"step": 5, "segments": 160, "environments": environments, "arguments": vars(args)}
    (folder / "progress.json").write_text(json.dumps(saved))
    assert read_progress(folder, arguments(tmp_path, segment=128, max_steps=7), environments).segments == 160
    environments = change.pop("environments", environments)
    with pytest.raises(CheckpointError, match=f"checkpoint-5 belongs to another run: {message}.*--output_dir"):
        read_progress(folder, arguments(tmp_path, **{"segment": 128} | change), environments)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"steps": 3}'])
def test_a_damaged_checkpoint_is_named(tmp_path, text):
    (tmp_path / "checkpoint-5").mkdir()
    (tmp_path / "checkpoint-5" / "progress.json").write_text(text)
    with pytest.raises(CheckpointError, match="checkpoint-5 is damaged"):
        read_progress(tmp_path / "checkpoint-5", arguments(tmp_path), {})


def test_which_checkpoint_is_meant(tmp_path):
    assert find_checkpoint(arguments(tmp_path)) is None
    assert find_checkpoint(arguments(tmp_path, resume_from_checkpoint="latest")) is None
    for step in (5, 10, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
    (tmp_path / "unfinished-200").mkdir()
    assert find_checkpoint(arguments(tmp_path, resume_from_checkpoint="latest")).name == "checkpoint-100"
    with pytest.raises(CheckpointError, match=r"up to checkpoint-100.*--resume_from_checkpoint latest"):
        find_checkpoint(arguments(tmp_path))
    with pytest.raises(CheckpointError, match="is no checkpoint of a training run"):
        find_checkpoint(arguments(tmp_path, resume_from_checkpoint=str(tmp_path / "checkpoint-5")))


def test_a_log_is_cut_where_the_run_goes_on(tmp_path):
    path = tmp_path / "log.jsonl"
    lines = [json.dumps({"step": step, "loss": 1.0}) + "\n" for step in range(1, 8)]
    path.write_text("".join(lines) + '{"step": 8, "lo')  # the process was killed while it wrote
    with _log_file(path, 3) as log:
        log.write("next\n")
    assert path.read_text() == "".join(lines[:3]) + "next\n"


def test_one_run_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("ldm_hf.training.launching.LOCK_SECONDS", 0.1)
    folder = tmp_path / "out"
    again = pytest.raises(LDMError, match=r"another run is writing to .*out")
    with sole_writer(folder), again, sole_writer(folder):
        pass
    with sole_writer(folder):  # the first one has ended
        pass


def test_too_little_memory_suggests_flags(tmp_path):
    (tmp_path / "checkpoint-20").mkdir()
    with pytest.raises(LDMError) as error, readable_errors(arguments(tmp_path, batch_size=8)):
        torch.empty(2**60, dtype=torch.uint8)
    for part in (
        "out of memory with 8 segments a batch",
        "--batch_size 4 --gradient_accumulation_steps 2",
        "--gradient_checkpointing",
        "--mixed_precision bf16",
        "fsdp2.yaml",
        "checkpoint-20 is lost: add --resume_from_checkpoint latest",
    ):
        assert part in str(error.value)
    with (
        pytest.raises(LDMError) as error,
        readable_errors(arguments(tmp_path / "new", batch_size=1, gradient_checkpointing=True)),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\n and much more")
    assert "--batch_size" not in str(error.value) and "--gradient_checkpointing" not in str(error.value)
    assert "There is no checkpoint yet" in str(error.value) and "much more" not in str(error.value)


def test_sharding_needs_gpus(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with pytest.raises(LDMError, match="on GPUs only"):
        make_accelerator(arguments(tmp_path))


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(RuntimeError, match="shape"), readable_errors(arguments(tmp_path)):
        raise RuntimeError("shape mismatch")


@pytest.mark.parametrize("name", SHARES)
@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_an_impossible_share_is_named(tmp_path, model, name, share):
    with pytest.raises(ArgumentError, match=f"--{name} is .* from 0 to 1"):
        train(Accelerator(cpu=True), model, None, {}, arguments(tmp_path, **{name: share}))
    arguments(tmp_path, **{name: 1.0}).check()
