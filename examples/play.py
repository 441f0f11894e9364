#!/usr/bin/env python
"""Lets a pretrained LDM play and films it.

    python examples/play.py --model outputs/ldm-nano --env CartPole-v1 --video cartpole.mp4

The same as ``ldm play``.
"""

import typer

from ldm_hf.cli.app import play, run

if __name__ == "__main__":
    run(lambda: typer.run(play))
