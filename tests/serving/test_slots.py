"""The cache of all streams: windows, layers without attention, neighbours."""

import numpy as np
import pytest
import torch

from ldm_hf import LDMAgent, LDMConfig, LDMForActionPrediction, LDMProcessor
from ldm_hf.serving.engine import Engine
from ldm_hf.serving.slots import SlotCache

from ..conftest import TINY
from .test_engine import PAIRS, assert_same, open_stream, play, step_all


def test_more_steps_than_the_window_and_the_interval_of_rebasing(tiny, monkeypatch):
    monkeypatch.setattr("ldm_hf.cache_ldm.REBASE_INTERVAL", 10)
    engine, pair = Engine(*tiny, lanes=8), PAIRS["numbers"]
    streams = [open_stream(engine, pair) for _ in range(3)]
    agents = [LDMAgent(*tiny, pair) for _ in streams]
    for number, step in enumerate(play(pair[0], 45, 5)):
        chosen = [index for index in range(3) if number % (index + 1) == 0]
        found = step_all(engine, [streams[index] for index in chosen], [step] * len(chosen))
        for index, action in zip(chosen, found, strict=True):
            assert_same(pair[1], agents[index].act(*step), action)
    assert engine.cache.lengths.max() < 30


@pytest.mark.parametrize("windows", [[4, 6], [9, 2]])
def test_layers_with_windows_of_their_own(windows, monkeypatch, tmp_path):
    monkeypatch.setattr("ldm_hf.cache_ldm.REBASE_INTERVAL", 10)
    torch.manual_seed(0)
    config = LDMConfig(**TINY, layer_windows=windows)
    parts = LDMForActionPrediction(config).eval(), LDMProcessor.from_config(config)
    engine, pair = Engine(*parts, lanes=8), PAIRS["numbers"]
    streams, agents = [open_stream(engine, pair) for _ in range(3)], [LDMAgent(*parts, pair) for _ in range(3)]
    plays = [[*play(pair[0], 45, seed)] for seed in range(3)]
    for step in range(45):
        chosen = [index for index in range(3) if index or step % 2]  # with and without neighbours
        found = step_all(engine, [streams[i] for i in chosen], [plays[i][step] for i in chosen])
        for i, action in zip(chosen, found, strict=True):
            assert_same(pair[1], agents[i].act(*plays[i][step]), action)
        if step == 30:  # a history goes to the server and comes back
            agents[0].save_state(tmp_path / "state")
            engine.restore(streams[0], (tmp_path / "state").read_bytes())
            (tmp_path / "other").write_bytes(engine.save(streams[1]))
            agents[1].load_state(tmp_path / "other")


def test_layers_without_attention_keep_their_states_by_slot():
    torch.manual_seed(0)
    backbone = {
        "model_type": "lfm2",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "layer_types": ["conv", "full_attention"],
        "vocab_size": 1,
        "initializer_range": 0.2,
    }
    config = LDMConfig(**(TINY | {"backbone_config": backbone, "window": 8}))
    parts = LDMForActionPrediction(config).eval(), LDMProcessor.from_config(config)
    engine, pair = Engine(*parts, lanes=8), PAIRS["numbers"]
    streams, agents = [open_stream(engine, pair) for _ in range(3)], [LDMAgent(*parts, pair) for _ in range(3)]
    for number, step in enumerate(play(pair[0], 24, 5)):
        chosen = [index for index in range(3) if number % (index + 1) == 0]
        found = step_all(engine, [streams[index] for index in chosen], [step] * len(chosen))
        for index, action in zip(chosen, found, strict=True):
            assert_same(pair[1], agents[index].act(*step), action)
    saved = engine.save(streams[1])
    engine.restore(fresh := open_stream(engine, pair), saved)
    assert_same(pair[1], agents[1].act(*step), step_all(engine, [fresh], [step])[0])


def test_neighbouring_slots_are_read_where_they_lie(tiny):
    cache = SlotCache.from_config(tiny[0].config, 8)
    cache.choose(np.array([2, 3, 4]))
    assert cache.taken == slice(2, 5)
    cache.choose(np.array([2, 4]))
    assert torch.equal(cache.taken, torch.tensor([2, 4]))
