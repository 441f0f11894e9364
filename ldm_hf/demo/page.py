"""The page as a whole, and the server that shows it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr

from ..errors import LDMError
from ..evaluation.pictures import prepare_drawing
from ..utils.parallel import Worker
from . import looks
from .asking import Asking
from .exploring import Exploring
from .results import Results
from .sharing import SharedModel
from .stage import PRELOADED, perform
from .visitors import Visitors
from .watching import Watching

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext

logger = logging.getLogger(__name__)

ABOUT = """
**{name}** is a Large Decision Model: one transformer of {parameters:,} parameters that acts in any Gymnasium
environment, step after step. It knows {known:,} environments from its training, but plays the others, too.

* **model**: what the network chooses; it sees observations, rewards and the ends of episodes, and remembers them.
* **reference**: a policy made for this one environment: a script, a planner, or learned by reinforcement learning.
* **random**: actions drawn at random.

All three play copies of the environment whose episodes begin with the same seeds. *History* off lets the model forget
everything before each step; *Cut the history* does so once. *Task text* off takes the sentence that says what to do
away. A changed world keeps its name: the model is not told what has changed.
"""


def build(visitors: Visitors, name: str, results: Results) -> gr.Blocks:
    """Builds the page.

    Args:
        visitors: the games.
        name: name of the model.
        results: its results.
    """
    model = visitors.model
    page = gr.Blocks(title=f"{name}: a Large Decision Model", analytics_enabled=False)
    with page:
        gr.Markdown(f"# {name} plays")
        with gr.Tab("Watch"):
            Watching(visitors)
        with gr.Tab("Your log"):
            Asking(visitors)
        with gr.Tab("Results"):
            Exploring(results)
        with gr.Tab("About"):
            known = len(model.processor.environments)
            gr.Markdown(ABOUT.format(name=name, parameters=model.parameters, known=known))

        def leave(request: gr.Request) -> None:
            visitors.leave(str(request.session_hash))

        page.unload(leave)
        page.queue(default_concurrency_limit=visitors.limit + 4)
    return page


def prepare() -> ForkServerContext:
    """Starts the process from which those of the visitors are forked, and lets it import what they need.

    Returns:
        How processes are started.
    """
    prepare_drawing()
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)

    def first() -> None:
        worker = Worker(perform, quiet=True, threads=1, context=context)
        worker.kill()

    threading.Thread(target=first, name="ldm-demo-first", daemon=True).start()
    return context


def check_port(host: str, port: int) -> None:
    """Checks that nobody listens at a port.

    Raises:
        LDMError: if somebody does, or this machine has no such address.
    """
    try:
        with socket.create_server((host, port)):
            return
    except OSError as error:
        raise LDMError(f"cannot listen at {host}:{port}: {error.strerror or error}; choose another --port.") from error


def serve(
    model: str,
    references: str,
    host: str = "127.0.0.1",
    port: int = 7860,
    limit: int = 20,
    idle: float = 120.0,
    block: bool = True,
    context: ForkServerContext | None = None,
) -> tuple[gr.Blocks, Visitors]:
    """Shows the page until the process is interrupted.

    Args:
        model: folder or Hub id of a pretrained LDM.
        references: folder of trained reference policies.
        host: address to listen at.
        port: port to listen at.
        limit: games at a time.
        idle: seconds after which a game is ended that nobody looks at.
        block: wait for the end; otherwise the page is closed by its ``close``, and the visitors by theirs.
        context: how the visitors' processes are started; by default see `prepare`.

    Raises:
        LDMError: if the port is taken, or there is no usable model.
    """
    check_port(host, port)
    context = context or prepare()
    results, name = Results.of_model(model), Path(model).resolve().name
    visitors = Visitors(SharedModel(model, 2 * limit), references, limit, idle, context)
    page = build(visitors, name, results)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    page.launch(  # no fonts from elsewhere
        server_name=host, server_port=port, css=looks.STYLE, theme=theme, quiet=True, show_error=True,
        max_file_size="10mb",
        prevent_thread_lock=True, max_threads=2 * limit + 20, ssr_mode=False, footer_links=[],
    )  # fmt: skip
    logger.info("%s at http://%s:%d", name, host, port)
    if block:
        try:
            page.block_thread()
        finally:
            visitors.close()
    return page, visitors
