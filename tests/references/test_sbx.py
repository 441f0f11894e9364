"""References that learn in JAX by SBX act in PyTorch as they do there."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from ldm_hf.environments import get_spec, make
from ldm_hf.errors import LDMError, MissingExtraError, UnsupportedSpaceError
from ldm_hf.references.finding import find_references
from ldm_hf.references.learned.algorithms import configurations
from ldm_hf.references.learned.policy import ReinforcementLearned
from ldm_hf.references.learned.spaces import Adapter
from ldm_hf.references.learned.training import train_reference

SPEC = replace(get_spec("Pendulum-v1"), reference="rl")
SMALL = {"net_arch": [24, 16], "learning_starts": 60, "buffer_size": 1000, "batch_size": 32}


def adapter() -> Adapter:
    env = make(SPEC)
    return Adapter(env.observation_space, env.action_space)


def test_a_missing_library_is_one_message_before_anything_is_tried(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sbx", None)
    with pytest.raises(MissingExtraError, match=r'sbx-rl is not installed.*pip install "ldm_hf\[sbx\]"'):
        find_references([SPEC], tmp_path, learning={"algorithm": "sbx-tqc"})
    assert not list(tmp_path.iterdir())


def test_an_unknown_algorithm_is_named_with_the_known_ones(tmp_path):
    with pytest.raises(LDMError, match=r"no algorithm 'crossk'; choose one of ars, .*sbx-crossq"):
        find_references([SPEC], tmp_path, learning={"algorithm": "crossk"})


@pytest.mark.slow  # it is compiled
@pytest.mark.parametrize("algorithm", ["sbx-crossq", "sbx-sac", "sbx-tqc"])
def test_the_stored_policy_acts_as_the_actor_in_jax_does(tmp_path, algorithm):
    pytest.importorskip("sbx", reason='SBX is not installed: pip install "ldm_hf[sbx]"')
    from ldm_hf.references.learned.sbx import JaxDescent

    (configuration,) = configurations(adapter(), {"algorithm": algorithm} | SMALL)
    learner = JaxDescent(SPEC, adapter(), configuration, seed=3)
    learner.learn()  # some updates, so that statistics of layers are no longer those of the start
    env, policy = make(SPEC), learner.reference()
    policy.save(tmp_path, env, configuration["net_arch"], {"algorithm": algorithm.upper()})
    loaded = ReinforcementLearned.load(tmp_path, env, SPEC.name)
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(200, 3)).astype(np.float32) * [1, 1, 5]
    inside = np.clip((seen - policy.mean) / policy.deviation, -10, 10).astype(np.float32)
    wanted = learner.model.policy.predict(inside, deterministic=True)[0]
    found = np.stack([loaded.act(env, one.astype(np.float32), {}) for one in seen])
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert np.ptp(wanted) > 0.01
    assert {path.name for path in tmp_path.iterdir()} == {"policy.json", "policy.safetensors"}
    learner.close()


@pytest.mark.slow
def test_a_training_in_jax_is_recorded_and_not_done_again(tmp_path):
    pytest.importorskip("sbx", reason='SBX is not installed: pip install "ldm_hf[sbx]"')
    learning = {"algorithm": "sbx-sac", "target": -2000} | SMALL  # the first evaluation reaches the target
    record = train_reference(SPEC, tmp_path, budget=16, learning=learning)
    assert record["algorithm"] == "SBX-SAC" and record["steps"] > 0 and np.isfinite(record["score"])
    assert json.loads((tmp_path / SPEC.name / "policy.json").read_text())["record"] == record
    assert train_reference(SPEC, tmp_path, budget=16, learning=learning) == record


def test_choices_are_not_learned_in_jax(tmp_path):
    pytest.importorskip("sbx", reason='SBX is not installed: pip install "ldm_hf[sbx]"')
    with pytest.raises(UnsupportedSpaceError, match="choose one of ppo, ars, distilled"):
        train_reference(
            replace(get_spec("CartPole-v1"), reference=None), tmp_path, 5, learning={"algorithm": "sbx-sac"}
        )
