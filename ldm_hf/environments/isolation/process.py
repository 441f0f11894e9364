"""The parent's end of a worker process: starts it, calls it with a time limit, ends it with all its children."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
from io import BufferedReader
from multiprocessing.connection import Connection
from pathlib import Path

from ...errors import EnvironmentFailure
from ...spaces import Info, space_from_json
from ...utils.display import HEADLESS
from ..building import BuildArguments, Registration
from .exchange import Json, Slots, from_json

WORKER = Path(__file__).with_name("worker.py")
START_SECONDS = 300.0  # to import a library and make its environments
CLOSE_SECONDS = 5.0
TAIL_BYTES = 600  # of the last output of a worker that has died, for the message


class WorkerProcess:
    """``lanes`` environments in one process under another interpreter.

    One process steps all lanes, so that a round trip is paid once a step and not once a lane. A call that fails ends
    the process.

    Args:
        name: name of the environment, for messages.
        python: interpreter that has the library.
        registrations: what to pass to `building.import_library`.
        arguments: arguments of `building.build`.
        lanes: number of environments in lock step.
        time_limit: seconds that a call may take.

    Raises:
        EnvironmentFailure: if the library cannot be imported or the environments cannot be made.
    """

    def __init__(
        self,
        name: str,
        python: Path,
        registrations: list[Registration],
        arguments: BuildArguments,
        lanes: int,
        time_limit: float,
    ) -> None:
        self.name, self.time_limit = name, time_limit
        shared = _shared_file()
        ours, theirs = socket.socketpair()
        self._connection = Connection(ours.detach())
        try:
            self._process = subprocess.Popen(
                [str(python), str(WORKER), str(theirs.fileno()), str(shared)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(), shared),
                # Its own process group: it can be ended as a whole, and the Ctrl-C meant for us does not reach it.
                start_new_session=True,
                env={**os.environ, **({} if arguments.get("render_mode") == "human" else HEADLESS)},
            )
            theirs.close()
            self._output = bytearray()
            # A full pipe would stop a library that prints.
            self._reader = threading.Thread(target=_drain, args=(self._process.stdout, self._output), daemon=True)
            self._reader.start()
            made = self.call("make", START_SECONDS, registrations=registrations, arguments=arguments, lanes=lanes)
            try:
                self.observation_space, self.action_space = (space_from_json(space) for space in made["spaces"])
                self.metadata: Info = from_json(made["metadata"])
                self.versions: dict[str, str] = made["versions"]
                self.slots = Slots(shared, self.observation_space, self.action_space, lanes)
            except BaseException:
                self._end()
                raise
        except OSError as error:
            raise EnvironmentFailure(name, "make", error) from error
        finally:
            theirs.close()
            os.close(shared)

    def call(self, call: str, time_limit: float | None = None, **arguments: Json) -> dict[str, Json]:
        """Calls a method of the `Worker` on the other side.

        Raises:
            EnvironmentFailure: if the environment raises an error, the process dies, or the time is over.
        """
        limit = time_limit or self.time_limit
        try:
            self._connection.send_bytes(json.dumps({"call": call, "limit": limit, "arguments": arguments}).encode())
            answered = self._connection.poll(limit)
            reply: dict[str, Json] = {"error": f"no answer within {limit:g} s"}
            if answered:
                reply = json.loads(self._connection.recv_bytes())
        except (OSError, EOFError) as error:
            raise EnvironmentFailure(self.name, call, f"its process died: {self._end(patience=1)}") from error
        except BaseException:  # an interrupt: a late answer would be taken for that to the next call
            self._end()
            raise
        if "error" in reply:
            self._end()
            raise EnvironmentFailure(self.name, call, reply["error"])
        return reply

    def close(self) -> None:
        """Closes the environments and ends the process."""
        if not self._connection.closed:
            with contextlib.suppress(EnvironmentFailure):
                self.call("close", CLOSE_SECONDS)
            self._end()

    @property
    def ended(self) -> bool:
        """Whether the process has ended, so that no call can be made any more."""
        return self._connection.closed

    def _end(self, patience: float = 0) -> str:
        """Ends the process with all its children; returns how it ended and its last output."""
        self._connection.close()
        if patience:  # it is dying: its own exit code says more than our signal
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        self._reader.join(1)
        output = self._output.decode(errors="replace").strip()
        reason = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        return f"{reason}; its last output: {output}" if output else reason


def _shared_file() -> int:
    """Descriptor of a file without a name, so that nothing is left when both sides are gone."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("ldm_hf")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _drain(stream: BufferedReader, output: bytearray) -> None:
    with stream:
        while chunk := stream.read1(65536):
            output += chunk
            del output[:-TAIL_BYTES]
