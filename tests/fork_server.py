"""Python in processes of their own that start with torch and transformers imported: forked from one that has done so.

A third of the tests' time went into these imports. A test whose process must import them itself (what an import reads
of the environment is tested, say) starts it by `subprocess`.
"""

from __future__ import annotations

import array
import atexit
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from functools import cache
from pathlib import Path
from typing import IO

PRELOADED = (
    *("accelerate", "datasets", "torch.distributed", "torch.optim", "transformers", "ldm_hf.cli.app"),
    *("ldm_hf.training", "ldm_hf.collection", "ldm_hf.evaluation", "ldm_hf.references", "transformers.integrations"),
    *("transformers.models.qwen3.modeling_qwen3", "scipy.stats", "matplotlib.figure"),
)
REQUEST = 1 << 20  # bytes at most; the environment is most of them
ADDRESS = "FORK_SERVER"
COMMANDS = {
    "python": [],
    "ldm": ["-c", "from ldm_hf.cli import main; main()"],
    "accelerate": ["-m", "accelerate.commands.accelerate_cli"],
}
# without the packages of the environment, whose paths take longest
COMMAND = """#!{python} -IS
import importlib.util, os, sys
os.environ.setdefault("FORK_SERVER", {address!r})
spec = importlib.util.spec_from_file_location("fork_server", {file!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.relay([sys.executable, *{before!r}, *sys.argv[1:]])
"""


class Process:
    """A forked process, with the methods of `subprocess.Popen` that the tests use; output is kept in files."""

    def __init__(
        self,
        command: list[str],
        cwd: str | Path | None = None,
        env: dict[str, str] | None = None,
        nested: bool = True,
        files: tuple[IO[str], IO[str]] | None = None,
    ) -> None:
        """
        Args:
            command: as for `subprocess`; begins with ``sys.executable``.
            cwd: its working directory.
            env: its environment.
            nested: lets the Python that it starts itself be forked, too; not where a test asks who started whom.
            files: to write its output and its errors to; files of its own by default.
        """
        program, *arguments = map(str, command)
        assert program == sys.executable, program
        self._out, self._err = files or (_file(), _file())
        request = {
            "arguments": arguments,
            "cwd": str(cwd or Path.cwd()),
            "env": dict(os.environ if env is None else env),
            "executable": str(Path(_address()).with_name("python")) if nested else program,
        }
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(_address())
        fds = array.array("i", [self._out.fileno(), self._err.fileno()])
        message = json.dumps(request).encode()
        assert len(message) < REQUEST
        self._connection.sendmsg([len(message).to_bytes(4)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        self._connection.sendall(message)
        self.pid = int.from_bytes(_receive(self._connection, 4))
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end of the process; `subprocess.TimeoutExpired` where it takes longer."""
        if self.returncode is None:
            self._connection.settimeout(timeout)
            try:
                self.returncode = int.from_bytes(_receive(self._connection, 4), signed=True)
            except TimeoutError:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0) from None
            self._connection.close()
        return self.returncode

    def poll(self) -> int | None:
        """Says whether the process has ended."""
        try:
            return self.wait(1e-6)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """Ends the process, not its children."""
        os.kill(self.pid, signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Waits for the end; what was printed, and the errors. A process that takes longer is killed."""
        try:
            self.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self.wait()
            raise
        finally:
            for file in (self._out, self._err):
                file.seek(0)
        return self._out.read(), self._err.read()


def _file() -> IO[str]:
    return tempfile.TemporaryFile("w+", errors="replace")


def run(command: list[str], timeout: float = 300, **kwargs: object) -> subprocess.CompletedProcess[str]:
    """Runs Python with its command line, as `subprocess.run` does."""
    process = Process(command, **kwargs)
    out, err = process.communicate(timeout)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def commands() -> str:
    """The folder of an ``ldm``, an ``accelerate`` and a ``python`` that run in forked processes."""
    return str(Path(_address()).parent)


def relay(command: list[str]) -> None:
    """Runs a command to its end as if it were this process."""
    code = Process(command, files=(sys.stdout, sys.stderr)).wait()
    os._exit(code if code >= 0 else 128 - code)


@cache
def _address() -> str:
    """Starts the server of this process, once; a command of `commands` is told where one is."""
    if ADDRESS in os.environ:
        return os.environ[ADDRESS]
    folder = tempfile.TemporaryDirectory(prefix="fork-server-")
    address = str(Path(folder.name) / "socket")
    for name, before in COMMANDS.items():
        path = Path(folder.name) / name
        path.write_text(COMMAND.format(python=sys.executable, file=__file__, address=address, before=before))
        path.chmod(0o755)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONFAULTHANDLER": "1"}
    server = subprocess.Popen(
        [sys.executable, "-c", f"from {__name__} import serve; serve({address!r}, {os.getpid()})"],
        cwd=Path(__file__).parents[1],
        env=environment | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        stdin=subprocess.DEVNULL,
    )
    atexit.register(folder.cleanup)
    atexit.register(server.kill)
    while not Path(address).exists():
        assert server.poll() is None, "the fork server did not start"
        time.sleep(0.01)
    return address


def _receive(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        part = connection.recv(count - len(found))
        if not part:
            raise ConnectionError("the fork server ended")
        found += part
    return found


def serve(address: str, parent: int) -> None:
    """Forks a process for each request until the parent has gone."""
    for name in PRELOADED:
        __import__(name)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address + ".new")
    listener.listen(64)
    os.rename(address + ".new", address)  # whoever sees it can connect
    listener.settimeout(2)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how the processes that watch others end
    while os.getppid() == parent:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        if os.fork() == 0:
            listener.close()
            _watch(connection)
        connection.close()


def _watch(connection: socket.socket) -> None:
    """Runs one request in a child; tells its number and how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    connection.settimeout(None)
    head, control, *_ = connection.recvmsg(4, socket.CMSG_SPACE(8))
    fds = array.array("i", control[0][2][:8])
    request = json.loads(_receive(connection, int.from_bytes(head)))
    child = os.fork()
    if child == 0:
        connection.close()
        _enter(fds, **request)
    for fd in fds:
        os.close(fd)
    connection.sendall(child.to_bytes(4))
    connection.sendall(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]).to_bytes(4, signed=True))
    os._exit(0)


def _enter(fds: array.array[int], arguments: list[str], cwd: str, env: dict[str, str], executable: str) -> None:
    """Becomes what ``python arguments`` is, and ends as that would."""
    os.setpgid(0, 0)
    for fd, place in zip(fds, (1, 2), strict=True):
        os.dup2(fd, place)
        os.close(fd)
    sys.stdout, sys.stderr = (open(place, "w", closefd=False) for place in (1, 2))  # noqa: SIM115
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.executable = executable
    sys.path[:0] = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    code = 0
    try:
        _execute(*arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # as the interpreter does at its end
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _execute(first: str, *others: str) -> None:
    if first == "-c":
        code, *others = others
        sys.argv = ["-c", *others]
        sys.path.insert(0, "")
        main = type(sys)("__main__")
        sys.modules["__main__"] = main
        exec(compile(code, "<string>", "exec"), vars(main))
    elif first == "-m":
        name, *others = others
        sys.argv = [name, *others]
        sys.path.insert(0, "")
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *others]
        sys.path.insert(0, str(Path(first).resolve().parent))
        runpy.run_path(first, run_name="__main__")
