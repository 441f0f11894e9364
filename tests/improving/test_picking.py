"""Where a model lags, and how many steps to collect there."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldm_hf.environments import EnvironmentSpec
from ldm_hf.improving import Standing, need, pick, shares
from ldm_hf.improving.picking import LEAST_STEPS, of_each_family, spread

MOST = 5000
SCORES = st.floats(-5, 2) | st.sampled_from([0.0, 0.8, 1.0])
SPEEDS = st.floats(1, 1e5)


@st.composite
def standings(draw, least=1):
    rows = draw(
        st.lists(
            st.tuples(st.sampled_from("ABC"), st.integers(0, 3), SCORES, st.integers(0, 3), st.floats(0, 20), SPEEDS),
            min_size=least,
            max_size=12,
        )
    )
    return [
        Standing(f"{domain}{family}-{index}", domain, f"{domain}{family}", *numbers)
        for index, (domain, family, *numbers) in enumerate(rows)
    ]


@given(standings(), st.floats(0.1, 5000))
def test_the_time_is_kept_and_only_what_lags_is_picked(given_, seconds):
    by_name = {standing.name: standing for standing in given_}
    picked = pick(given_, seconds, MOST)
    assert all(need(by_name[name]) > 0 and LEAST_STEPS <= count <= MOST for name, count in picked.items())
    assert bool(picked) == any(need(standing) > 0 for standing in given_)
    if len(picked) > 1:  # a single one is picked though it take longer
        spent = sum(by_name[n].seconds_to_make + count / by_name[n].steps_per_second for n, count in picked.items())
        assert spent <= seconds * (1 + 1e-6)


@given(standings(), st.floats(1, 5000), st.randoms())
def test_the_order_of_the_environments_does_not_matter(given_, seconds, random):
    shuffled = random.sample(given_, len(given_))
    assert shares(shuffled) == pytest.approx(shares(given_))
    assert pick(shuffled, seconds, MOST).keys() == pick(given_, seconds, MOST).keys()


@given(standings(), st.integers(LEAST_STEPS, 60_000))
def test_a_number_of_steps_is_shared_out(given_, steps):
    picked = pick(given_, 0.0, MOST, steps)
    lagging = sum(need(standing) > 0 for standing in given_)
    assert sum(picked.values()) <= min(steps, lagging * MOST) + len(picked)
    if picked and steps >= lagging * MOST:
        assert set(picked.values()) == {MOST}


@given(standings())
def test_shares_add_up(given_):
    found = shares(given_)
    assert sum(found.values()) == pytest.approx(1) or not found
    assert all(share > 0 for share in found.values())


@given(standings(), st.data())
def test_whoever_lags_more_gets_no_less(given_, data):
    """In the same family, whose other members stay as they are."""
    one = data.draw(st.sampled_from(given_))
    other = Standing("other", one.domain, one.family, data.draw(SCORES), one.fruitless)
    found = shares([*given_, other])
    less, more = sorted((one, other), key=need)
    assert found.get(less.name, 0) <= found.get(more.name, 0) * (1 + 1e-9)


def test_needs_fall_to_zero_at_the_reference_and_by_fruitless_rounds():
    scores = [-3.0, 0.0, 0.4, 0.79, 0.8, 0.95, 1.0, 1.4]
    needs = [need(Standing("a", "d", "f", score)) for score in scores]
    assert needs == sorted(needs, reverse=True) and needs[:2] == [1.5, 1.5] and needs[-2:] == [0.0, 0.0]
    assert needs[4] == pytest.approx(0.1)
    assert need(Standing("a", "d", "f", 0.0, fruitless=2)) == pytest.approx(1.5 / 4)


def test_a_large_family_does_not_crowd_out_the_others():
    many = [Standing(f"chain-{index}", "memory", "chain", 0.0) for index in range(100)]
    found = shares([*many, Standing("arm", "robotics", "arm", 0.0), Standing("card", "memory", "cards", 0.0)])
    assert found["arm"] == pytest.approx(1 / (1 + math.sqrt(2)))
    assert found["card"] == pytest.approx(100 * found["chain-0"])


def test_a_domain_that_hardly_lags_gets_less():
    found = shares([Standing("a", "d", "a", 0.0), Standing("b", "e", "b", 0.98)])
    assert found["a"] > 5 * found["b"] > 0


def test_time_that_the_fast_cannot_use_goes_to_the_slow():
    fast = Standing("fast", "d", "a", 0.0, 0, 0.0, 1e6)
    slow = Standing("slow", "d", "b", 0.0, 0, 1.0, 10.0)
    assert pick([fast, slow], 101.0, MOST) == {"fast": MOST, "slow": 999}
    never = Standing("never", "d", "c", 0.0, 0, 500.0, 10.0)
    assert "never" not in pick([fast, slow, never], 100.0, MOST)


def rows(*families):
    return [EnvironmentSpec(f"E{index}-v0", f"E{index}-v0", family=family) for index, family in enumerate(families)]


@given(st.lists(st.sampled_from("ABCD"), min_size=1, max_size=20), st.integers(1, 4), st.integers(0, 99))
def test_so_many_of_each_family_are_drawn(families, most, seed):
    specs = rows(*families)
    drawn = [spec.family for spec in of_each_family(specs, most, seed)]
    assert {family: drawn.count(family) for family in families} == {
        family: min(most, families.count(family)) for family in families
    }
    assert of_each_family(specs, None, seed) == specs


def test_what_joins_later_does_not_change_the_draw():
    specs = rows(*"AABBCC")
    assert of_each_family([*rows(*"AABBCCD")], 1, 3)[:-1] == of_each_family(specs, 1, 3)
    draws = {tuple(spec.name for spec in of_each_family(specs, 1, seed)) for seed in range(30)}
    assert len(draws) > 4


def test_what_was_not_measured_scores_like_its_family():
    scores = spread(rows(*"AAABC"), {"E0-v0": 0.2, "E1-v0": 0.6, "E4-v0": 1.0})
    assert scores == pytest.approx({"E0-v0": 0.2, "E1-v0": 0.6, "E2-v0": 0.4, "E4-v0": 1.0})
