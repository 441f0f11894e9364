"""A server in a thread of the tests' process, on a port of its own."""

import asyncio
import json
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager

from ldm_hf.serving.engine import Engine
from ldm_hf.serving.limits import Limits
from ldm_hf.serving.server import Address, running


class Live:
    """What a test wants to know of a running server."""

    def __init__(self, engine, port, token):
        self.engine, self.port, self.token = engine, port, token
        self.url, self.http = f"ws://127.0.0.1:{port}", f"http://127.0.0.1:{port}"

    def request(self, method, path, body=None, token=None, raw=False):
        """Status and answer of a request."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.http + path, data, method=method)
        if token or self.token:
            request.add_header("Authorization", f"Bearer {token or self.token}")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                status, found = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, found = error.code, error.read()
        return status, found if raw else json.loads(found or b"null")


@contextmanager
def serving(model, processor, limits=None, token=None, name="tiny", **address):
    """A server while the context lasts."""
    limits = limits or Limits()
    engine = Engine(model, processor, limits.lanes, limits.elements)
    started, stop = threading.Event(), []

    async def main():
        stopped = asyncio.Event()
        where = Address(port=0, token=token, **address)
        async with running(engine, limits, where, name) as port:
            stop.append((asyncio.get_running_loop(), stopped, port))
            started.set()
            await stopped.wait()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    assert started.wait(20)
    loop, stopped, port = stop[0]
    live = Live(engine, port, token)
    live.stop = lambda: (loop.call_soon_threadsafe(stopped.set), thread.join(20))
    try:
        yield live
    finally:
        if thread.is_alive():
            live.stop()
    assert not thread.is_alive()
