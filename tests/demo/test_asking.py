"""The tab with a visitor's own log, without a browser."""

import numpy as np
import pytest

gradio = pytest.importorskip("gradio")
pd = pytest.importorskip("pandas")


def test_a_log_is_opened_and_answered(visitors, tmp_path):
    from ldm_hf.demo.asking import CHOICE, NONE, NUMBER, Asking

    with gradio.Blocks():
        asking = Asking(visitors)
    path = tmp_path / "log.csv"
    rng = np.random.default_rng(0)
    made = {"level": rng.normal(size=60), "reward": 1.0, "valve": rng.integers(0, 3, 60)}
    pd.DataFrame(made).to_csv(path, index=False)
    said, table, form, observations, action, kind, reward, episode = asking._open(str(path))
    assert "60 rows, 3 columns" in said and form.visible and not path.exists()  # nobody keeps a visitor's file
    assert (observations.value, action.value, kind) == (["level"], "valve", CHOICE)
    assert (reward.value, episode.value) == ("reward", NONE)
    *running, last = asking._replay(table, ["level"], "valve", CHOICE, "reward", NONE, "")
    assert "50 of 60 rows" in running[0][0] and "The model would have done the same in" in last[0]
    assert not last[1].visible and last[2].visible
    *_, last = asking._replay(table, ["reward"], "level", NUMBER, NONE, NONE, "")
    assert last[1].visible and "range away" in last[0]
    ((problem, *_),) = asking._replay(table, ["level"], "level", NUMBER, NONE, NONE, "")
    assert 'role="alert"' in problem and "level is used twice" in problem
    path.write_text("")
    said, table, *_ = asking._open(str(path))
    assert 'role="alert"' in said and table is None
