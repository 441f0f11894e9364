"""Drawing without a display: libraries that would look for a screen or a loudspeaker, and complain that there is
none, are told not to."""

from __future__ import annotations

import os

HEADLESS = {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy", "MPLBACKEND": "Agg"}


def draw_without_display() -> None:
    """Sets what `HEADLESS` says for this process and those that it starts; what the user has set stays."""
    for name, value in HEADLESS.items():
        os.environ.setdefault(name, value)
