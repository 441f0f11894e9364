"""``ldm demo``: a web page on which one watches a model play."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from ..errors import MissingExtraError
from .options import Model, References


def demo(
    model: Model,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen at.")] = 7860,
    host: Annotated[
        str, typer.Option(help="Address to listen at; by default, only this machine can connect. 0.0.0.0: all can.")
    ] = "127.0.0.1",
    references: References = Path("model_cards/ldm-reference-policies"),
    max_visitors: Annotated[int, typer.Option(min=1, help="Visitors who may watch at a time.")] = 20,
    idle: Annotated[float, typer.Option(min=1, help="Seconds until a game that nobody looks at is ended.")] = 120.0,
    threads: Annotated[int, typer.Option(min=1, help="Threads that compute the model.")] = 1,
) -> None:
    """Shows a web page: a model plays beside a reference and random actions, and its results can be explored."""
    import torch

    try:
        from ..demo.page import serve
    except ImportError as error:
        raise MissingExtraError(error.name or "gradio", "demo") from error
    torch.set_num_threads(threads)
    logging.getLogger("ldm_hf.demo").setLevel(logging.INFO)
    serve(model, str(references), host, port, max_visitors, idle)
