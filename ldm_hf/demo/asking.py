"""The tab on which visitors bring a log of their own: what would the model have done?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd

from ..errors import LDMError
from . import looks
from .logged import COLUMNS, MOST_ROWS, Form, Replay, guess, read_log
from .visitors import Visitors

CHOICE, NUMBER, NONE = "one of a few choices", "a number", "(none)"
INTRODUCTION = f"""
An environment of your own needs no code here: bring a log of its decisions, a CSV file with a row a step. The model
reads it row by row, says what it would have done, and is told what was done. It has not been trained on it, so that it
learns from the log's own rows how things go. At most {MOST_ROWS:,} rows are read; the file is deleted at once.
"""


class Asking:
    """The components of the tab, and what they do. To be made inside `gradio.Blocks`.

    Args:
        visitors: who is there, with the model of all.
    """

    def __init__(self, visitors: Visitors) -> None:
        self.visitors = visitors
        gr.Markdown(INTRODUCTION)
        file = gr.File(label="Log (CSV)", file_types=[".csv", ".tsv", ".txt"], type="filepath", elem_id="log")
        self.table = gr.State(None)
        with gr.Row(visible=False) as self.form:
            self.observations = gr.Dropdown([], multiselect=True, label="What the model sees", scale=3)
            self.action = gr.Dropdown([], label="What was done", min_width=140)
            self.kind = gr.Radio([CHOICE, NUMBER], value=CHOICE, label="An action is", min_width=180)
            self.reward = gr.Dropdown([NONE], value=NONE, label="Reward of the row", min_width=140)
            self.episode = gr.Dropdown([NONE], value=NONE, label="Changes with each episode", min_width=140)
            self.task = gr.Textbox(label="Task text", placeholder="what is to be done, in a sentence", scale=2)
            self.ask = gr.Button("What would it do?", variant="primary", elem_id="ask")
        self.said = gr.HTML(elem_id="summary")
        self.plot = gr.LinePlot(
            _curves(None), x="row", y="action", color="who", visible=False, height=240, title="The action, row by row",
        )  # fmt: skip
        self.rows = gr.Dataframe(pd.DataFrame(columns=COLUMNS), interactive=False, max_height=420, visible=False)
        columns = [self.observations, self.action, self.kind, self.reward, self.episode]
        file.upload(self._open, file, [self.said, self.table, self.form, *columns], api_visibility="private")
        self.ask.click(
            self._replay,
            [self.table, *columns, self.task],
            [self.said, self.plot, self.rows],
            show_progress="hidden",
            concurrency_limit=visitors.limit,
            api_visibility="private",
        )

    def _open(self, path: str) -> tuple[Any, ...]:
        """Reads the file, and guesses what its columns are."""
        try:
            table = read_log(path)
        except LDMError as error:
            self.visitors.tell("a log", error)
            return looks.message(str(error)), None, gr.Row(visible=False), *[gr.skip()] * 5
        finally:
            Path(path).unlink(missing_ok=True)
        form, names = guess(table), list(table.columns)
        return (
            looks.facts([f"{len(table):,} rows, {len(names)} columns. Check what the columns are:"]),
            table,
            gr.Row(visible=True),
            gr.Dropdown(names, value=list(form.observations)),
            gr.Dropdown(names, value=form.action),
            CHOICE if form.choices else NUMBER,
            gr.Dropdown([NONE, *names], value=form.reward or NONE),
            gr.Dropdown([NONE, *names], value=form.episode or NONE),
        )

    def _replay(
        self, table: pd.DataFrame | None, observations: list[str], action: str, kind: str, *rest: str
    ) -> Iterator[tuple[Any, Any, Any]]:
        """Lets the model go through the log; yields what is to be shown."""
        reward, episode, task = rest
        kept = [None if name == NONE else name for name in (reward, episode)]
        try:
            if table is None:
                raise LDMError("Choose a file first.")
            form = Form(tuple(observations), action, kind == CHOICE, kept[0], kept[1], task)
            replay = Replay(self.visitors.model, table, form)
            for done in replay.run():
                yield looks.facts([f"{done:,} of {len(table):,} rows"]), gr.skip(), gr.skip()
        except LDMError as error:
            self.visitors.tell("a log", error)
            yield looks.message(str(error)), gr.skip(), gr.skip()
            return
        plot = gr.LinePlot(_curves(replay), visible=kind == NUMBER)
        yield looks.facts([replay.summary()]), plot, gr.Dataframe(replay.rows(), visible=True)


def _curves(replay: Replay | None) -> pd.DataFrame:
    """What was done and what was proposed, in one column."""
    if replay is None or replay.form.choices:
        return pd.DataFrame({"row": [0, 0], "action": [0.0, 0.0], "who": ["logged", "proposed"]})
    rows = replay.rows()
    return rows.melt("row", ["logged", "proposed"], "who", "action")
