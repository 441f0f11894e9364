"""Adapters beside every linear layer and quantisers in its place, as people apply them to any model."""

import pytest
import torch
from peft import IA3Config, LoHaConfig, LoraConfig, PeftModel, get_peft_model
from transformers import AutoModel, TorchAoConfig

from ldm_hf import LDMAgent, LDMForActionPrediction
from tests.toys import ACTION, OBSERVATION, assert_same_actions

from .test_model import largest_difference, rich_batch


@pytest.fixture()
def base(model, processor, tmp_path):
    for part in (model, processor):
        part.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def trained(model, batch, config, steps=3):
    adapted = get_peft_model(model, config)
    optimizer = torch.optim.Adam([p for p in adapted.parameters() if p.requires_grad], 1e-2)
    losses = []
    for _ in range(steps):
        loss = adapted(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    return adapted.eval()


@pytest.mark.parametrize("auto", [LDMForActionPrediction, AutoModel])
def test_all_linear_trains_saves_loads_and_merges(base, processor, tmp_path, auto):
    batch = rich_batch(processor)
    adapted = trained(auto.from_pretrained(base), batch, LoraConfig(r=2, target_modules="all-linear"))
    expected = adapted(**batch).logits
    assert largest_difference(expected, auto.from_pretrained(base).eval()(**batch).logits) > 1e-3
    adapted.save_pretrained(tmp_path / "adapter")
    loaded = PeftModel.from_pretrained(auto.from_pretrained(base), tmp_path / "adapter").eval()
    assert largest_difference(loaded(**batch).logits, expected) < 1e-5
    at_once = auto.from_pretrained(tmp_path / "adapter").eval()
    assert largest_difference(at_once(**batch).logits, expected) < 1e-5
    merged = loaded.merge_and_unload()
    assert largest_difference(merged(**batch).logits, expected) < 1e-4
    merged.save_pretrained(tmp_path / "merged")
    again = auto.from_pretrained(tmp_path / "merged")
    assert type(again) is LDMForActionPrediction
    assert largest_difference(again.eval()(**batch).logits, expected) < 1e-4


def test_every_linear_layer_has_an_adapter(model):
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear"))
    plain = {name for name, module in adapted.named_modules() if type(module) is torch.nn.Linear}
    assert all("lora_" in name or name.endswith("base_layer") for name in plain)
    assert (
        sum(name.endswith("base_layer") for name in plain) == 2 * 7 + 1 + 2 + 2 + 4
    )  # decoder, feedback, mlp, stems, head


@pytest.mark.parametrize(
    "adapter",
    [
        LoraConfig(r=2, target_modules="all-linear", use_dora=True),
        LoHaConfig(r=2, target_modules="all-linear"),
        IA3Config(target_modules="all-linear", feedforward_modules=[]),
    ],
    ids=["dora", "loha", "ia3"],
)
def test_other_adapters(model, processor, adapter):
    trained(model, rich_batch(processor), adapter)


def test_an_agent_acts_with_an_adapter(base, processor, tmp_path):
    adapted = trained(
        LDMForActionPrediction.from_pretrained(base),
        rich_batch(processor),
        LoraConfig(r=2, target_modules="all-linear"),
    )
    adapted.save_pretrained(tmp_path / "adapter")
    processor.save_pretrained(tmp_path / "adapter")
    agents = (
        LDMAgent(adapted, processor, (OBSERVATION, ACTION)),
        LDMAgent.from_pretrained(tmp_path / "adapter", (OBSERVATION, ACTION)),
        LDMAgent(adapted, processor, (OBSERVATION, ACTION), compile=True),
    )
    observations = [OBSERVATION.sample() for _ in range(5)]
    acted = [[agent.act(observation) for observation in observations] for agent in agents]
    assert all(action in ACTION for action in acted[0])
    for others in acted[1:]:
        assert_same_actions(acted[0], others)


def test_gradient_checkpointing_with_adapters(model, processor):
    model.activation_checkpointing_enable()
    model.enable_input_require_grads()
    trained(model.train(), rich_batch(processor), LoraConfig(r=2, target_modules="all-linear"))


@pytest.mark.parametrize("kind", ["Int8WeightOnlyConfig", "Int8DynamicActivationInt8WeightConfig"])
def test_torchao_quantises_the_same_layers(base, processor, tmp_path, kind):
    quantization = pytest.importorskip("torchao.quantization")
    batch = rich_batch(processor, labels=False)
    expected = LDMForActionPrediction.from_pretrained(base).eval()(**batch).logits
    settings = TorchAoConfig(getattr(quantization, kind)())
    small = LDMForActionPrediction.from_pretrained(base, quantization_config=settings).eval()
    assert 0 < largest_difference(small(**batch).logits, expected) < 0.3
    plain = LDMForActionPrediction.from_pretrained(base).eval()
    quantization.quantize_(plain, getattr(quantization, kind)())
    assert largest_difference(small(**batch).logits, plain(**batch).logits) < 1e-5
    assert LDMAgent(small, processor, (OBSERVATION, ACTION)).act(OBSERVATION.sample()) in ACTION
    small.save_pretrained(tmp_path / "small")
    again = LDMForActionPrediction.from_pretrained(tmp_path / "small").eval()
    assert largest_difference(again(**batch).logits, small(**batch).logits) < 1e-5
