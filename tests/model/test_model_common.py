"""The checks that transformers' own tests run on every model, as far as they apply."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, AutoModel, AutoProcessor

from ldm_hf import LDMConfig, LDMForActionPrediction, LDMModel, LDMProcessor
from ldm_hf.cache_ldm import RingBufferCache
from ldm_hf.errors import NotALanguageModelError

from ..conftest import TINY
from .test_backbones import config_of, step_of
from .test_model import largest_difference, rich_batch


def eager(config):
    torch.manual_seed(0)
    return LDMForActionPrediction._from_config(config, attn_implementation="eager").eval()


# --- weights


def test_the_fixture_is_small(model):
    assert sum(parameter.numel() for parameter in model.parameters()) < 1e6


@pytest.mark.parametrize("kind", ["qwen3", "llama", "lfm2", "mamba2"])
def test_every_weight_and_buffer_is_initialised_from_meta(kind):
    """from_pretrained builds on the meta device: what `_init_weights` forgets comes back as uninitialised memory."""
    config = config_of(kind)
    torch.manual_seed(0)
    direct = LDMForActionPrediction(config)
    with torch.device("meta"):
        late = LDMForActionPrediction(config)
    late.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*late.parameters(), *late.buffers()):
            tensor.fill_(1e9)
    torch.manual_seed(0)
    late.init_weights()
    buffers = dict(late.named_buffers())
    assert kind == "mamba2" or any(name.endswith("inv_freq") for name in buffers)
    for name, buffer in direct.named_buffers():
        assert torch.equal(buffer, buffers[name]), name
    parameters = dict(late.named_parameters())
    for name, value in direct.named_parameters():
        assert parameters[name].abs().max() < 20, name
        if value.numel() > 100:  # few numbers have any spread
            assert parameters[name].std().item() == pytest.approx(value.std().item(), rel=0.5, abs=1e-6), name


def test_every_tensor_is_a_parameter_or_buffer(model):
    """Other tensors would stay behind when a model moves to a device."""
    for name, module in model.named_modules():
        for attribute, value in vars(module).items():
            assert not isinstance(value, torch.Tensor), f"{name}.{attribute}"


@torch.no_grad()
@pytest.mark.parametrize("training", [False, True])
def test_the_same_input_gives_the_same_output(model, processor, training):
    batch = rich_batch(processor)
    model.train(training)
    assert largest_difference(model(**batch).logits, model(**batch).logits) < 1e-5


# --- outputs


@torch.no_grad()
def test_attentions_are_returned_and_stay_inside_the_window(config, processor):
    model, window = eager(config), config.window
    batch = rich_batch(processor)
    output = model(**batch, output_attentions=True)
    assert [weights.shape for weights in output.attentions] == [(2, 2, 40, 40)] * 2
    distance = torch.arange(40)[:, None] - torch.arange(40)
    outside = (distance < 0) | (distance >= window)
    for weights in output.attentions:
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 40))
        assert (weights[..., outside] == 0).all() and (weights[..., ~outside] > 0).all()
    step = model(**step_of(rich_batch(processor, labels=False), 0), use_cache=True, output_attentions=True)
    assert [weights.shape for weights in step.attentions] == [(2, 2, 1, window)] * 2
    assert (step.attentions[0][..., 1:] == 0).all()  # the first step sees itself only
    assert model(**batch).attentions is None


@torch.no_grad()
def test_hidden_states_are_returned(model, processor):
    batch = rich_batch(processor)
    output = model(**batch, output_hidden_states=True)
    assert [state.shape for state in output.hidden_states] == [(2, 40, 32)] * 3
    kept = {name: value for name, value in batch.items() if name != "labels" and not name.startswith("element")}
    inner = model.model(**kept, output_hidden_states=True)
    assert torch.equal(inner.hidden_states[-1], inner.last_hidden_state)
    for outer, own in zip(output.hidden_states, inner.hidden_states, strict=True):
        assert torch.equal(outer, own)
    assert model(**batch).hidden_states is None


def test_hidden_states_and_attentions_keep_their_gradients(config, processor):
    output = eager(config)(**rich_batch(processor), output_hidden_states=True, output_attentions=True)
    kept = (output.hidden_states[0], output.attentions[0])
    for tensor in kept:
        tensor.retain_grad()
    output.loss.backward()
    assert all(tensor.grad.abs().max() > 0 for tensor in kept)


@torch.no_grad()
@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("cached", [False, True])
def test_tuple_and_dataclass_hold_the_same(config, processor, cached, labels):
    model = eager(config)
    batch = rich_batch(processor, length=1 if cached else 20, labels=labels)
    options = {"output_hidden_states": True, "output_attentions": True, "use_cache": cached}
    output, plain = model(**batch, **options), model(**batch, **options, return_dict=False)
    expected = {"logits", "means", "deviations", "hidden_states", "attentions"}
    expected |= {"loss", "row_losses"} if labels else set()
    expected |= {"cache"} if cached else set()
    assert set(output.keys()) == expected and len(plain) == len(expected)
    for value, (name, named) in zip(plain, output.items(), strict=True):
        if name == "cache":
            value, named = ([layer.keys for layer in cache.layers] for cache in (value, named))
        torch.testing.assert_close(value, named, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("kind", ["qwen3", "lfm2", "mamba2"])
def test_gradient_checkpointing_changes_no_gradient(kind, processor):
    torch.manual_seed(0)
    model = LDMForActionPrediction(config_of(kind)).train()
    batch, gradients = rich_batch(processor), []
    for checkpointing in (False, True):
        if checkpointing:
            model.activation_checkpointing_enable()
            assert model.is_activation_checkpointing
        model(**batch).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
        model.zero_grad()
    assert len(gradients[0]) > 30
    torch.testing.assert_close(*gradients)


@torch.no_grad()
def test_attention_is_switched_while_the_model_lives(model, processor):
    batch = rich_batch(processor)
    expected = model(**batch).logits
    model.set_attn_implementation("eager")
    output = model(**batch, output_attentions=True)
    assert largest_difference(output.logits, expected) < 1e-4 and len(output.attentions) == 2
    model.set_attn_implementation("sdpa")
    assert largest_difference(model(**batch).logits, expected) < 1e-5 and model(**batch).attentions is None
    with pytest.raises(ValueError, match="no_such_attention"):
        model.set_attn_implementation("no_such_attention")


# --- saving and loading


def test_weights_that_are_missing_or_not_wanted_are_reported(model, tmp_path):
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["action_head.logits.bias"]
    weights["action_head.nonsense"] = torch.zeros(1)
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    loaded, report = LDMForActionPrediction.from_pretrained(tmp_path, output_loading_info=True)
    assert report["missing_keys"] == {"action_head.logits.bias"}
    assert report["unexpected_keys"] == {"action_head.nonsense"}
    assert torch.equal(loaded.model.bag.weight, model.model.bag.weight)


@pytest.mark.parametrize("kind", ["qwen3", "mamba2"])
def test_every_weight_can_get_a_gradient(kind, processor, tmp_path):
    """The backbone has no vocabulary. Former checkpoints have one of one word, which is left out without a word."""
    torch.manual_seed(0)
    model = LDMForActionPrediction(config_of(kind))
    model(**rich_batch(processor)).loss.backward()
    assert {name for name, p in model.named_parameters() if p.grad is None} == set()
    word = f"model.backbone.{'embeddings' if kind == 'mamba2' else 'embed_tokens'}.weight"
    assert word not in model.state_dict()
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors") | {word: torch.zeros(1, model.config.hidden_size)}
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    loaded, report = LDMForActionPrediction.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert all(p.requires_grad for p in loaded.parameters())


def test_the_base_model_and_the_head_load_one_another(model, tmp_path):
    model.model.save_pretrained(tmp_path / "base")
    loaded, report = LDMForActionPrediction.from_pretrained(tmp_path / "base", output_loading_info=True)
    head = {name for name in model.state_dict() if name.startswith("action_head.")}
    assert report["missing_keys"] == head and not report["unexpected_keys"]
    model.save_pretrained(tmp_path / "whole")
    base, report = LDMModel.from_pretrained(tmp_path / "whole", output_loading_info=True)
    assert report["unexpected_keys"] == head and not report["missing_keys"]
    for name, value in model.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value), name
        assert torch.equal(base.state_dict()[name], value), name


def test_a_head_of_another_size(model, tmp_path):
    model.save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        LDMForActionPrediction.from_pretrained(tmp_path, num_choices=33)
    torch.manual_seed(0)
    loaded, report = LDMForActionPrediction.from_pretrained(
        tmp_path, num_choices=33, ignore_mismatched_sizes=True, output_loading_info=True
    )
    resized = {"action_head.logits.weight", "action_head.logits.bias"}
    assert {name for name, *_ in report["mismatched_keys"]} == resized and not report["missing_keys"]
    assert loaded.config.num_choices == 33 == len(loaded.action_head.logits.weight)
    assert 0.1 < loaded.action_head.logits.weight.std() < 0.3  # fresh, of the configuration's spread
    for name, value in model.state_dict().items():
        assert name in resized or torch.equal(loaded.state_dict()[name], value), name


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_dtype_is_saved_with_the_model(model, processor, tmp_path, dtype):
    batch = rich_batch(processor, labels=False)
    expected = model(**batch).logits
    inv_freq = model.model.backbone.rotary_emb.inv_freq.clone()
    model.to(dtype).save_pretrained(tmp_path)
    loaded = LDMForActionPrediction.from_pretrained(tmp_path).eval()
    assert {p.dtype for p in loaded.parameters()} == {dtype} and loaded.config.dtype == dtype
    assert torch.equal(loaded.model.backbone.rotary_emb.inv_freq, inv_freq)  # rotary angles need their digits
    logits = loaded(**batch).logits
    close = (logits.clamp(min=-1e4) - expected.clamp(min=-1e4)).abs().mean()
    assert logits.dtype == torch.float32 and 0 < close < 0.2
    for other in (torch.float64, torch.float16):  # inputs of any precision
        mixed = {name: value.to(other) if value.is_floating_point() else value for name, value in batch.items()}
        assert loaded(**mixed).logits.isfinite().all()
    wide = LDMForActionPrediction.from_pretrained(tmp_path, dtype=torch.float32)
    assert {p.dtype for p in wide.parameters()} == {torch.float32}


def test_a_backbone_configuration_of_another_dtype_makes_no_mixture(processor):
    """The configuration of a language model in half precision says so."""
    decoder = AutoConfig.for_model(**TINY["backbone_config"], dtype="bfloat16")
    model = LDMForActionPrediction(LDMConfig(**TINY | {"backbone_config": decoder}))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    model(**rich_batch(processor)).loss.backward()


@torch.no_grad()
@pytest.mark.parametrize("device_map", ["cpu", "auto"])
def test_placed_by_accelerate(model, processor, tmp_path, device_map):
    batch = rich_batch(processor)
    model.save_pretrained(tmp_path)
    loaded = LDMForActionPrediction.from_pretrained(tmp_path, device_map=device_map).eval()
    batch, logits = batch.to(loaded.device), model(**batch).logits
    assert largest_difference(loaded(**batch).logits.cpu(), logits) < 1e-4


@torch.no_grad()
@pytest.mark.parametrize("half", [True, False])
def test_split_between_memory_and_disk(model, processor, tmp_path, half):
    """No module that `_no_split_modules` names is cut; the split model computes the same, also step by step."""
    batch = rich_batch(processor, length=12, labels=False)
    model.save_pretrained(tmp_path / "model")
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    placing = {"device_map": "auto", "max_memory": {"cpu": size // 2}} if half else {"device_map": {"": "disk"}}
    loaded = LDMForActionPrediction.from_pretrained(tmp_path / "model", **placing, offload_folder=tmp_path / "off")
    loaded.eval()
    assert set(loaded.hf_device_map.values()) == ({"cpu", "disk"} if half else {"disk"})
    whole = {"LDMGridStem", "LDMPixelStem", "LDMActionHead", "Qwen3DecoderLayer"}
    for name, module in loaded.named_modules():
        if type(module).__name__ in whole:
            assert not any(place.startswith(f"{name}.") for place in loaded.hf_device_map), name
    expected = model(**batch).logits
    assert largest_difference(loaded(**batch).logits, expected) < 1e-5
    cache = RingBufferCache.from_config(model.config, 2)
    steps = [loaded(**step_of(batch, step), cache=cache).logits for step in range(12)]
    assert largest_difference(torch.cat(steps, dim=1), expected) < 1e-4


@torch.no_grad()
def test_model_and_processor_live_in_a_subfolder(model, processor, tmp_path):
    batch = rich_batch(processor)
    for part in (model, processor):
        part.save_pretrained(tmp_path / "deep" / "down")
    options = {"subfolder": "deep/down"}
    for kind in (LDMForActionPrediction, AutoModel):
        assert (
            largest_difference(kind.from_pretrained(tmp_path, **options).eval()(**batch).logits, model(**batch).logits)
            < 1e-5
        )
    assert LDMConfig.from_pretrained(tmp_path, **options).to_dict()["num_choices"] == 21
    for kind in (LDMProcessor, AutoProcessor):
        assert kind.from_pretrained(tmp_path, **options).to_dict() == processor.to_dict()


# --- the configuration


def same(first, second):
    """Equal but for where they were loaded from."""
    first, second = (json.loads(config.to_json_string(use_diff=False)) for config in (first, second))
    for values in (first, second, first["backbone_config"], second["backbone_config"]):
        values.pop("_name_or_path", None)
    return first == second


def test_the_configuration_survives_json(config, tmp_path):
    text = json.loads(config.to_json_string())
    assert {name: text[name] for name in TINY if name not in ("backbone_config", "image_channels")} == {
        name: value for name, value in TINY.items() if name not in ("backbone_config", "image_channels")
    }
    config.to_json_file(tmp_path / "file.json")
    assert same(LDMConfig.from_json_file(tmp_path / "file.json"), config)
    assert same(LDMConfig.from_dict(config.to_dict()), config)
    config.save_pretrained(tmp_path)
    config.save_pretrained(tmp_path / "sub")
    for kind in (LDMConfig, AutoConfig):
        assert same(kind.from_pretrained(tmp_path), config)
        assert same(kind.from_pretrained(tmp_path, subfolder="sub"), config)
    changed, rest = LDMConfig.from_pretrained(tmp_path, num_choices=7, nonsense=1, return_unused_kwargs=True)
    assert changed.num_choices == 7 and rest == {"nonsense": 1}


def test_the_configuration_needs_no_arguments(caplog):
    config = LDMConfig()
    assert not caplog.records and config.window == 32 and config.hidden_size == 192
    assert same(LDMConfig(**json.loads(config.to_json_string())), config)


def test_embeddings_are_found(model):
    assert model.get_input_embeddings() is model.model.bag
    other = nn.Embedding(7, 32)
    model.set_input_embeddings(other)
    assert model.model.bag is other


@pytest.mark.parametrize(
    "method",
    ["generate", "resize_token_embeddings", "resize_position_embeddings", "get_position_embeddings"],
)
def test_methods_of_language_models_say_that_they_make_no_sense(model, method):
    weights = model.model.bag.weight.clone()
    for part in (model, model.model):
        with pytest.raises(NotALanguageModelError, match=f"`{method}` makes no sense here.*LDMAgent"):
            getattr(part, method)(10)
    assert torch.equal(model.model.bag.weight, weights) and not model.can_generate()
