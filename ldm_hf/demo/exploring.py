"""The tab with the results: a table to sort and filter, returns of an environment, the threshold curve."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pandas as pd

from . import looks
from .results import HEADER, Entry, Results, headline, threshold_points

ALL = "all"
WIDTHS: list[str | int] = [280, 90, 120, 100, 100, 100, 140, 150, 220]  # pixels of the table's columns


class Exploring:
    """The components of the tab, and what they do. To be made inside `gradio.Blocks`.

    Args:
        results: the model's results.
    """

    def __init__(self, results: Results) -> None:
        self.results = results
        if not results.entries:
            gr.Markdown("This model has no results yet: `ldm evaluate` writes them beside it, as `results.json`.")
            return
        entries = results.select()
        with gr.Row():
            filters: list[gr.Dropdown | gr.Textbox] = [
                gr.Dropdown([ALL, *results.values(column)], value=ALL, label=column.capitalize(), min_width=140)
                for column in ("domain", "library", "family")
            ]
            filters.append(gr.Textbox(label="Name contains", min_width=140))
        said = gr.Markdown(headline(entries), elem_id="headline")
        with gr.Row():
            curve = gr.ScatterPlot(
                _points(entries), x="score", y="environments", color="domain", height=320, tooltip="all",
                title="Environments at or above each score; each point is one", x_title="score in % of the reference",
            )  # fmt: skip
            returns = gr.LinePlot(
                _returns(results, entries[0].name), x="episode", y="return", color="player",
                color_map=looks.COLOURS, height=320, elem_id="returns", title=f"Returns in {entries[0].name}",
            )  # fmt: skip
        table = gr.Dataframe(
            _table(entries),
            interactive=False,
            max_height=480,
            elem_id="results",
            label="Select a row to see its returns, a header to sort",
            column_widths=WIDTHS,
        )
        for component in filters:
            component.change(
                self._filter, filters, [said, curve, table], show_progress="hidden", api_visibility="private"
            )
        table.select(self._select, table, returns, show_progress="hidden", api_visibility="private")

    def _filter(self, domain: str, library: str, family: str, text: str) -> tuple[str, pd.DataFrame, pd.DataFrame]:
        domain, library, family = ("" if value == ALL else value for value in (domain, library, family))
        entries = self.results.select(domain, library, family, text)
        return headline(entries), _points(entries), _table(entries)

    def _select(self, table: pd.DataFrame, chosen: gr.SelectData) -> Any:
        name = str(chosen.row_value[0])
        return gr.LinePlot(_returns(self.results, name), title=f"Returns in {name}")


def _table(entries: list[Entry]) -> pd.DataFrame:
    return pd.DataFrame([entry.cells() for entry in entries], columns=HEADER)


def _points(entries: list[Entry]) -> pd.DataFrame:
    return pd.DataFrame(threshold_points(entries))


def _returns(results: Results, name: str) -> pd.DataFrame:
    return pd.DataFrame(results.returns(name))
