#!/usr/bin/env python
"""Collects trajectories with labels of reference policies.

    python examples/collect.py --domain control --steps-per-env 5000 --output outputs/trajectories

The same as ``ldm collect``.
"""

import typer

from ldm_hf.cli.app import collect, run

if __name__ == "__main__":
    run(lambda: typer.run(collect))
