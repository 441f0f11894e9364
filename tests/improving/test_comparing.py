"""The better of two models: what is chance does not decide."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ldm_hf.improving import compare


def results(returns, seed=0):
    """Results of a model whose returns are normalised scores already: random actions get 0, the reference 1."""
    fixed = {"random": {"mean": 0.0, "episodes": 20}, "reference": {"mean": 1.0, "episodes": 20}}
    return {
        "environments": {
            name: fixed
            | {
                "domain": name[0],
                "normalised": float(np.mean(values)),
                "ldm": {
                    "mean": float(np.mean(values)),
                    "returns": list(values),
                    "episodes": len(values),
                    "seed": seed,
                },
            }
            for name, values in returns.items()
        }
    }


def noisy(means, seed, deviation=0.5, episodes=20):
    rng = np.random.default_rng(seed)
    return results({f"e{i}": mean + deviation * rng.standard_normal(episodes) for i, mean in enumerate(means)})


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=8), st.integers(0, 100))
def test_the_same_model_is_never_better_than_itself(means, seed):
    same = noisy(means, seed)
    found = compare(same, same)
    assert not found.better and found.won == found.lost == () and found.at_80[0] == found.at_80[1]


def test_noise_takes_the_place_of_the_old_weights_in_few_cases():
    """Two measurements of one model that differ by their episodes alone."""
    means = np.linspace(0.5, 1.1, 10)
    kept = [compare(noisy(means, 2 * seed), noisy(means, 2 * seed + 1)).better for seed in range(60)]
    assert sum(kept) <= 8  # 5 % for the count, then 5 % of the rest for the mean


def test_more_environments_at_80_percent_decide_before_the_mean():
    old = results({"a": [0.7] * 9, "b": [1.0] * 9})
    found = compare(old, results({"a": [0.81] * 9, "b": [0.85] * 9}))
    assert found.better and found.won == ("a",) and found.at_80 == (1, 2) and "at 80 %" in found.why
    assert found.capped == (0.85, np.mean([0.81, 0.85]))
    assert not compare(results({"a": [0.81] * 9, "b": [0.85] * 9}), old).better


def test_the_mean_decides_where_the_count_does_not():
    old, new = results({"a": [0.2] * 9, "b": [0.9] * 9}), results({"a": [0.5] * 9, "b": [0.9] * 9})
    assert compare(old, new).better and "mean" in compare(old, new).why
    assert not compare(new, old).better
    assert not compare(
        results({"a": [1.0] * 9}), results({"a": [3.0] * 9})
    ).better  # more than the reference is enough


def test_pairs_of_episodes_show_a_difference_that_their_spread_would_hide():
    rng = np.random.default_rng(0)
    luck = rng.standard_normal(20)
    old, new = {"a": 0.4 + luck}, {"a": 0.5 + luck + 0.01 * rng.standard_normal(20)}
    shift = 0.4 - np.mean(old["a"])  # the mean itself is not luck
    old, new = results({"a": old["a"] + shift}), results({"a": new["a"] + shift})
    assert compare(old, new).better
    other = {"environments": {"a": new["environments"]["a"] | {"ldm": new["environments"]["a"]["ldm"] | {"seed": 7}}}}
    assert not compare(old, other).better  # other seeds are no pairs


def test_losses_beyond_noise_are_told():
    rng = np.random.default_rng(0)
    old = results({"sure": [1.0] * 20, "unsure": [0.85] * 20, "same": [1.0] * 20})
    unsure = 0.75 + rng.permutation(np.repeat([-1.0, 1.0], 10))
    new = results({"sure": [0.1] * 20, "unsure": unsure, "same": [1.0] * 20})
    found = compare(old, new)
    assert found.lost == ("sure", "unsure") and found.lost_beyond_noise == ("sure",) and not found.better


def test_environments_that_one_model_failed_in_are_left_out():
    old, new = results({"a": [0.1] * 5, "b": [1.0] * 5}), results({"a": [0.9] * 5})
    assert compare(old, new).at_80 == (0, 1)
    assert not compare(results({"a": [0.0] * 5}), results({"b": [1.0] * 5})).better
