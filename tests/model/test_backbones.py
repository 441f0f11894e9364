"""Every decoder that a configuration may name: roll-out, window, saving, training, weights of a language model."""

import shutil

import numpy as np
import pytest
import torch
from gymnasium import spaces
from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM, BertConfig

from ldm_hf import LDMAgent, LDMConfig, LDMForActionPrediction, LDMModel
from ldm_hf import cache_ldm as cache_module
from ldm_hf.cache_ldm import RECURRENT, RingBufferCache
from ldm_hf.configuration_ldm import BACKBONES, PRETRAINED_WINDOW, WINDOWED
from ldm_hf.errors import CheckpointError

from ..conftest import TINY
from ..toys import Recorder
from .test_model import PER_STEP, largest_difference, rich_batch, step_by_step

WINDOW = 8
ATTENTION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "initializer_range": 0.2,  # large weights make small mistakes visible
}
ROTARY = {"rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0}}
SIZES = {kind: ATTENTION for kind in BACKBONES} | {
    "lfm2": ATTENTION | {"layer_types": ["conv", "full_attention"]},
    "mamba2": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_heads": 4,
        "head_dim": 16,
        "state_size": 8,
        "n_groups": 1,
        "chunk_size": 16,
        "initializer_range": 0.2,
    },
    "olmo_hybrid": ATTENTION | ROTARY | {"layer_types": ["linear_attention", "full_attention"]},
    "granitemoehybrid": ATTENTION
    | ROTARY
    | {
        "layer_types": ["linear_attention", "full_attention"],
        "position_embedding_type": "rope",
        "num_local_experts": 0,
        "shared_intermediate_size": 48,
        "mamba_n_heads": 4,
        "mamba_d_head": 16,
        "mamba_d_state": 8,
        "mamba_chunk_size": 16,
    },
}


def config_of(kind, **fields):
    return LDMConfig(**TINY | {"backbone_config": {"model_type": kind} | SIZES[kind], "window": WINDOW} | fields)


@pytest.fixture(scope="module", params=BACKBONES)
def backbone(request):
    torch.manual_seed(0)
    return LDMForActionPrediction(config_of(request.param)).eval()


def step_of(batch, step):
    return {name: value[:, step : step + 1] if name in PER_STEP else value for name, value in batch.items()}


def by_lane(logits, lanes):
    """``(P, T, choices)`` -> ``(lanes, elements, T, choices)``."""
    return logits.view(lanes, -1, *logits.shape[1:])


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", BACKBONES)
def test_cached_roll_out_equals_the_full_forward(kind, attention, processor, monkeypatch):
    monkeypatch.setattr(cache_module, "REBASE_INTERVAL", 20)
    if kind == "mamba2" and attention == "sdpa":
        pytest.skip("a state space has no attention")
    torch.manual_seed(0)
    model = LDMForActionPrediction._from_config(config_of(kind), attn_implementation=attention).eval()
    batch = rich_batch(processor, length=8 * WINDOW + 3, labels=False)
    cached, cache = step_by_step(model, batch, 2)
    assert int(cache.lengths[0]) < 20 + 2 * WINDOW  # positions were re-based, more than once
    assert largest_difference(cached, model(**batch).logits) < 1e-4


@torch.no_grad()
def test_a_reset_lane_equals_a_fresh_one_and_lanes_do_not_see_one_another(backbone, processor):
    batch = rich_batch(processor, length=16, rows=3, labels=False)
    cache = RingBufferCache.from_config(backbone.config, 3)
    outputs = []
    for step in range(16):
        if step == 9:
            cache.reset(torch.tensor([False, True, False]))
        outputs.append(backbone(**step_of(batch, step), cache=cache).logits)
    mixed, whole = by_lane(torch.cat(outputs, dim=1), 3), by_lane(backbone(**batch).logits, 3)
    late = {name: value[:, 9:] if name in PER_STEP else value for name, value in batch.items()}
    assert largest_difference(mixed[1, :, 9:], by_lane(backbone(**late).logits, 3)[1]) < 1e-4
    assert largest_difference(mixed[[0, 2]], whole[[0, 2]]) < 1e-4
    assert largest_difference(mixed[1, :, 9:], whole[1, :, 9:]) > 1e-2  # the reset made a difference
    cache.reset()
    again = backbone(**step_of(batch, 0), cache=cache).logits
    assert largest_difference(by_lane(again, 3), whole[:, :, :1]) < 1e-4


@torch.no_grad()
def test_an_inactive_lane_forgets_the_step(backbone, processor):
    """Lane 0 takes in every step, lane 1 sees steps out of order between its own: the first, and some in the middle."""
    batch = rich_batch(processor, length=12, labels=False)
    whole = by_lane(backbone(**batch).logits, 2)
    cache = RingBufferCache.from_config(backbone.config, 2)
    own = 0
    for step in range(12):
        active = step not in (0, 4, 5, 10)
        mixed = step_of(batch, step)
        other = step_of(batch, own if active else 11)
        for name in mixed:
            if name in PER_STEP:  # tiles and images are laid out row by row
                half = len(mixed[name]) // 2
                mixed[name] = torch.cat([mixed[name][:half], other[name][half:]])
        logits = by_lane(backbone(**mixed, cache=cache, active=torch.tensor([True, active])).logits, 2)
        assert largest_difference(logits[0, :, 0], whole[0, :, step]) < 1e-4
        if active:
            assert largest_difference(logits[1, :, 0], whole[1, :, own]) < 1e-4
            own += 1
    assert own == 8


@torch.no_grad()
def test_the_future_changes_nothing_before_it(backbone, processor):
    batch = rich_batch(processor, length=30, labels=False)
    before = backbone(**batch).logits
    changed = {name: value.clone() for name, value in batch.items()}
    for name in PER_STEP:
        changed[name][:, 20:] = changed[name][:, 20:].flip(1)
    after = backbone(**changed).logits
    assert largest_difference(before[:, :20], after[:, :20]) < 1e-5
    assert largest_difference(before[:, 20:], after[:, 20:]) > 1e-2


@torch.no_grad()
def test_attention_sees_the_window_and_no_more(backbone, processor):
    """Through all layers, ``layers * (W - 1)`` steps; convolutions see their kernel, state spaces everything."""
    kinds = backbone.config.layer_kinds
    if "linear_attention" in kinds:
        pytest.skip("a state space sees everything")
    kernel = getattr(backbone.config.backbone_config, "conv_L_cache", 1)
    reach = sum(kernel - 1 if kind in RECURRENT else WINDOW - 1 for kind in kinds)
    batch = rich_batch(processor, length=30, labels=False)
    outputs = []
    for offset in (0, 1):  # change the last step that is out of sight, then the first in sight
        changed = {name: value.clone() for name, value in batch.items()}
        changed["feedback"][:, 29 - reach - 1 + offset] += 5
        outputs.append(largest_difference(backbone(**changed).logits[:, -1], backbone(**batch).logits[:, -1]))
    assert outputs[0] < 1e-6 < 1e-4 < outputs[1]


@torch.no_grad()
def test_saved_and_loaded(backbone, processor, tmp_path):
    batch = rich_batch(processor)
    backbone.save_pretrained(tmp_path / "1")
    loaded, report = LDMForActionPrediction.from_pretrained(tmp_path / "1", output_loading_info=True)
    assert not any(report.values())
    loaded.save_pretrained(tmp_path / "2")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    assert loaded.config.window == loaded.config.backbone_config.sliding_window == WINDOW
    assert torch.equal(loaded.eval()(**batch).logits, backbone(**batch).logits)


@pytest.mark.parametrize("kind", BACKBONES)
def test_a_few_steps_of_training_reduce_the_loss(kind, processor):
    torch.manual_seed(0)
    model = LDMForActionPrediction(config_of(kind))
    batch = rich_batch(processor, length=16)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    losses = []
    for _ in range(20):
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


@torch.no_grad()
def test_a_window_of_ones_own(processor):
    """Layers of full attention get the window, too, and a window given beside the backbone's wins."""
    mixed = {
        "model_type": "qwen3",
        **ATTENTION,
        "use_sliding_window": True,
        "sliding_window": 16,
        "max_window_layers": 1,
    }
    torch.manual_seed(0)
    model = LDMForActionPrediction(LDMConfig(**TINY | {"backbone_config": mixed, "window": 5})).eval()
    assert model.config.window == 5 and set(model.config.layer_kinds) == {"sliding_attention"}
    batch = rich_batch(processor, length=35, labels=False)
    cached, _ = step_by_step(model, batch, 2)
    assert largest_difference(cached, model(**batch).logits) < 1e-4
    with pytest.raises(Exception, match=r"llama.* set window=W"):
        config_of("llama", window=0)


def test_a_configuration_leaves_the_object_it_is_given_alone():
    given = AutoConfig.for_model("llama", **ATTENTION)
    before = given.to_dict()
    assert LDMConfig(backbone_config=given, window=4).backbone_config.vocab_size == 1
    assert given.to_dict() == before


def test_other_decoders_are_refused_by_name():
    # rotary angles laid out in pairs: the cache, which turns keys back from time to time, would turn them wrongly
    with pytest.raises(Exception, match=r"'cohere2' is not supported; these are: qwen3, .*lfm2"):
        LDMConfig(backbone_config={"model_type": "cohere2", **ATTENTION, "sliding_window": 8})


def test_attention_without_a_mask_needs_a_backbone_with_a_window_of_its_own(processor):
    """Flash attention makes no mask; a Llama would see everything, silently."""
    seen = []

    def attention(module, query, key, value, mask, **kwargs):
        seen.append((mask, kwargs.get("sliding_window")))
        return query.transpose(1, 2).contiguous(), None

    AttentionInterface.register("maskless", attention)
    batch = rich_batch(processor, labels=False)
    for kind in ("llama", *WINDOWED):
        torch.manual_seed(0)
        model = LDMForActionPrediction(config_of(kind))
        model.set_attn_implementation("maskless")
        if kind == "llama":
            with pytest.raises(ValueError, match='"sdpa"'):
                model(**batch)
        else:
            model(**batch)
    assert seen == [(None, WINDOW)] * 2 * len(WINDOWED)


@pytest.mark.parametrize("kind", ["lfm2", "mamba2"])
def test_an_agent_forgets_cleared_lanes_of_a_backbone_with_states(kind, processor):
    torch.manual_seed(0)
    model = LDMForActionPrediction(config_of(kind)).eval()
    pair = (spaces.Box(-1, 1, (3,)), spaces.Discrete(5))
    observations = np.random.default_rng(0).uniform(-1, 1, (8, 2, 3)).astype(np.float32)
    used, fresh = (LDMAgent(model, processor, pair, num_envs=2) for _ in range(2))
    feedback = (np.zeros(2), np.zeros(2, bool), np.zeros(2, bool))
    used.act(observations[0])
    for observation in observations[1:7]:
        used.act(observation, *feedback)
    used.clear([1])
    with Recorder(model, lanes=2) as recorder:
        used.act(observations[7], *feedback)
        fresh.act(observations[7])
    first, second = recorder.logits
    assert largest_difference(first[1], second[1]) < 1e-4 < 1e-3 < largest_difference(first[0], second[0])


# --- weights of a pretrained language model


@pytest.fixture(params=["qwen3", "llama", "lfm2"])
def language_model(request, tmp_path):
    torch.manual_seed(1)
    config = AutoConfig.for_model(
        request.param, **SIZES[request.param], vocab_size=99, pad_token_id=98, eos_token_id=97
    )
    AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(tmp_path / "lm")
    return tmp_path / "lm"


@torch.no_grad()
def test_a_pretrained_language_model_is_the_backbone(language_model, processor, tmp_path):
    sizes = {name: value for name, value in TINY.items() if name != "backbone_config"}
    model = LDMForActionPrediction.from_pretrained_backbone(language_model, **sizes).eval()
    expected = AutoModelForCausalLM.from_pretrained(language_model).model.state_dict()
    loaded = model.model.backbone.state_dict()
    assert expected.keys() - loaded.keys() == {"embed_tokens.weight"} and len(loaded) > 15  # without its vocabulary
    for name, value in loaded.items():
        assert torch.equal(value, expected[name].float()), name
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model.config.window == PRETRAINED_WINDOW and model.config.backbone == str(language_model)

    batch = rich_batch(processor, length=20)
    model.save_pretrained(tmp_path / "ldm")
    shutil.rmtree(language_model)  # nobody needs it any more
    again = LDMForActionPrediction.from_pretrained(tmp_path / "ldm").eval()
    assert torch.equal(again(**batch).logits, model(**batch).logits)
    assert again.config.window == model.config.window and again.config.backbone == model.config.backbone


def test_the_configuration_alone_reads_no_weights(language_model):
    (language_model / "model.safetensors").unlink()
    config = LDMConfig(backbone=str(language_model), window=12)
    assert config.window == 12 and config.hidden_size == 32
    LDMModel(config)
    with pytest.raises(CheckpointError, match="no weights of a language model at"):
        LDMModel.from_pretrained_backbone(language_model)


def test_a_language_model_that_is_not_there_or_does_not_fit_is_one_clear_error(tmp_path):
    with pytest.raises(CheckpointError, match=f"no pretrained language model at {tmp_path / 'nothing'}"):
        LDMForActionPrediction.from_pretrained_backbone(tmp_path / "nothing")
    BertConfig().save_pretrained(tmp_path / "bert")
    with pytest.raises(Exception, match=r"'bert' is not supported; these are: qwen3"):
        LDMConfig(backbone=str(tmp_path / "bert"))
