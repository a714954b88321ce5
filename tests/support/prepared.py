"""A command ``parquedb`` that begins at once, for pages with dozens of commands.

Starting Python and importing what a command needs takes half a second; a process that has done so
forks for each command instead. The command runs in a process of its own all the same: with the
arguments, folder, environment, input and output of whoever called it, and with its exit code.
"""

from __future__ import annotations

import os
import pkgutil
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_CLIENT = """\
import os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [b"parquedb"], [0, 1, 2])
    words = [os.getcwd(), str(len(sys.argv)), *sys.argv]
    words += [f"{{name}}={{value}}" for name, value in os.environ.items()]
    server.sendall("\\0".join(words).encode("utf-8", "surrogateescape"))
    server.shutdown(socket.SHUT_WR)
    sys.exit(int(server.recv(8) or 1))  # it failed, and said how
"""


@contextmanager
def prepared_command() -> Iterator[Path]:
    """Yield a folder in which ``parquedb`` is such a command."""
    with tempfile.TemporaryDirectory() as name:  # short, as addresses of sockets must be
        folder = Path(name)
        address = str(folder / "socket")
        (folder / "client.py").write_text(_CLIENT.format(address=address))
        command = folder / "bin" / "parquedb"
        command.parent.mkdir()
        client = shlex.join([sys.executable, "-SI", str(folder / "client.py")])
        command.write_text(f'#!/bin/sh\nexec {client} "$@"\n')
        command.chmod(0o755)
        with subprocess.Popen(
            [sys.executable, "-m", "tests.support.prepared", address],
            cwd=_ROOT,
            stdin=subprocess.PIPE,  # what is made for a pipe serves for whatever a command gets
            stdout=subprocess.PIPE,
        ) as server:
            try:
                assert server.stdout is not None
                assert server.stdout.readline() == b"ready\n"
                yield command.parent
            finally:
                server.terminate()


def serve(address: str) -> None:
    """Import all of ParqueDB, then fork for each command that is asked for."""
    import parquedb

    for module in pkgutil.walk_packages(parquedb.__path__, "parquedb."):
        if module.name != "parquedb.__main__":
            import_module(module.name)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        print("ready", flush=True)
        while True:
            connection, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                os._exit(_answer(connection))
            connection.close()
            _reap()


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _answer(connection: socket.socket) -> int:
    _, files, _, _ = socket.recv_fds(connection, len(b"parquedb"), 3)
    request = b""
    while part := connection.recv(1 << 16):
        request += part
    folder, count, *words = request.decode("utf-8", "surrogateescape").split("\0")
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(word.split("=", 1) for word in words[int(count) :])
    sys.argv = words[: int(count)]
    code = _run()
    connection.sendall(str(code).encode())
    return code


def _run() -> int:
    from parquedb.cli.main import run

    try:
        run()
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    serve(sys.argv[1])
