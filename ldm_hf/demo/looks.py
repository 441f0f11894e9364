"""The HTML of what is watched, and the page's style."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from .playing import Scene
from .stage import PLAYERS
from .thoughts import Bar

COLOURS = {"model": "#2563eb", "reference": "#16a34a", "random": "#9ca3af"}
ENDED = 5  # returns of episodes that are shown

STYLE = """
.stage {display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 12px}
.stage figure {margin: 0; border-top: 4px solid var(--who); background: var(--background-fill-secondary);
  border-radius: 6px; overflow: hidden; display: flex; flex-direction: column}
.stage .frame {aspect-ratio: 4 / 3; display: flex; align-items: center; justify-content: center; background: #0b0f19}
.stage img {width: 100%; height: 100%; object-fit: contain}
.stage .absent {color: #9ca3af; padding: 12px; text-align: center; font-size: 13px}
.stage figcaption {padding: 6px 10px; font-size: 14px; line-height: 1.4; min-height: 3.4em}
.stage figcaption b {color: var(--who)}
.bars {display: grid; gap: 4px; font-size: 14px}
.bars .bar {position: relative; padding: 4px 8px; border-radius: 4px; background: var(--background-fill-secondary);
  display: flex; justify-content: space-between; gap: 8px; overflow: hidden}
.bars .bar i {position: absolute; inset: 0 auto 0 0; background: #2563eb33}
.bars .bar span {position: relative}
.bars .chosen {font-weight: 600; outline: 1px solid #2563eb88}
.message {border-left: 4px solid #dc2626; background: #dc262618; padding: 10px 14px; border-radius: 4px}
.facts {font-size: 14px; line-height: 1.5}
@media (max-width: 640px) {
  .stage {grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 8px}
  .stage figure:first-child {grid-column: 1 / -1}
  .stage figcaption {font-size: 12px}
}
"""


def stage(scene: Scene | None) -> str:
    """The three pictures and what is below them."""
    if scene is None:
        return (
            '<div class="stage-empty facts">Choose an environment and press Play: the model, a reference policy and '
            "random actions play it side by side, each in a copy that begins the same.</div>"
        )
    return f'<div class="stage">{"".join(_figure(player, scene) for player in PLAYERS)}</div>'


def _figure(player: str, scene: Scene) -> str:
    if player in scene.pictures:
        data = base64.b64encode(scene.pictures[player]).decode()
        shown = f'<img alt="{player}" src="data:image/jpeg;base64,{data}">'
    else:
        shown = f'<span class="absent">{escape(scene.note or "no picture")}</span>'
    ended = scene.ended[player]
    line = f"return {scene.returns[player]:.4g}"
    last = ", ".join(f"{value:.4g}" for value in ended[-ENDED:])
    more = f"{len(ended)} episode{'s' * (len(ended) != 1)}{f', last {last}' if ended else ''}"
    return (
        f'<figure style="--who: {COLOURS[player]}"><div class="frame">{shown}</div>'
        f"<figcaption><b>{player}</b> · {line}<br>{more}</figcaption></figure>"
    )


def bars(lines: Sequence[Bar], certainty: float, steps: int) -> str:
    """What the model chose between."""
    rows = "".join(
        f'<div class="bar{" chosen" * line.chosen}"><i style="width: {100 * line.share:.0f}%"></i>'
        f"<span>{escape(line.label)}</span><span>{escape(line.text)}</span></div>"
        for line in lines
    )
    head = f'<div class="facts">step {steps:,} · {certainty:.0%} sure</div>' if lines else ""
    return f'<div class="bars">{head}{rows}</div>'


def message(text: str) -> str:
    """What went wrong, or nothing."""
    return f'<div class="message" role="alert">{escape(text)}</div>' if text else ""


def facts(lines: Sequence[str]) -> str:
    """Sentences on an environment."""
    return f'<div class="facts">{"<br>".join(escape(line) for line in lines)}</div>'
