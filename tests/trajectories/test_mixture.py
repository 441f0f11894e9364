"""Mixture files: which streams they open, how often each is drawn, and what is wrong with them."""

from collections import Counter

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ldm_hf.errors import DatasetError
from ldm_hf.trajectories import WindowSampler, open_dataset
from ldm_hf.trajectories.mixture import _limited, gap_mixture

from .test_trajectories import describe, make_episodes, write

DATASETS = {
    "first": {"A-v0": ("x", 16), "B-v0": ("x", 64), "C-v0": ("y", 16)},
    "second": {"A-v0": ("x", 8), "D-v0": ("z", 8)},
}


@pytest.fixture()
def mix(tmp_path, monkeypatch):
    """Writes the datasets and opens a mixture of them."""
    for dataset, environments in DATASETS.items():
        for name, (domain, steps) in environments.items():
            write(tmp_path / dataset, make_episodes(lengths=[steps // 2] * 2), describe(name=name, domain=domain))
    monkeypatch.chdir(tmp_path)

    def opened(*datasets, names=None, percentile=None, **further):
        (tmp_path / "mixture.yaml").write_text(yaml.safe_dump({"datasets": list(datasets), **further}))
        return open_dataset("mixture.yaml", names, percentile)

    return opened


SECOND = {"path": "second", "rename": {"A-v0": "A-again"}}


def shares(streams):
    total = sum(streams.weights.values())
    return {name: pytest.approx(weight / total) for name, weight in streams.weights.items()}


def test_everything_is_drawn_equally_unless_said_otherwise(mix):
    assert shares(mix("first")) == {"A-v0": 1 / 3, "B-v0": 1 / 3, "C-v0": 1 / 3}
    assert shares(open_dataset("first")) == {"A-v0": 1 / 3, "B-v0": 1 / 3, "C-v0": 1 / 3}


def test_datasets_share_the_whole(mix):
    mixed = mix({"path": "first", "weight": 3}, SECOND)
    assert shares(mixed) == {"A-v0": 1 / 4, "B-v0": 1 / 4, "C-v0": 1 / 4, "A-again": 1 / 8, "D-v0": 1 / 8}
    assert mixed["A-v0"].num_steps == 16 and mixed["A-again"].num_steps == 8


def test_domains_share_their_dataset_and_environments_their_domain(mix):
    mixed = mix("first", SECOND, domains={"y": 3}, environments={"B-*": 2})
    assert shares(mixed) == {"A-v0": 1 / 24, "B-v0": 2 / 24, "C-v0": 3 / 8, "A-again": 1 / 4, "D-v0": 1 / 4}


def test_temperature_and_the_limit_of_steps(mix):
    assert shares(mix("first", temperature=1)) == {"A-v0": 16 / 96, "B-v0": 64 / 96, "C-v0": 16 / 96}
    assert shares(mix("first", temperature=2)) == {"A-v0": 1 / 4, "B-v0": 1 / 2, "C-v0": 1 / 4}
    assert shares(mix("first", temperature=1, max_steps=32)) == {"A-v0": 1 / 4, "B-v0": 1 / 2, "C-v0": 1 / 4}


def test_no_environment_is_above_the_largest_share(mix):
    mixed = mix("first", temperature=1, max_share=0.4)
    assert shares(mixed) == {"A-v0": 0.3, "B-v0": 0.4, "C-v0": 0.3}


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=8), st.floats(0, 1))
def test_limited_shares_sum_to_one_and_keep_their_order(raw, tightness):
    total = sum(raw)
    given_shares = {str(number): value / total for number, value in enumerate(raw)}
    limit = 1 / len(raw) + tightness * (1 - 1 / len(raw))
    limited = _limited(given_shares, limit, "")
    assert sum(limited.values()) == pytest.approx(1)
    assert all(value <= limit + 1e-9 for value in limited.values())
    for one in raw and given_shares:
        for other in given_shares:
            if given_shares[one] < given_shares[other]:
                assert limited[one] <= limited[other] + 1e-9


def test_patterns_choose_and_weight_nothing_leaves_out(mix):
    assert set(mix({"path": "first", "environments": ["[AB]*"]})) == {"A-v0", "B-v0"}
    assert set(mix("first", environments={"B-v0": 0})) == {"A-v0", "C-v0"}
    assert set(mix("first", {"path": "second", "weight": 0, "environments": ["D-v0"]})) == {"A-v0", "B-v0", "C-v0"}
    only = mix("first", {"path": "second", "environments": ["D-v0"]}, names=["D-v0", "B-v0"])
    assert shares(only) == {"B-v0": 1 / 2, "D-v0": 1 / 2}


def test_better_episodes_of_one_dataset(mix):
    mixed = mix("first", SECOND | {"min_return_percentile": 100})
    assert mixed["A-v0"].num_episodes == 2 and mixed["A-again"].num_episodes == 1
    assert {stream.num_episodes for stream in mix("first", percentile=100).values()} == {1}


def test_the_sampler_draws_by_the_weights(mix):
    mixed = mix("first", temperature=1, environments={"C-v0": 4})
    sampler = WindowSampler({name: stream.num_steps for name, stream in mixed.items()}, 4, 6, weights=mixed.weights)
    drawn = Counter(name for step in range(600) for name, _ in sampler.windows(step))
    assert {name: drawn[name] / 3600 for name in mixed} == {
        "A-v0": pytest.approx(16 / 144, abs=0.01),
        "B-v0": pytest.approx(64 / 144, abs=0.01),
        "C-v0": pytest.approx(64 / 144, abs=0.01),
    }


@pytest.mark.parametrize("step", [0, 5, 1000])
def test_the_order_of_a_sampler_is_that_of_its_draws(mix, step):
    mixed = mix("first", temperature=1, environments={"C-v0": 4})
    lengths = {name: stream.num_steps for name, stream in mixed.items()} | {"never": 9}
    sampler = WindowSampler(lengths, 4, 6, weights=mixed.weights | {"never": 0})
    drawn = [name for later in range(step, step + 60) for name, _ in sampler.windows(later)]
    assert sampler.order(step) == list(dict.fromkeys(drawn))


@pytest.mark.parametrize(
    ("datasets", "further", "message"),
    [
        (["first", "second"], {}, r"A-v0 is in first and in second; leave it out of one .*rename: \{A-v0: A-v0-2\}"),
        (
            [{"path": "first", "weigth": 2}],
            {},
            r"datasets\[0\] has the unknown key\(s\) weigth; known are: path, weight",
        ),
        ([{"weight": 2}], {}, r"datasets\[0\] has no path"),
        ([], {}, "datasets should be a list"),
        (["first"], {"temperatur": 1}, r"unknown key\(s\) temperatur; known are: datasets, domains"),
        (["first"], {"temperature": 0}, "temperature should be a number from 0.001"),
        (["first"], {"domains": {"x": -1}}, "domains: x should be a number from 0"),
        (["first"], {"domains": ["x"]}, "domains should be weights by name"),
        (["first"], {"domains": {"w": 1}}, r"no environment of the domain\(s\) \['w'\]; there are: \['x', 'y'\]"),
        (["first"], {"environments": {"E*": 2}}, r"environments: 'E\*' fits none of A-v0, B-v0, C-v0"),
        (["first"], {"environments": {"*": 0}}, "mixes no environment at all"),
        ([{"path": "first", "environments": ["E*"]}], {}, r"first has no environment 'E\*'; it has: A-v0, B-v0, C-v0"),
        ([{"path": "first", "environments": "A-v0"}], {}, r"datasets\[0\].environments should be a list"),
        (
            [{"path": "first", "min_return_percentile": 150}],
            {},
            "min_return_percentile should be a number from 0 to 100",
        ),
        (["first"], {"max_share": 0.2}, "max_share 0.2 cannot be kept with 3 environments; at least 0.333"),
        (["nowhere/at-all"], {}, "nowhere/at-all is neither a folder nor a dataset repo"),
    ],
    ids=str,
)
def test_a_wrong_file_names_the_key(mix, monkeypatch, datasets, further, message):
    for fetch in ("streams.snapshot_download", "remote.hf_hub_download"):
        monkeypatch.setattr(f"ldm_hf.trajectories.{fetch}", no_hub)
    with pytest.raises(DatasetError, match=message):
        mix(*datasets, **further)


def no_hub(*args, **kwargs):
    raise OSError("offline")


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"none\.yaml is missing"):
        open_dataset(tmp_path / "none.yaml")
    (tmp_path / "m.yaml").write_text("datasets: [")
    with pytest.raises(DatasetError, match=r"m\.yaml is missing or no YAML"):
        open_dataset(tmp_path / "m.yaml")
    (tmp_path / "m.yaml").write_text("just words")
    with pytest.raises(DatasetError, match="should have the keys datasets"):
        open_dataset(tmp_path / "m.yaml")


def test_what_lags_is_drawn_more_often(mix, tmp_path):
    mix("first")
    results = {"environments": {"A-v0": {"normalised": 1.3}, "B-v0": {"normalised": 0.5}}}
    written = gap_mixture("first", results, least=0.2)
    assert written["environments"] == {"A-v0": 0.2, "B-v0": 0.6, "C-v0": 1.0}
    (tmp_path / "gap.yaml").write_text(yaml.safe_dump(written))
    assert shares(open_dataset("gap.yaml")) == {"A-v0": 1 / 9, "B-v0": 1 / 3, "C-v0": 5 / 9}
    assert set(gap_mixture("first")["environments"].values()) == {1.0}
    more = gap_mixture("first", results, least=0.2, factors={"[AB]-*": 2, "B-v0": 2})
    assert more["environments"] == {"A-v0": 0.4, "B-v0": 2.4, "C-v0": 1.0}
    with pytest.raises(DatasetError, match=r"'D-\*' fits none .*A-v0"):
        gap_mixture("first", factors={"D-*": 2})


@given(st.dictionaries(st.sampled_from("ABC"), st.floats(-1, 2), min_size=1), st.floats(0, 0.95))
def test_what_is_won_keeps_its_share(mix, scores, share):
    results = {"environments": {f"{name}-v0": {"normalised": score} for name, score in scores.items()}}
    weights = gap_mixture("first", results, won_share=share)["environments"]
    plain = gap_mixture("first", results)["environments"]
    won = {name for name in weights if results["environments"].get(name, {"normalised": 0.0})["normalised"] >= 0.8}
    others = weights.keys() - won
    assert {name: weights[name] for name in others} == {name: plain[name] for name in others}
    if won and others:
        part = sum(weights[name] for name in won) / sum(weights.values())
        assert part >= share - 0.01 and (part <= share + 0.01 or weights == plain)
    with pytest.raises(DatasetError, match=r"from 0 to below 1, is 1"):
        gap_mixture("first", results, won_share=1)
