#!/usr/bin/env python
"""Evaluates a pretrained LDM against random actions and reference policies.

    python examples/evaluate.py --model outputs/ldm-nano --jobs 2 --output outputs/ldm-nano/results.json

The same as ``ldm evaluate``.
"""

import typer

from ldm_hf.cli.app import evaluate, run

if __name__ == "__main__":
    run(lambda: typer.run(evaluate))
