"""Imports from Minari, JAT, Decision Transformer, RLDS and D4RL: files of their own libraries become our streams."""

import datasets
import gymnasium
import h5py
import minari
import numpy as np
import pytest
from gymnasium import spaces
from minari.data_collector import EpisodeBuffer

from ldm_hf.errors import DatasetError
from ldm_hf.importers import import_trajectories, open_source
from ldm_hf.spaces import stack
from ldm_hf.trajectories import open_dataset, validate
from ldm_hf.trajectories.writer import shards

LENGTHS = (5, 3, 8)


def bring(kind, source, folder, **options):
    """Imports, checks that nothing is wrong, and returns the stream."""
    for _ in range(2):  # the second time, nothing is left to do
        info = import_trajectories(open_source(kind, source, **options), folder, progress=False)
    assert validate(folder, [info.name], progress=False) == []
    stream = open_dataset(folder)[info.name]
    assert stream.info == info
    return stream


def assert_episodes(stream, expected):
    """``expected``: observation, action, reward, terminated of each episode, in leaf ``""`` or by leaf."""
    assert np.diff(stream.episode_starts).tolist() == [len(episode["reward"]) for episode in expected]
    for number, episode in enumerate(expected):
        steps = stream.slice(*stream.episode_starts[number : number + 2])
        for role in ("observation", "action"):
            leaves = episode[role] if isinstance(episode[role], dict) else {"": episode[role]}
            assert steps[role].keys() == leaves.keys()
            for path, values in leaves.items():
                found = steps[role][path]
                exact = np.asarray(values)  # a file of texts may hold fewer digits than double precision
                assert np.array_equal(np.asarray(found, exact.dtype), exact), (number, role, path)
        for path, values in steps["action"].items():
            assert np.array_equal(steps["label"][path], values)
        np.testing.assert_array_equal(steps["reward"], np.asarray(episode["reward"], np.float32))
        end = bool(episode["terminated"])
        assert steps["terminated"].tolist() == [False] * (len(episode["reward"]) - 1) + [end]
        assert steps["truncated"].tolist() == [False] * (len(episode["reward"]) - 1) + [not end]


def plain_episodes(seed=0, action="continuous"):
    rng = np.random.default_rng(seed)
    return [
        {
            "observation": rng.normal(size=(length, 3)).round(3).astype(np.float32),
            "action": rng.uniform(-1, 1, (length, 2)).round(3).astype(np.float32)
            if action == "continuous"
            else rng.integers(0, 4, length),
            "reward": rng.normal(size=length).round(3).astype(np.float32),
            "terminated": number % 2 == 0,
        }
        for number, length in enumerate(LENGTHS)
    ]


# --- Minari ----------------------------------------------------------------------------------------------------------

NESTED = spaces.Dict(
    {
        "arm": spaces.Dict({"x": spaces.Box(-1, 1, (2, 2)), "on": spaces.MultiBinary(3)}),
        "level": spaces.Discrete(7),
        "pair": spaces.Tuple([spaces.Box(0, 9, (2,), np.int64), spaces.MultiDiscrete([3, 4])]),
    }
)


@pytest.fixture(params=["hdf5", "arrow", "parquet"])
def storage(request, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return request.param


def batch(space, samples):
    """Samples as Minari's buffers hold them."""
    if isinstance(space, spaces.Dict):
        return {key: batch(child, [sample[key] for sample in samples]) for key, child in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(batch(child, [sample[index] for sample in samples]) for index, child in enumerate(space.spaces))
    return list(samples) if isinstance(space, spaces.Text) else np.array(samples)


def record(observation_space, action_space, storage, name="toys/toy-v0", **further):
    """A dataset that minari itself writes; the steps it holds, as ours has them."""
    observation_space.seed(0)
    action_space.seed(0)
    buffers, expected = [], []
    for number, length in enumerate(LENGTHS):
        observations = [observation_space.sample() for _ in range(length + 1)]
        actions = [action_space.sample() for _ in range(length)]
        rewards = np.arange(length) + number / 2
        ends = np.arange(length) == length - 1
        buffers.append(
            EpisodeBuffer(
                id=number,
                seed=40 + number,
                observations=batch(observation_space, observations),
                actions=batch(action_space, actions),
                rewards=list(rewards),
                terminations=list(ends & (number % 2 == 0)),
                truncations=list(ends & (number % 2 == 1)),
            )
        )
        expected.append(
            {
                "observation": stack(observation_space, observations[:-1]),
                "action": stack(action_space, actions),
                "reward": rewards,
                "terminated": number % 2 == 0,
            }
        )
    minari.create_dataset_from_buffers(
        name, buffers, observation_space=observation_space, action_space=action_space, data_format=storage, **further
    )
    return expected


def test_minari_datasets_of_nested_spaces(storage, tmp_path):
    expected = record(
        NESTED, spaces.Tuple([spaces.Discrete(3), spaces.Box(-2, 2, (1,), np.float64)]), storage, algorithm_name="PPO"
    )
    stream = bring("minari", "toys/toy-v0", tmp_path / "data")
    assert stream.observation_space == NESTED
    assert_episodes(stream, expected)
    assert stream.info.name == "toys-toy-v0" and stream.info.collection["dataset"] == "toys/toy-v0"
    rows = datasets.load_dataset(
        "parquet",
        data_files=[str(path) for path in shards(stream.folder)],
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    assert rows["seed"][:] == [40, 41, 42] and set(rows["behaviour"][:]) == {"PPO"}


def test_minari_datasets_by_folder_know_their_environment(storage, tmp_path):
    env = gymnasium.make("CartPole-v1")
    expected = record(env.observation_space, env.action_space, storage, "cartpole/test-v0", env=env)
    stream = bring("minari", str(tmp_path / "minari/cartpole/test-v0"), tmp_path / "data")
    assert_episodes(stream, expected)
    assert stream.info.env_id == "CartPole-v1"


def test_minari_text_is_text(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    space = spaces.Dict({"says": spaces.Text(5, charset="abc"), "x": spaces.Box(-1, 1, (1,))})
    expected = record(space, spaces.Discrete(2), "hdf5")
    assert_episodes(bring("minari", "toys/toy-v0", tmp_path / "data"), expected)


def test_a_missing_or_damaged_minari_dataset_is_named(storage, tmp_path):
    with pytest.raises(DatasetError, match=r"toys/none-v0 is no Minari dataset.*minari download"):
        open_source("minari", "toys/none-v0")
    record(spaces.Box(-1, 1, (2,)), spaces.Discrete(2), storage)
    for path in (tmp_path / "minari").rglob("*"):
        if path.is_file() and path.suffix in (".hdf5", ".arrow", ".parquet"):
            path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DatasetError, match="toys/toy-v0"):
        import_trajectories(open_source("minari", "toys/toy-v0"), tmp_path / "data", progress=False)


# --- rows ------------------------------------------------------------------------------------------------------------


def save_rows(rows, folder, kind, features=None):
    """Rows as `datasets` writes them; what `open_source` is to be called with."""
    table = datasets.Dataset.from_list(rows, features=features)
    if kind == "parquet":
        table.to_parquet(folder / "rows.parquet")
        return str(folder / "rows.parquet")
    if kind == "jsonl":
        table.to_json(folder / "rows.jsonl")
        return str(folder / "rows.jsonl")
    datasets.DatasetDict({"train": table}).save_to_disk(str(folder / "rows"))
    return str(folder / "rows")


FEATURES = {
    "numbers": datasets.List(datasets.List(datasets.Value("float32"))),
    "choices": datasets.List(datasets.Value("int64")),
    "reward": datasets.List(datasets.Value("float32")),
    "flags": datasets.List(datasets.Value("bool")),
}


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "saved"])
def test_rows_of_decision_transformers(tmp_path, kind):
    expected = plain_episodes()
    rows = [
        {
            "observations": episode["observation"].tolist(),
            "actions": episode["action"].tolist(),
            "rewards": episode["reward"].tolist(),
            "dones": [False] * (len(episode["reward"]) - 1) + [episode["terminated"]],
        }
        for episode in expected
    ]
    features = datasets.Features(
        observations=FEATURES["numbers"],
        actions=FEATURES["numbers"],
        rewards=FEATURES["reward"],
        dones=FEATURES["flags"],
    )
    stream = bring("decision-transformer", save_rows(rows, tmp_path, kind, features), tmp_path / "data")
    assert_episodes(stream, expected)
    joined = np.concatenate([episode["action"] for episode in expected])
    assert np.array_equal(stream.action_space.low.astype(np.float32), joined.min(axis=0).astype(np.float32))
    assert stream.observation_space == spaces.Box(-np.inf, np.inf, (3,), stream.observation_space.dtype)


def test_a_row_that_is_done_before_its_end_is_refused(tmp_path):
    row = {
        "observations": [[0.0], [1.0], [2.0]],
        "actions": [0, 1, 0],
        "rewards": [0.0, 0.0, 1.0],
        "dones": [False, True, True],
    }
    source = save_rows([row], tmp_path, "parquet")
    with pytest.raises(DatasetError, match="episode 0: step 1 of 3 is done already"):
        open_source("decision-transformer", source)


def jat_rows(expected):
    return [
        {
            "continuous_observations": episode["observation"].tolist(),
            "discrete_actions": episode["action"].tolist(),
            "rewards": episode["reward"].tolist(),
        }
        for episode in expected
    ]


def test_rows_of_jat(tmp_path):
    expected = [episode | {"terminated": False} for episode in plain_episodes(action="discrete")]
    features = datasets.Features(
        continuous_observations=FEATURES["numbers"], discrete_actions=FEATURES["choices"], rewards=FEATURES["reward"]
    )
    stream = bring("jat", save_rows(jat_rows(expected), tmp_path, "parquet", features), tmp_path / "data")
    assert_episodes(stream, expected)
    assert stream.action_space == spaces.Discrete(4)


def test_shifted_rewards_of_jat_are_put_back(tmp_path):
    expected = plain_episodes(action="discrete")
    rows = jat_rows(expected)
    for row in rows:  # as JAT does before it trains
        row["rewards"] = [0.0, *row["rewards"][:-1]]
    stream = bring("jat", save_rows(rows, tmp_path, "parquet"), tmp_path / "data", shifted_rewards=True)
    kept = [
        {key: episode[key][:-1] for key in ("observation", "action", "reward")} | {"terminated": False}
        for episode in expected
    ]
    assert_episodes(stream, kept)


def test_rows_of_jat_with_texts_and_images(tmp_path):
    rng = np.random.default_rng(0)
    expected, rows = [], []
    for length in LENGTHS:
        images = rng.integers(0, 256, (length, 8, 9, 3), np.uint8)
        texts = np.array(["go to the red ball", "é"] * length, dtype=object)[:length]
        grid = rng.integers(0, 11, (length, 4))
        actions, rewards = rng.integers(0, 7, length), np.zeros(length)
        rewards[-1] = 1
        parts = {"image": images, "text": texts, "discrete": grid}
        expected.append({"observation": parts, "action": actions, "reward": rewards, "terminated": False})
        rows.append(
            {
                "image_observations": list(images),
                "text_observations": texts.tolist(),
                "discrete_observations": grid.tolist(),
                "discrete_actions": actions.tolist(),
                "rewards": rewards.tolist(),
            }
        )
    features = datasets.Features(
        image_observations=datasets.List(datasets.Image()),
        text_observations=datasets.List(datasets.Value("string")),
        discrete_observations=datasets.List(FEATURES["choices"]),
        discrete_actions=FEATURES["choices"],
        rewards=FEATURES["reward"],
    )
    stream = bring("jat", save_rows(rows, tmp_path, "parquet", features), tmp_path / "data")
    assert_episodes(stream, expected)
    assert stream.observation_space["image"] == spaces.Box(0, 255, (8, 9, 3), np.uint8)


def rlds_episodes(expected):
    episodes = []
    for episode in expected:
        steps = [
            {
                "observation": {"x": x.tolist(), "words": f"step {index}"},
                "action": int(action),
                "reward": float(reward),
                "discount": 1.0,
                "is_first": index == 0,
                "is_last": False,
                "is_terminal": False,
            }
            for index, (x, action, reward) in enumerate(
                zip(episode["observation"], episode["action"], episode["reward"], strict=True)
            )
        ]
        last = steps[-1] | {"is_last": True, "is_terminal": episode["terminated"], "is_first": False, "reward": 99.0}
        episodes.append({"steps": [*steps, last]})
    return episodes


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "python"])
def test_step_lists(tmp_path, kind):
    expected = plain_episodes(action="discrete")
    episodes = rlds_episodes(expected)
    source = episodes if kind == "python" else save_rows(episodes, tmp_path, kind)
    stream = bring("rlds", source, tmp_path / "data")
    words = [np.array([f"step {index}" for index in range(length)], dtype=object) for length in LENGTHS]
    assert_episodes(
        stream,
        [
            episode | {"observation": {"x": episode["observation"], "words": text}}
            for episode, text in zip(expected, words, strict=True)
        ],
    )


def test_step_lists_that_mark_no_last_step_are_whole(tmp_path):
    steps = [{"observation": [index / 2], "action": index % 2, "reward": index} for index in range(4)]
    stream = bring("rlds", [steps, steps[:2]], tmp_path)
    assert stream.episode_starts.tolist() == [0, 4, 6] and stream.slice(0, 4)["reward"].tolist() == [0, 1, 2, 3]


def test_a_step_without_action_is_named(tmp_path):
    episodes = rlds_episodes(plain_episodes(action="discrete"))
    del episodes[1]["steps"][2]["action"]
    with pytest.raises(DatasetError, match="episode 1, step 2 has no action"):
        open_source("rlds", episodes)


@pytest.mark.parametrize(
    ("kind", "rows", "message"),
    [
        (
            "decision-transformer",
            [{"observations": [[0.0]], "rewards": [0.0]}],
            r"lacks the columns \['actions', 'dones'\]",
        ),
        ("jat", [{"rewards": [0.0], "continuous_observations": [[0.0]]}], "none of continuous_actions"),
        (
            "jat",
            [{"rewards": [0.0], "continuous_observations": [[0.0]], "continuous_actions": [[None]]}],
            "continuous_actions has missing values",
        ),
        (
            "jat",
            [{"rewards": [0.0, 1.0], "continuous_observations": [[0.0], [1.0, 2.0]], "discrete_actions": [0, 1]}],
            "different lengths",
        ),
        (
            "jat",
            [{"rewards": [0.0], "continuous_observations": [[float("nan")]], "discrete_actions": [0]}],
            "episode 0, step 0: observation is NaN",
        ),
    ],
)
def test_rows_that_do_not_fit_are_named(tmp_path, kind, rows, message):
    with pytest.raises(DatasetError, match=message):
        open_source(kind, save_rows(rows, tmp_path, "parquet"))


def test_a_truncated_file_of_rows_is_named(tmp_path):
    source = save_rows(jat_rows(plain_episodes()), tmp_path, "parquet")
    with open(source, "r+b") as file:
        file.truncate(200)
    with pytest.raises(DatasetError, match=r"rows\.parquet cannot be read"):
        open_source("jat", source)


# --- D4RL ------------------------------------------------------------------------------------------------------------


def write_d4rl(path, expected, timeouts=True, following=False):
    arrays = {
        "observations": np.concatenate([episode["observation"] for episode in expected]),
        "actions": np.concatenate([episode["action"] for episode in expected]),
        "rewards": np.concatenate([episode["reward"] for episode in expected]),
    }
    ends = np.cumsum(LENGTHS) - 1
    terminals, cut = np.zeros((2, sum(LENGTHS)), bool)
    terminals[ends] = [episode["terminated"] for episode in expected]
    cut[ends] = ~terminals[ends]
    arrays["terminals"] = terminals
    if timeouts:
        arrays["timeouts"] = cut
    if following:
        arrays["next_observations"] = np.roll(arrays["observations"], -1, axis=0)
        arrays["next_observations"][ends] += 1
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values, compression="gzip")
        file.create_dataset("infos/qpos", data=np.zeros((sum(LENGTHS), 2)))
    return str(path)


@pytest.mark.parametrize(("timeouts", "following"), [(True, False), (True, True), (False, True)])
def test_arrays_of_d4rl(tmp_path, timeouts, following):
    expected = plain_episodes()
    stream = bring("d4rl", write_d4rl(tmp_path / "hopper.hdf5", expected, timeouts, following), tmp_path / "data")
    assert stream.info.name == "hopper"
    assert_episodes(stream, expected)


def test_a_file_that_is_none_of_d4rl_is_named(tmp_path):
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file.create_dataset("observations", data=np.zeros((3, 1)))
    with pytest.raises(DatasetError, match=r"other\.hdf5 lacks the arrays \['actions', 'rewards', 'terminals'\]"):
        open_source("d4rl", str(tmp_path / "other.hdf5"))
    (tmp_path / "broken.hdf5").write_bytes(b"\x89HDF\r\n")
    with pytest.raises(DatasetError, match=r"broken\.hdf5 is damaged"):
        open_source("d4rl", str(tmp_path / "broken.hdf5"))
    with pytest.raises(DatasetError, match=r"there is no .*nowhere\.hdf5"):
        open_source("d4rl", str(tmp_path / "nowhere.hdf5"))
