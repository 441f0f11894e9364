"""Running an import: it goes on where it was, refuses what does not fit, and reads back what it wrote."""

import json

import numpy as np
import pytest
from gymnasium import spaces

from ldm_hf.errors import DatasetError, MissingExtraError
from ldm_hf.importers import Source, import_trajectories, open_source
from ldm_hf.importers import importing as running
from ldm_hf.importers.formats import FORMATS
from ldm_hf.trajectories import open_dataset

from .test_importers import LENGTHS, assert_episodes, bring, plain_episodes, write_d4rl


class Toys(Source):
    """Episodes that are made up, and as many of them as one likes."""

    observation_space, action_space = spaces.Box(-9, 9, (3,)), spaces.Box(-1, 1, (2,))
    num_episodes = len(LENGTHS)

    def __init__(self, breaks_at=None, change=None, seed=0):
        self.description, self.origin = {"name": "Toys-v0"}, {"seed": seed}
        self.breaks_at, self.change, self.read, self.seed = breaks_at, change or (lambda episode: episode), [], seed

    def episodes(self, start=0):
        for number, episode in list(enumerate(plain_episodes(self.seed)))[start:]:
            if number == self.breaks_at:
                raise KeyboardInterrupt
            self.read.append(number)
            ends = np.zeros((2, len(episode["reward"])), bool)
            yield self.change(episode | dict(zip(("terminated", "truncated"), ends, strict=True)))


def test_an_interrupted_import_goes_on_where_it_was(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        import_trajectories(Toys(breaks_at=2), tmp_path, progress=False)
    again = Toys()
    import_trajectories(again, tmp_path, progress=False)
    assert again.read == [0, 1, 2]  # what is there already is compared
    assert_episodes(
        open_dataset(tmp_path)["Toys-v0"], [episode | {"terminated": False} for episode in plain_episodes()]
    )
    import_trajectories(again, tmp_path, progress=False)  # nothing is left to do
    assert again.read == [0, 1, 2, 0, 2]


def test_other_data_does_not_go_on_with_an_import(tmp_path):
    import_trajectories(Toys(), tmp_path, progress=False)
    with pytest.raises(DatasetError, match="Toys-v0 holds other data already"):
        import_trajectories(Toys(seed=1), tmp_path, progress=False)
    import_trajectories(Toys(seed=1), tmp_path, progress=False, name="Others-v0", task="Play.")
    streams = open_dataset(tmp_path)
    assert streams.keys() == {"Others-v0", "Toys-v0"} and streams["Others-v0"].info.task == "Play."


def nan_observation(episode):
    episode["observation"][1, 2] = np.nan
    return episode


def large_action(episode):
    return episode | {"action": episode["action"] + 5}


def flat_action(episode):
    return episode | {"action": episode["action"][:, 0]}


def infinite_reward(episode):
    return episode | {"reward": np.full(len(episode["reward"]), np.inf)}


def early_end(episode):
    episode["terminated"][0] = True
    return episode


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (nan_observation, r"episode 0: observation: step 1 is .*no member of Box"),
        (large_action, r"episode 0: action: step 0 is .*\(5 such steps\)"),
        (flat_action, r"action has steps of shape \(\), the space Box.* has \(2,\)"),
        (infinite_reward, "the reward of step 0 is inf"),
        (early_end, "step 0 of 5 ends the episode already"),
    ],
)
def test_an_episode_that_does_not_fit_is_named(tmp_path, change, message):
    with pytest.raises(DatasetError, match=f"Toys-v0, {message}" if message.startswith("episode") else message):
        import_trajectories(Toys(change=change), tmp_path, progress=False)


def test_what_was_written_is_read_back(tmp_path, monkeypatch):
    class Forgetful(running.TrajectoryWriter):
        def write(self, episode):
            super().write(episode | {"reward": np.zeros_like(episode["reward"])})

    monkeypatch.setattr(running, "TrajectoryWriter", Forgetful)
    with pytest.raises(DatasetError, match="episode 0 reads otherwise than it was written"):
        import_trajectories(Toys(), tmp_path, progress=False)


def test_given_spaces_are_used_and_kept_to(tmp_path):
    source = write_d4rl(tmp_path / "a.hdf5", plain_episodes())
    pair = spaces.Box(-9, 9, (3,)), spaces.Box(-1, 1, (2,))
    assert bring("d4rl", source, tmp_path / "data", spaces=pair).action_space == pair[1]
    with pytest.raises(DatasetError, match=r"a, episode 0: action: step \d is .*no member of Box"):
        narrow = (pair[0], spaces.Box(-0.1, 0.1, (2,)))
        import_trajectories(open_source("d4rl", source, spaces=narrow), tmp_path / "other", progress=False)


def test_unknown_formats_and_options_are_named(tmp_path):
    with pytest.raises(DatasetError, match=f"no importer for 'excel'; there are: {', '.join(FORMATS)}"):
        open_source("excel", "x")
    with pytest.raises(DatasetError, match="d4rl has no option 'columns'; it has: spaces"):
        open_source("d4rl", "x", columns="x.yaml")
    with pytest.raises(DatasetError, match="a table needs `columns`"):
        open_source("table", "x.csv")


@pytest.mark.parametrize(("kind", "library"), [("minari", "minari"), ("d4rl", "h5py")])
def test_a_library_that_is_not_installed_is_named(tmp_path, monkeypatch, kind, library):
    monkeypatch.setitem(__import__("sys").modules, library, None)
    with pytest.raises(MissingExtraError, match=rf"{library} is not installed.*ldm_hf\[import\]"):
        open_source(kind, str(tmp_path))


def test_what_is_imported_is_told(tmp_path):
    info = import_trajectories(Toys(), tmp_path, progress=False, domain="energy", licence="CC-BY-4.0")
    told = json.loads((tmp_path / "Toys-v0/environment.json").read_text())
    assert told["collection"] == {"imported": "Toys", "seed": 0} and told["licence"] == "CC-BY-4.0"
    assert (
        info.reference == "logged actions" and "| Toys-v0 | energy | 3 | 16 |" in (tmp_path / "README.md").read_text()
    )
