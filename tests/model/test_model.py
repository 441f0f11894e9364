"""The model: saving, causality, cache, isolation of rows; the checks of transformers' common tests that apply."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from transformers import AutoConfig, AutoModel, AutoProcessor, Trainer, TrainingArguments

from ldm_hf import LDMConfig, LDMForActionPrediction, LDMModel
from ldm_hf import cache_ldm as cache_module
from ldm_hf.actions_ldm import NO_LABEL
from ldm_hf.cache_ldm import RingBufferCache
from ldm_hf.configuration_ldm import PRESETS
from ldm_hf.layout_ldm import EnvironmentLayout
from ldm_hf.modeling_ldm import SQUARED_WEIGHT

from ..conftest import TINY, random_steps

RICH = spaces.Dict(
    {
        "pixels": spaces.Box(0, 255, (20, 20, 3), np.uint8),
        "grid": spaces.Box(0, 255, (7, 7, 3), np.uint8),
        "x": spaces.Box(-1, 1, (4,)),
        "text": spaces.Text(9),
        "d": spaces.Discrete(5),
    }
)
RICH_ACTION = spaces.Dict({"a": spaces.Discrete(30), "b": spaces.Box(-1, 1, (3,))})
PER_STEP = ("feedback", "numeric", "raw_numeric", "categorical", "action_numeric", "grid", "pixels")


def rich_batch(processor, length=40, rows=2, labels=True):
    layout = EnvironmentLayout(processor.sizes, RICH, RICH_ACTION)
    encoded = [
        layout.encode_segment(random_steps(RICH, RICH_ACTION, length, seed), known_statistics=False)
        for seed in range(rows)
    ]
    batch = processor(encoded)
    if not labels:
        batch.pop("labels")
    return batch


def step_by_step(model, batch, lanes):
    cache = RingBufferCache.from_config(model.config, lanes)
    outputs = []
    for step in range(batch["feedback"].shape[1]):
        one = {name: value[:, step : step + 1] if name in PER_STEP else value for name, value in batch.items()}
        outputs.append(model(**one, cache=cache).logits)
    return torch.cat(outputs, dim=1), cache


def largest_difference(first, second):
    """Over the places that are choices (the others hold the dtype's minimum)."""
    return (first.clamp(min=-1e4) - second.clamp(min=-1e4)).abs().max().item()


@pytest.mark.slow
@torch.inference_mode()
@pytest.mark.parametrize("count", [2_500, pytest.param(100_000, marks=pytest.mark.soak)])
def test_a_very_long_stream_equals_a_fresh_run_of_what_the_model_can_see(count):
    torch.manual_seed(0)
    sizes = TINY["backbone_config"] | {"num_hidden_layers": 1}  # one layer of windows
    model = LDMModel(LDMConfig(**TINY | {"backbone_config": sizes})).eval()
    window = model.config.window
    feedback, signature = torch.randn(1, count, 6), torch.ones(1, 1, dtype=torch.long)
    cache = RingBufferCache.from_config(model.config, 1)
    for step in range(count):
        last = model(feedback[:, step : step + 1], signature, cache=cache).last_hidden_state
    assert int(cache.lengths[0]) < cache_module.REBASE_INTERVAL + 2 * window
    assert (last - model(feedback[:, -window:], signature).last_hidden_state[:, -1:]).abs().max() < 1e-4


@torch.no_grad()
def test_a_row_does_not_depend_on_its_batch_or_padding(model, processor):
    rich = EnvironmentLayout(processor.sizes, RICH, RICH_ACTION)
    plain = EnvironmentLayout(processor.sizes, spaces.Box(-1, 1, (9,)), spaces.Discrete(3))
    first = rich.encode_segment(random_steps(RICH, RICH_ACTION, 15), known_statistics=False)
    second = plain.encode_segment(
        random_steps(plain.observation_space, plain.action_space, 40), known_statistics=False
    )
    together, alone = model(**processor([first, second])), [model(**processor([row])) for row in (first, second)]
    for row in range(2):
        assert together.row_losses[row] == pytest.approx(alone[row].loss.item(), abs=1e-5)
    assert together.loss == pytest.approx(torch.stack([output.loss for output in alone]).mean().item(), abs=1e-5)
    assert largest_difference(together.logits[:5, :15], alone[0].logits) < 1e-4


def test_loss_weighs_elements_and_rows_equally():
    torch.manual_seed(0)
    logits, means = torch.randn(4, 3, 21), torch.randn(4, 3)
    rows, sizes = torch.tensor([0, 0, 0, 1]), torch.tensor([21, 21, 21, 21])
    no = NO_LABEL
    labels = torch.tensor([[0, 5, 7], [1, 2, 3], [20, 0, no], [4, no, no]])
    row_losses = LDMForActionPrediction._row_losses(logits, means, means, labels, rows, sizes, 3)
    log_p = logits.log_softmax(-1)
    assert row_losses[1] == pytest.approx(-log_p[3, 0, 4].item(), abs=1e-5)
    chosen = [
        *(log_p[0, t, (0, 5, 7)[t]] for t in range(3)),
        *(log_p[1, t, t + 1] for t in range(3)),
        log_p[2, 0, 20],
        log_p[2, 1, 0],
    ]
    assert row_losses[0] == pytest.approx(-sum(chosen).item() / 8, abs=1e-5)
    assert row_losses[2].isnan()


def test_loss_of_continuous_elements_is_zero_where_mean_and_error_are_right():
    labels = torch.tensor([[-1.0, 0.3, NO_LABEL]])
    rows, sizes, logits = torch.tensor([0]), torch.tensor([0]), torch.zeros(1, 3, 21)

    def loss(means, deviations):
        means, deviations = torch.tensor([means]), torch.tensor([deviations])
        return LDMForActionPrediction._row_losses(logits, means, deviations, labels, rows, sizes, 1).item()

    assert loss([-1.0, 0.3, 9.0], [0.0, 0.0, 9.0]) == 0
    assert loss([-0.5, 0.3, 9.0], [0.5, 0.0, 9.0]) == pytest.approx(SQUARED_WEIGHT * 0.25 / 2)
    assert loss([-0.5, 0.3, 9.0], [0.0, 0.0, 9.0]) == pytest.approx(SQUARED_WEIGHT * 0.5 / 2)


def test_predicted_errors_do_not_shape_the_features(config, processor):
    model = LDMForActionPrediction(config)
    model(**rich_batch(processor, labels=False)).deviations.sum().backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()} == {
        "action_head.deviations.weight",
        "action_head.deviations.bias",
    }


@torch.no_grad()
def test_saving_and_auto_classes(model, processor, tmp_path):
    batch = rich_batch(processor)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors", "processor_config.json"}
    loaded = AutoModel.from_pretrained(tmp_path)
    assert isinstance(loaded, LDMForActionPrediction) and isinstance(AutoConfig.from_pretrained(tmp_path), LDMConfig)
    assert AutoProcessor.from_pretrained(tmp_path).to_dict() == processor.to_dict()
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    assert largest_difference(loaded.eval()(**batch).logits, model(**batch).logits) < 1e-5
    base = LDMModel.from_pretrained(tmp_path)  # strips the head's prefix
    assert torch.equal(base.bag.weight, model.model.bag.weight)


@torch.no_grad()
def test_eager_equals_sdpa(config, processor):
    outputs = []
    for attention in ("eager", "sdpa"):
        torch.manual_seed(0)
        model = LDMForActionPrediction._from_config(config, attn_implementation=attention).eval()
        outputs.append(model(**rich_batch(processor)).logits)
    assert largest_difference(*outputs) < 1e-4


def test_overfits_one_batch(model, processor):
    batch = rich_batch(processor, length=16)
    batch["labels"] = batch[
        "labels"
    ].round()  # two-hot targets between bins have an entropy that no model can go below
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    losses = []
    for _ in range(300):
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_trains_under_an_unmodified_trainer(model, processor, tmp_path):
    batches = [rich_batch(processor, length=8) for _ in range(4)]
    arguments = TrainingArguments(
        str(tmp_path),
        per_device_train_batch_size=1,
        max_steps=3,
        report_to="none",
        use_cpu=True,
        remove_unused_columns=False,
        logging_steps=1,
    )
    trainer = Trainer(model, arguments, train_dataset=batches, data_collator=lambda batch: dict(batch[0]))
    result = trainer.train()
    assert result.global_step == 3 and np.isfinite(result.training_loss)


@torch.inference_mode()
@pytest.mark.parametrize(("scaled", "factor"), [(True, 2), (False, 4)])
def test_a_long_task_text_can_count_as_one_choice_does(scaled, factor):
    model = LDMModel(LDMConfig(**TINY, scaled_task=scaled))
    word = model.bag.weight[5]
    found = model.embed_task(torch.tensor([[5, 0, 0, 0], [5, 5, 5, 5], [0, 0, 0, 0]]))
    torch.testing.assert_close(found, torch.stack([word, factor * word, 0 * word]))
    assert all(LDMConfig.preset(name).scaled_task for name in PRESETS)


@pytest.mark.parametrize(
    ("preset", "millions"), [("ldm-nano", (1, 3.5)), ("ldm-small", (22, 28)), ("ldm-base", (300, 315))]
)
def test_presets_have_their_published_sizes(preset, millions):
    with torch.device("meta"):
        model = LDMForActionPrediction(LDMConfig.preset(preset))
    assert millions[0] * 1e6 < sum(parameter.numel() for parameter in model.parameters()) < millions[1] * 1e6


def test_configuration_errors(tmp_path):
    with pytest.raises(ValueError, match="ldm-nano"):
        LDMConfig.preset("ldm-huge")
    with pytest.raises(Exception, match="num_choices"):
        LDMConfig(num_choices="many")
    full = {**TINY["backbone_config"], "use_sliding_window": False}
    with pytest.raises(Exception, match="sliding_window"):
        LDMConfig(backbone_config=full)
    assert set(PRESETS) == {"ldm-nano", "ldm-small", "ldm-base"}
