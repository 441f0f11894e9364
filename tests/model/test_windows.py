"""Windows by layer: roll-out and full forward agree, whatever the windows; agents, states and exports know them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AttentionInterface

from ldm_hf import LDMAgent, LDMConfig, LDMForActionPrediction, LDMProcessor
from ldm_hf import cache_ldm as cache_module
from ldm_hf.cache_ldm import RingBufferCache
from ldm_hf.configuration_ldm import OWN_WINDOWS
from ldm_hf.training.meter import flops_per_token

from ..agent.test_state import check_goes_on
from ..conftest import TINY
from ..toys import ACTION, OBSERVATION
from .test_backbones import ATTENTION, SIZES, by_lane, config_of, step_of
from .test_model import PER_STEP, largest_difference, rich_batch

KINDS = ("qwen3", "qwen2", "llama", "mistral", "olmo2", "granite", "olmo_hybrid", "granitemoehybrid", "lfm2")
LENGTH = 70


def model_of(kind, windows, **fields):
    torch.manual_seed(0)
    return LDMForActionPrediction(config_of(kind, **{"window": 0, "layer_windows": windows} | fields)).eval()


@st.composite
def models(draw):
    kind = draw(st.sampled_from(KINDS))
    kinds = LDMConfig(**TINY | {"backbone_config": {"model_type": kind} | SIZES[kind], "window": 1}).layer_kinds
    windows = [draw(st.integers(1, 12)) if "full" in layer or "sliding" in layer else 0 for layer in kinds]
    return model_of(kind, windows)


@torch.no_grad()
@settings(max_examples=12)
@given(model=models(), cut=st.integers(1, LENGTH - 2), idle=st.integers(1, LENGTH - 2))
def test_a_roll_out_equals_the_full_forward(model, cut, idle):
    """Over re-based positions, where a lane is reset and where it forgets a step."""
    processor = LDMProcessor.from_config(model.config)
    batch = rich_batch(processor, length=LENGTH, labels=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache_module, "REBASE_INTERVAL", 20)
        cache, outputs = RingBufferCache.from_config(model.config, 2), []
        for step in range(LENGTH):
            if step == cut:
                cache.reset(np.array([False, True]))
            if step == idle:  # another step comes between, and is forgotten
                model(**step_of(batch, step + 1), cache=cache, active=torch.tensor([False, False]))
            outputs.append(model(**step_of(batch, step), cache=cache).logits)
    assert int(cache.lengths.max()) < 20 + 2 * cache.window
    cached, whole = by_lane(torch.cat(outputs, dim=1), 2), by_lane(model(**batch).logits, 2)
    assert largest_difference(cached[0], whole[0]) < 1e-4
    assert largest_difference(cached[1, :, :cut], whole[1, :, :cut]) < 1e-4
    late = {name: value[:, cut:] if name in PER_STEP else value for name, value in batch.items()}
    assert largest_difference(cached[1, :, cut:], by_lane(model(**late).logits, 2)[1]) < 1e-4


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["qwen3", "mistral"])
def test_a_step_sees_the_windows_of_all_layers_and_no_more(kind, attention, processor):
    model, windows = model_of(kind, [3, 11]), [3, 11]
    model.set_attn_implementation(attention)
    batch, last = rich_batch(processor, length=30, labels=False), 29
    reach = sum(windows) - len(windows)
    changes = []
    for back in (reach + 1, reach):
        changed = {name: value.clone() for name, value in batch.items()}
        changed["feedback"][:, last - back] += 5
        changes.append(largest_difference(model(**changed).logits[:, -1], model(**batch).logits[:, -1]))
    assert changes[0] < 1e-6 < 1e-4 < changes[1]


@torch.no_grad()
def test_equal_windows_are_one_window(processor):
    batch = rich_batch(processor, length=30, labels=False)
    one, own = model_of("qwen3", None, window=8), model_of("qwen3", [8, 8])
    assert largest_difference(one(**batch).logits, own(**batch).logits) < 1e-6


@torch.no_grad()
def test_saved_and_loaded(processor, tmp_path):
    model, batch = model_of("qwen3", [2, 9]), rich_batch(processor)
    model.save_pretrained(tmp_path)
    loaded = LDMForActionPrediction.from_pretrained(tmp_path).eval()
    assert (loaded.config.windows, loaded.config.window) == ([2, 9], 9)
    assert torch.equal(loaded(**batch).logits, model(**batch).logits)


def test_training_with_recomputed_activations_has_the_same_gradients(processor):
    gradients = []
    for recompute in (False, True):
        model = model_of("qwen3", [2, 9]).train()
        if recompute:
            model.activation_checkpointing_enable()
        model(**rich_batch(processor)).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.allclose(value, gradients[1][name], atol=1e-6) for name, value in gradients[0].items())


def test_attention_without_masks_is_told_the_windows(processor):
    seen = []

    def attention(module, query, key, value, mask, **kwargs):
        seen.append((mask, kwargs.get("sliding_window")))
        return query.transpose(1, 2).contiguous(), None

    AttentionInterface.register("maskless", attention)
    batch = rich_batch(processor, labels=False)
    for kind in (*OWN_WINDOWS, "mistral"):
        model = model_of(kind, [2, 9])
        model.set_attn_implementation("maskless")
        if kind == "mistral":
            with pytest.raises(ValueError, match='"sdpa"'):
                model(**batch)
        else:
            model(**batch)
    assert seen == [(None, 2), (None, 9)] * len(OWN_WINDOWS)


def test_what_follows_from_the_windows():
    config = LDMConfig.preset("ldm-nano", layer_windows=[32, 32, 512])
    assert (config.window, config.windows, config.default_segment) == (512, [32, 32, 512], 512)
    assert LDMConfig.preset("ldm-nano").default_segment == 128
    flat, deep = (flops_per_token(model_of("qwen3", windows)) for windows in ([8, 8], [8, 108]))
    assert deep - flat == 12 * ATTENTION["hidden_size"] * 100
    lfm = config_of("lfm2", window=0, layer_windows=[0, 40])
    assert (lfm.window, lfm.windows) == (40, [0, 40])


@pytest.mark.parametrize(
    ("kind", "windows", "message"),
    [
        ("qwen3", [8], "1 windows for 2 layers"),
        ("qwen3", [8, 0], "window of layer 1 is 0"),
        ("qwen3", [2**30, 8], "window of layer 0"),
        ("qwen3", [8, "9"], "layer_windows"),
        ("lfm2", [4, 8], r"layer 0 \(conv\) does not attend"),
        ("mamba2", [0, 0], "none of the layers attends"),
    ],
)
def test_impossible_windows_are_named(kind, windows, message):
    with pytest.raises(Exception, match=message):
        config_of(kind, window=0, layer_windows=windows)


def test_a_state_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "REBASE_INTERVAL", 20)
    model = model_of("qwen3", [3, 7])
    processor = LDMProcessor.from_config(model.config)
    check_goes_on(lambda: LDMAgent(model, processor, (OBSERVATION, ACTION)), tmp_path / "state", steps=45)
