"""Runs a function in a child that ends by SIGKILL (or sees a full disk) at a chosen point of what it writes.

Children are forked from a server that has imported what they need and runs nothing. Forked from the tests' own process,
they would share the lock of its progress bars (tqdm's is a semaphore): one that is killed while it holds it leaves all
others, and the tests, waiting for ever.
"""

import faulthandler
import multiprocessing
import os
import resource
import signal
import sys
import traceback

EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir")
HANGS = 600  # seconds, on a machine that may be busy
STARTED = multiprocessing.get_context("forkserver")
STARTED.set_forkserver_preload(["tests.robustness.test_kills"])
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Points:
    """Counts the points at which a child changes files below a folder: before each such call, and amid each `os.write`.

    Args:
        folder: the folder.
        stop: number of the point at which the child is killed; None for never.
    """

    def __init__(self, folder, stop=None):
        self.folder, self.stop, self.count = str(folder), stop, 0
        self.write = os.write

    def install(self):
        sys.addaudithook(self.see)
        os.write = self.write_half

    def see(self, event, arguments):
        if event not in EVENTS or not str(arguments[0]).startswith(self.folder):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITING):
            return
        self.reach()

    def reach(self):
        if self.count == self.stop:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1

    def write_half(self, file, data):
        if self.count == self.stop:
            self.write(file, data[: len(data) // 2])
        self.reach()
        return self.write(file, data)


def in_child(function, folder, stop=None, size=None, full=False):
    """Calls a function in a child.

    Args:
        function: function without arguments, which pickle can name.
        folder: folder whose changes are counted.
        stop: number of the point at which the child is killed.
        size: bytes at which the growth of any file kills the child in the middle of a write.
        full: let writes fail at ``size`` bytes instead, as on a full disk.

    Returns:
        How the child ended, as `os.waitstatus_to_exitcode` tells it, and the number of points that it has passed, or
        where it failed.
    """
    reading, writing = STARTED.Pipe(duplex=False)
    child = STARTED.Process(target=run, args=(writing, dict(os.environ), function, folder, stop, size, full))
    child.start()
    writing.close()
    with open(reading.fileno(), "rb", closefd=False) as pipe:
        told = pipe.read()
    child.join()
    return child.exitcode, told.decode()


def run(pipe, environment, function, folder, stop, size, full):
    """What a child does; it tells in the end how many points it has passed."""
    code, writing, points = 1, pipe.fileno(), Points(folder, stop)
    try:
        os.environ.update(environment)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        faulthandler.dump_traceback_later(HANGS, exit=True, file=writing)  # a child that hangs says where
        points.install()
        if size is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN if full else signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        function()
        points.write(writing, str(points.count).encode())
        code = 0
        faulthandler.cancel_dump_traceback_later()
    except BaseException:
        points.write(writing, traceback.format_exc().encode()[-3000:])
    finally:
        os._exit(code)
