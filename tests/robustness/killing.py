"""Runs a function in a forked child that ends by SIGKILL (or sees a full disk) at a chosen point of what it writes."""

import faulthandler
import os
import resource
import signal
import sys
import traceback

EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir")
HANGS = 600  # seconds, on a machine that may be busy
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
    """Calls a function in a forked child.

    Args:
        function: function without arguments.
        folder: folder whose changes are counted.
        stop: number of the point at which the child is killed.
        size: bytes at which the growth of any file kills the child in the middle of a write.
        full: let writes fail at ``size`` bytes instead, as on a full disk.

    Returns:
        How the child ended, as `os.waitstatus_to_exitcode` tells it, and the number of points that it has passed.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        code = 1
        try:
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            faulthandler.dump_traceback_later(HANGS, exit=True, file=writing)  # a child that hangs says where
            points = Points(folder, stop)
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
    os.close(writing)
    told = b""
    while chunk := os.read(reading, 65536):
        told += chunk
    os.close(reading)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), told.decode()
