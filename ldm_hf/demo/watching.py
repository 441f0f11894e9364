"""The tab on which visitors watch: choose, play, change, cut."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import gradio as gr
import pandas as pd

from ..environments.knobs import Knob, Path
from ..errors import LDMError
from . import looks
from .drawable import drawable
from .playing import FASTEST, Game, Settings
from .stage import PLAYERS
from .thoughts import numbers_seen
from .visitors import Visitors

SLIDERS = 6
ALL = "all domains"
FIRST = "CartPole-v1"
PLOT_SECONDS = 1.0  # between two pictures of the plot


class Watching:
    """The components of the tab, and what they do. To be made inside `gradio.Blocks`.

    Args:
        visitors: the games.
    """

    def __init__(self, visitors: Visitors) -> None:
        self.visitors, rows = visitors, drawable()
        domains = sorted({row.domain for row in rows.values()})
        first = FIRST if FIRST in rows else next(iter(rows), None)
        with gr.Row():
            self.domain = gr.Dropdown([ALL, *domains], value=ALL, label="Domain", scale=1, min_width=140)
            self.environment = gr.Dropdown(
                sorted(rows),
                value=first,
                label=f"Environment: {len(rows):,}, type to search",
                allow_custom_value=True,  # otherwise Gradio's own message lists all of them
                scale=3,
                min_width=220,
            )
            self.start = gr.Button("Play", variant="primary", scale=1, min_width=90, elem_id="play")
            self.pause = gr.Button("Pause", scale=1, min_width=90, elem_id="pause")
        self.message = gr.HTML(elem_id="message")
        self.stage = gr.HTML(looks.stage(None), elem_id="stage")
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                gr.Markdown("#### What it chooses between")
                self.bars = gr.HTML(looks.bars([], 1.0, 0), elem_id="bars")
                self.facts = gr.HTML(elem_id="facts")
            with gr.Column(scale=2, min_width=280):
                self.plot = gr.LinePlot(
                    _curve(None), x="step", y="return", color="player", color_map=looks.COLOURS, height=260,
                    title="Return of the running episode",
                )  # fmt: skip
        with gr.Row():
            self.task = gr.Checkbox(True, label="Task text", min_width=120)
            self.history = gr.Checkbox(True, label="History", min_width=120)
            self.speed = gr.Slider(1, FASTEST, value=1, step=1, label="Steps per picture", min_width=180)
            self.cut = gr.Button("Cut the history", min_width=120, elem_id="cut")
        self.sliders: list[gr.Slider] = []
        with gr.Accordion("What this world lets change", visible=False) as self.world:
            for _ in range(0, SLIDERS, 3):
                with gr.Row():
                    self.sliders += [gr.Slider(0, 1, visible=False, min_width=160) for _ in range(3)]
        self.played = gr.State("")  # the environment that the sliders belong to
        self._connect()

    def _connect(self) -> None:
        self.domain.change(_choices, self.domain, self.environment, show_progress="hidden", api_name="choose_domain")
        shown = [self.message, self.stage, self.bars, self.facts, self.plot, self.played, self.world, *self.sliders]
        given = [self.environment, self.task, self.history, self.speed]
        many: dict[str, Any] = {"concurrency_limit": self.visitors.limit + 4, "show_progress": "hidden"}
        self.start.click(self._play, given, shown, trigger_mode="multiple", api_name="play", **many)
        moved = [slider.release for slider in self.sliders]
        gr.on(
            moved,
            self._change,
            [*given, self.played, *self.sliders],
            shown,
            trigger_mode="multiple",
            api_visibility="private",
            **many,
        )
        settings = [self.task, self.history, self.speed]
        for component in (self.task.input, self.history.input, self.speed.release):
            component(self._set, settings, None, queue=False, api_visibility="private")
        self.cut.click(self._cut, None, None, queue=False, api_name="cut")
        self.pause.click(self._pause, None, self.pause, queue=False, api_name="pause")

    def _play(
        self, request: gr.Request, name: str, task: bool, history: bool, speed: float
    ) -> Iterator[tuple[Any, ...]]:
        """Plays in the world as it is until the visitor leaves or begins another game; yields what changes."""
        yield from self._scenes(str(request.session_hash), name, Settings(task, history, int(speed)))

    def _change(
        self, request: gr.Request, name: str, task: bool, history: bool, speed: float, played: str, *values: float
    ) -> Iterator[tuple[Any, ...]]:
        """Plays in the changed world."""
        visitor = str(request.session_hash)
        before = self.visitors.game(visitor)
        if before is None or played != name:  # the sliders belong to another world than the one that is chosen
            return
        moved = {
            knob.path: value
            for knob, value in zip(before.knobs, values, strict=False)
            if value != before.opening.defaults.get(knob.path)
        }
        yield from self._scenes(
            visitor, name, Settings(task, history, int(speed)), before.values | moved, before.knobs
        )

    def _scenes(
        self,
        visitor: str,
        name: str,
        settings: Settings,
        values: dict[Path, float] | None = None,
        knobs: list[Knob] | None = None,
    ) -> Iterator[tuple[Any, ...]]:
        kept = [gr.skip()] * (len(self.sliders) + 2)  # played, world, sliders
        try:
            if name not in drawable():
                raise LDMError(f"{name!r:.100} is no environment that can be watched here; choose one of the list.")
            game = self.visitors.begin(visitor, drawable()[name], values, knobs)
            game.settings = settings
            yield "", looks.stage(game.scene), "", self._facts(game), _curve(None), name, *self._sliders(game)
            plotted = time.monotonic()
            for scene in game.scenes():
                slow: tuple[Any, Any] = gr.skip(), gr.skip()
                if (now := time.monotonic()) - plotted > PLOT_SECONDS:
                    plotted, slow = now, (self._facts(game), _curve(game))
                chosen = looks.bars(scene.bars, scene.certainty, scene.steps)
                yield gr.skip(), looks.stage(scene), chosen, *slow, *kept
            text = game.farewell
        except LDMError as error:
            self.visitors.tell(name, error)
            text = str(error)
        if text:
            yield looks.message(text), *[gr.skip()] * 4, *kept

    def _sliders(self, game: Game) -> list[Any]:
        """The sliders of a world, and whether there are any."""
        knobs, found = game.knobs[: len(self.sliders)], []
        for knob in knobs:
            low, high = knob.range
            value = game.opening.defaults.get(knob.path, low)
            step = 1 if knob.whole else (high - low) / 100
            usable = high > low
            found.append(
                gr.Slider(low, high if usable else low + 1, value=value, step=step, label=knob.name, visible=usable)
            )
        found += [gr.Slider(visible=False)] * (len(self.sliders) - len(knobs))
        return [gr.Accordion(visible=any(knob.range[0] < knob.range[1] for knob in knobs)), *found]

    def _facts(self, game: Game) -> str:
        """What the model knows of the environment, and what it has found out."""
        row, layout, model = game.row, game.stream.room.layout, self.visitors.model
        lines = [f"{row.name} · {row.domain} · {row.library}", f"Task text: {row.task or 'none'}"]
        if layout.mean is not None:
            lines.append("The model was trained in it, and standardises observations by the statistics of that data.")
            return looks.facts(lines)
        lines.append("The model was not trained in it.")
        if relatives := model.relatives(layout):
            lines.append(f"It knows others with the same spaces: {', '.join(relatives)}.")
        steps, pairs = numbers_seen(game.stream)
        if pairs:
            found = ", ".join(f"{mean:.3g} ± {deviation:.2g}" for mean, deviation in pairs)
            lines.append(f"What it takes the observation's first numbers to be, after {steps:,} steps: {found}.")
        return looks.facts(lines)

    def _set(self, task: bool, history: bool, speed: float, request: gr.Request) -> None:
        if (game := self.visitors.game(str(request.session_hash))) is not None:
            game.settings.task, game.settings.history, game.settings.speed = task, history, int(speed)

    def _cut(self, request: gr.Request) -> None:
        if (game := self.visitors.game(str(request.session_hash))) is not None:
            game.cut()

    def _pause(self, request: gr.Request) -> Any:
        game = self.visitors.game(str(request.session_hash))
        if game is None:
            return gr.skip()
        game.settings.paused = not game.settings.paused
        return gr.Button("Go on" if game.settings.paused else "Pause")


def _choices(domain: str) -> Any:
    """The environments of a domain."""
    names = sorted(name for name, row in drawable().items() if domain in (ALL, row.domain))
    return gr.Dropdown(names, value=names[0] if names else None)


def _curve(game: Game | None) -> pd.DataFrame:
    """The returns of the running episodes, step by step."""
    points = {} if game is None else game.points
    rows = [(step, value, player) for player in PLAYERS for step, value in points.get(player, [])]
    return pd.DataFrame(rows or [(0, 0.0, player) for player in PLAYERS], columns=["step", "return", "player"])
