"""Python in processes of their own that start with torch and transformers imported: forked from one that has done so.

A third of the tests' time went into these imports. A test whose process must import them itself (what an import reads
of the environment is tested, say) starts it by `subprocess`, or takes the fixture `real_starts` for the processes that
`multiprocessing` starts.
"""

from __future__ import annotations

import array
import atexit
import fcntl
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
from collections.abc import Sequence
from functools import cache
from multiprocessing import popen_spawn_posix, util
from pathlib import Path
from typing import IO

PRELOADED = (
    *("accelerate", "datasets", "torch.distributed", "torch.optim", "transformers", "ldm_hf.cli.app"),
    *("ldm_hf.training", "ldm_hf.collection", "ldm_hf.evaluation", "ldm_hf.references", "transformers.integrations"),
    *("transformers.models.qwen3.modeling_qwen3", "scipy.stats", "matplotlib.figure"),
)
REQUEST = 1 << 20  # bytes at most; the environment is most of them
ADDRESS = "FORK_SERVER"
START_SECONDS = 300  # on a busy machine
FDS = 64  # passed to a process at most
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
        pass_fds: Sequence[int] = (),
        address: str | None = None,
    ) -> None:
        """
        Args:
            command: as for `subprocess`; begins with ``sys.executable``.
            cwd: its working directory.
            env: its environment.
            nested: lets the Python that it starts itself be forked, too; not where a test asks who started whom.
            files: to write its output and its errors to; files of its own by default.
            pass_fds: further files that it is to have, under the same numbers.
            address: where its server is; by default, the one that all tests share.
        """
        program, *arguments = map(str, command)
        assert program == sys.executable, program
        self._out, self._err = files or (_file(), _file())
        address = address or shared_server()
        request = {
            "arguments": arguments,
            "cwd": str(cwd or Path.cwd()),
            "env": dict(os.environ if env is None else env),
            "executable": str(Path(address).with_name("python")) if nested else program,
            "places": [1, 2, *pass_fds],
        }
        self._connection = _connect(address)
        fds = array.array("i", [self._out.fileno(), self._err.fileno(), *pass_fds])
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
    return str(Path(shared_server()).parent)


def relay(command: list[str]) -> None:
    """Runs a command to its end as if it were this process."""
    # glfw asks another Python for its version by what that reads
    process = Process(command, files=(sys.stdout, sys.stderr), pass_fds=() if sys.stdin is None else (0,))
    signal.signal(signal.SIGTERM, lambda number, frame: os.kill(process.pid, number))
    code = process.wait()
    os._exit(code if code >= 0 else 128 - code)


@cache
def shared_server() -> str:
    """The address of the server that all tests of a run share; it is started by the first who asks."""
    if ADDRESS not in os.environ:
        os.environ[ADDRESS] = start_server({"HF_HUB_OFFLINE": "1"})
    return os.environ[ADDRESS]


def start_server(environment: dict[str, str], modules: Sequence[str] = PRELOADED) -> str:
    """Starts a server that ends with this process, and returns its address.

    Args:
        environment: what the imports are to find in the environment, further to what this process has.
        modules: what to import.
    """
    folder = tempfile.TemporaryDirectory(prefix="fork-server-")
    address = str(Path(folder.name) / "socket")
    for name, before in COMMANDS.items():
        path = Path(folder.name) / name
        path.write_text(COMMAND.format(python=sys.executable, file=__file__, address=address, before=before))
        path.chmod(0o755)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"} | environment
    server = subprocess.Popen(
        [sys.executable, "-c", f"from {__name__} import serve; serve({address!r}, {os.getpid()}, {tuple(modules)!r})"],
        cwd=Path(__file__).parents[1],
        env=environment | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        stdin=subprocess.DEVNULL,
    )
    atexit.register(folder.cleanup)
    atexit.register(server.kill)
    return address


# --- what multiprocessing starts -------------------------------------------------------------------------------------

_spawned: dict[int, Process] = {}  # by number
spawn = util.spawnv_passfds  # what starts them otherwise


def fork_what_is_spawned() -> None:
    """Lets the processes that `multiprocessing` spawns be forked from the shared server, too."""
    util.spawnv_passfds = _fork
    popen_spawn_posix.Popen.poll = _poll


def _fork(path: bytes, command: list[str], fds: Sequence[int]) -> int:
    if "--multiprocessing-fork" not in command:  # the process that looks after semaphores
        return spawn(path, command, fds)
    arguments = command[command.index("-c") :]
    with open(1, "w", closefd=False) as out, open(2, "w", closefd=False) as err:
        process = Process([sys.executable, *arguments], files=(out, err), pass_fds=sorted(fds))
    _spawned[process.pid] = process
    return process.pid


def _poll(popen: popen_spawn_posix.Popen, flag: int = os.WNOHANG) -> int | None:
    """Asks the server about a process that is no child of this one."""
    process = _spawned.get(popen.pid)
    if process is None:
        return super(popen_spawn_posix.Popen, popen).poll(flag)
    if popen.returncode is None:
        popen.returncode = process.poll() if flag == os.WNOHANG else process.wait()
        if popen.returncode is not None:
            del _spawned[popen.pid]
    return popen.returncode


# --- the server ------------------------------------------------------------------------------------------------------


def _connect(address: str) -> socket.socket:
    """Waits until the server has imported what it is to import."""
    limit = time.monotonic() + START_SECONDS
    while not Path(address).exists():
        assert time.monotonic() < limit, "the fork server did not start"
        time.sleep(0.01)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    return connection


def _receive(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        part = connection.recv(count - len(found))
        if not part:
            raise ConnectionError("the fork server ended")
        found += part
    return found


def serve(address: str, parent: int, modules: Sequence[str]) -> None:
    """Forks a process for each request until the parent has gone."""
    for name in modules:
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
            _watch(connection, address)
        connection.close()


def _watch(connection: socket.socket, address: str) -> None:
    """Runs one request in a child; tells its number and how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    connection.settimeout(None)
    head, control, *_ = connection.recvmsg(4, socket.CMSG_SPACE(4 * FDS))
    fds = array.array("i", control[0][2])
    request = json.loads(_receive(connection, int.from_bytes(head)))
    child = os.fork()
    if child == 0:
        connection.close()
        _enter(fds, address, **request)
    for fd in fds:
        os.close(fd)
    connection.sendall(child.to_bytes(4))
    connection.sendall(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]).to_bytes(4, signed=True))
    os._exit(0)


def _enter(
    fds: array.array[int],
    address: str,
    arguments: list[str],
    cwd: str,
    env: dict[str, str],
    executable: str,
    places: list[int],
) -> None:
    """Becomes what ``python arguments`` is, and ends as that would."""
    os.setpgid(0, 0)
    _place(fds, places)
    sys.stdout, sys.stderr = (open(place, "w", closefd=False) for place in (1, 2))  # noqa: SIM115
    if 0 in places:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(env | {ADDRESS: address})
    fork_what_is_spawned()
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


def _place(fds: array.array[int], places: list[int]) -> None:
    """Gives files their numbers, by way of numbers that nobody asks for."""
    above = max([*fds, *places]) + 1
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD, above) for fd in fds]
    for fd in fds:
        os.close(fd)
    for fd, place in zip(moved, places, strict=True):
        os.dup2(fd, place)
        os.close(fd)


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
