"""Processes of `python -m …` that are forked from one which has imported what they import, and so start in a moment.

Tests of what a fleet answers start it so. Those of what a process loads, weighs or says when it is started do not.
"""

import atexit
import ctypes
import gc
import json
import os
import runpy
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from threading import Lock
from typing import Any, Final

__all__ = ["POPEN", "run"]

IMPORTED: Final = (
    *("ddnn.cli.app", "ddnn.serving.server", "ddnn_device.app", "ddnn_edge.app", "ddnn_cloud.app"),
    *("ddnn.fleet.room", "ddnn.fleet.table", "ddnn.fleet.diagnostics", "ddnn.evaluation", "ddnn_lab.links"),
)
"""What tiers and the commands that ask them import, but ONNX Runtime: its threads would be missed after a fork."""
_SET_CHILD_SUBREAPER: Final = 36  #: of `prctl`: whose parent has ended is a child of this process then
_MOST: Final = 1 << 20
_lock = Lock()


class Forked(subprocess.Popen[Any]):
    """`Popen` of `[sys.executable, "-m", module, …]`, a child of this process as any other; Linux alone can do that."""

    def _execute_child(self, args: list[str], *given: Any) -> None:
        _, _, _, _, cwd, env, _, _, _, in_, _, _, out, _, error, _, _, _, _, _, session, _ = given
        assert args[:2] == [sys.executable, "-m"]
        job = {"argv": args[2:], "cwd": cwd or os.getcwd(), "env": dict(env or os.environ), "session": session}
        files = [end if end != -1 else usual for usual, end in enumerate((in_, out, error))]
        with _lock:
            parent, libc = _parent(), ctypes.CDLL(None)
            # Only for now: what other tests leave behind is not to become a child of this process.
            libc.prctl(_SET_CHILD_SUBREAPER, 1)
            try:
                socket.send_fds(parent, [json.dumps(job).encode()], files)
                self.pid = int(parent.recv(_MOST))
            finally:
                libc.prctl(_SET_CHILD_SUBREAPER, 0)
        self._child_created = True
        self._close_pipe_fds(*given[9:15])  # type: ignore[attr-defined]


def run(
    *words: str, env: Mapping[str, str] | None = None, text: bool = True, timeout: float = 120
) -> subprocess.CompletedProcess[Any]:
    """`python -m` with these words, to its end, and what it has said."""
    command, own = [sys.executable, "-m", *words], {**os.environ, **(env or {})}
    with POPEN(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=text, env=own) as process:
        try:
            out, error = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, error)


POPEN: Final[type[subprocess.Popen[Any]]] = Forked if sys.platform == "linux" else subprocess.Popen
"""What starts processes whose start is not what is tested."""


@cache
def _parent() -> socket.socket:
    """A connection to the process that forks."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen([sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()])

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _child(asked: socket.socket) -> dict[str, Any]:
    """What a new process has to do, in that process, with its files in their places; this one only forks them."""
    while True:
        content, files, _, _ = socket.recv_fds(asked, _MOST, 3)
        if not content:
            sys.exit()
        told, tell = os.pipe()
        if (between := os.fork()) == 0:
            if child := os.fork():
                os.write(tell, str(child).encode())
                os._exit(0)  # which makes the child one of the process that asked
            break
        os.waitpid(between, 0)
        asked.send(os.read(told, 32))
        for file in (told, tell, *files):
            os.close(file)
    for number, file in enumerate(files):
        os.dup2(file, number)
    for file in (told, tell, *files, asked.detach()):
        os.close(file)
    job: dict[str, Any] = json.loads(content)
    return job


def _become(job: dict[str, Any]) -> None:
    """Be the process that is asked for, as far as an interpreter would see to it."""
    if job["session"]:
        os.setsid()
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    sys.path[0] = job["cwd"]
    sys.path[1:1] = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each not in sys.path]
    encoding = os.environ.get("PYTHONIOENCODING", "utf-8")
    sys.stdin = open(0, encoding=encoding)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding=encoding)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding=encoding, errors="backslashreplace", buffering=1)  # noqa: SIM115
    sys.argv = job["argv"]


if __name__ == "__main__":
    for name in IMPORTED:
        import_module(name)
    gc.collect()
    gc.freeze()  # so that a child need not copy it
    _become(_child(socket.socket(fileno=int(sys.argv[1]))))
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
