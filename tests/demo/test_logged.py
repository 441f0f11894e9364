"""A visitor's own log: the columns are guessed, the model goes through it, and what is wrong is said."""

import numpy as np
import pytest

from ldm_hf import LDMAgent
from ldm_hf.demo.logged import Form, Replay, guess, read_log
from ldm_hf.errors import DatasetError

pd = pytest.importorskip("pandas")


@pytest.fixture()
def table(tmp_path):
    rng = np.random.default_rng(0)
    level, valve = rng.normal(size=120), rng.choice(["open", "shut"], 120)
    path = tmp_path / "log.csv"
    made = {"level": level, "flow": level**2, "reward": -level, "valve": valve, "episode": np.arange(120) // 40}
    pd.DataFrame(made).to_csv(path, sep=";", index=False)
    return read_log(path)


def test_columns_are_guessed(table):
    assert guess(table) == Form(("level", "flow"), "valve", True, "reward", "episode")
    assert not guess(table[["flow", "level"]]).choices


@pytest.mark.parametrize("rewards", [True, False])
@pytest.mark.parametrize("action", ["valve", "flow"])
def test_proposals_are_those_of_an_agent_that_is_told_what_was_done(shared, tiny, table, action, rewards):
    choices = action == "valve"
    form = Form(("level",), action, choices, "reward" if rewards else None, "episode", "Keep the level.")
    replay = Replay(shared, table, form)
    before = shared.streams
    assert list(replay.run()) == [50, 100, 120] and shared.streams == before
    agent, expected, starts = LDMAgent(*tiny, replay._pair, task="Keep the level."), [], np.arange(120) % 40 == 0
    state = None
    for number in range(120):
        observation = table["level"].to_numpy(np.float32)[number : number + 1]
        done = replay.logged[number]
        done = np.int64(done) if choices else np.array([done], np.float32)
        if rewards:
            feedback = (-table["level"][number - 1], starts[number], False) if number else ()
            expected.append(np.ravel(agent.act(observation, *feedback))[0])
            agent.executed(done)
        else:
            chosen, state = agent.predict(observation, state, np.array(starts[number]), deterministic=True)
            expected.append(np.ravel(chosen)[0])
            state.positions[:] = agent.layout.actions.positions({"": np.array([done])}, "x", 1)
    np.testing.assert_allclose(np.array(replay.proposed, float), expected, atol=1e-4)
    rows = replay.rows()
    assert len(rows) == 120 and rows["logged"].tolist() == table[action].tolist() if choices else True
    assert "120 rows" in replay.summary() and "row before" in replay.summary()


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        (Form((), "valve", True), "at least one column"),
        (Form(("level", "valve"), "valve", True), "valve is used twice"),
        (Form(("valve",), "level", False), "valve is no number in row 1"),
        (Form(("flow",), "level", True), "level has 120 different values"),
        (Form(("flow",), "same", False), "same is always 1"),
        (Form(("flow",), "gap", False), "gap is missing in row 3"),
    ],
)
def test_what_is_wrong_is_said(shared, table, form, problem):
    table = table.assign(same=1.0, gap=[0.0, 1.0, np.nan] + [0.5] * 117)
    with pytest.raises(DatasetError, match=problem):
        Replay(shared, table, form)


def test_gaps_in_what_is_seen_are_the_mean(shared, table):
    table.loc[3, "level"] = np.nan
    replay = Replay(shared, table, guess(table))
    list(replay.run())
    assert np.isfinite(replay.sure).all()


@pytest.mark.parametrize(
    ("content", "problem"), [(b"", "cannot be read"), (b"\xff\xfe\x00", "cannot"), (b"a\n1\n", "1 columns")]
)
def test_a_file_that_is_none(tmp_path, content, problem):
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=problem):
        read_log(path)
