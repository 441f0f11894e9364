"""``ldm serve``: a model behind a port."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Annotated

import typer

from ..errors import MissingExtraError
from .options import Model, console


def serve(
    model: Model,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 takes any that is free.")] = 8000,
    host: Annotated[
        str, typer.Option(help="Address to listen at; by default, only this machine can connect. 0.0.0.0: all can.")
    ] = "127.0.0.1",
    token: Annotated[
        str | None,
        typer.Option(envvar="LDM_SERVE_TOKEN", help="What clients have to know; without it, everybody is let in."),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="File of a TLS certificate, PEM; serves wss and https.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="File of its private key, if the certificate's has none.")] = None,
    device: Annotated[str | None, typer.Option(help="Device of the model: cpu, cuda, ...")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads that compute on the CPU.")] = 1,
    wait: Annotated[
        float, typer.Option(min=0, help="Milliseconds that a step waits at most for others, to share their pass.")
    ] = 2.0,
    max_clients: Annotated[int, typer.Option(min=1, help="Clients that may be connected.")] = 256,
    max_lanes: Annotated[int, typer.Option(min=1, help="Lanes of all clients together.")] = 1024,
    max_elements: Annotated[int, typer.Option(min=1, help="Scalars that an action may have.")] = 4096,
    max_message: Annotated[float, typer.Option(min=0.001, help="MiB of one message.")] = 8.0,
    idle: Annotated[float, typer.Option(min=0.1, help="Seconds until an unused stream is closed.")] = 300.0,
    stalled: Annotated[float, typer.Option(min=0.1, help="Seconds that a client may take to read an answer.")] = 30.0,
) -> None:
    """Serves a model over WebSocket and HTTP: many clients, each with its own history, whose steps share a pass.

    It stops at SIGTERM and SIGINT (Ctrl-C), after what was asked for is answered.
    """
    import torch

    from ..agent import load_model

    try:
        from ..serving.engine import Engine
        from ..serving.limits import Limits
        from ..serving.server import Address
        from ..serving.server import serve as run
    except ImportError as error:
        raise MissingExtraError(error.name or "aiohttp", "serve") from error
    logging.getLogger("ldm_hf.serving").setLevel(logging.INFO)
    torch.set_num_threads(threads)
    limits = Limits(max_clients, max_lanes, int(max_message * 2**20), idle, stalled, max_elements, wait / 1000)
    address = Address(host, port, token, certificate, key)
    address.context()  # a wrong file is told before the model is loaded
    network, processor = load_model(model)
    if device is not None:
        network.to(device)  # type: ignore[arg-type]  # transformers' decorator of `to` loses `self`
    engine = Engine(network, processor, max_lanes, max_elements)
    name = Path(model).resolve().name

    def ready(port: int) -> None:
        safe = "s" if certificate is not None else ""
        console.print(
            f"{name} at ws{safe}://{host}:{port} and http{safe}://{host}:{port}/openapi.json", highlight=False
        )

    asyncio.run(run(engine, limits, address, name, ready))
