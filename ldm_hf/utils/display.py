"""What shows results: no screen or loudspeaker is looked for, and a terminal or log may know no Unicode."""

from __future__ import annotations

import io
import os
import sys

HEADLESS = {"SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy", "MPLBACKEND": "Agg"}


def draw_without_display() -> None:
    """Sets what `HEADLESS` says for this process and those that it starts; what the user has set stays."""
    for name, value in HEADLESS.items():
        os.environ.setdefault(name, value)


def print_anywhere() -> None:
    """Lets this process print a question mark for what the encoding of its output cannot express, and go on."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
