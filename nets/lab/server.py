"""The server of the lab: marimo in this process, on this machine only."""

from __future__ import annotations

import errno
import os
import secrets
import socket
import sys
import threading
import webbrowser
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import typer

from .state import Lab, bundled_scene

__all__ = ["PORT", "open_socket", "opened", "require_packages", "serve"]

HOST = "127.0.0.1"
PORT = 2718
"""The port that is tried first."""

TRIES = 20
"""Number of ports that are tried where none was given."""

GRACE = 3.0
"""Seconds that open pages have after Ctrl-C."""

_LABS: list[Lab] = []


def require_packages() -> None:
    """Raise ImportError, with the command that installs them, if the packages of the lab are missing."""
    missing = [name for name in ("marimo", "anywidget") if find_spec(name) is None]
    if missing:
        raise ImportError(f"needs {' and '.join(missing)}, not installed: pip install 'blurphys[lab]'")


def opened() -> Lab:
    """Return the lab that `serve` serves; without one, that of the bundled scene."""
    return _LABS[-1] if _LABS else Lab(bundled_scene())


def open_socket(port: int | None) -> socket.socket:
    """Return a listening socket of this machine, at the first free port from `PORT` on where none is given.

    Raises
    ------
    ValueError
        The port is in use, reserved or no port.
    """
    if port is not None and not 0 < port < 65536:
        raise ValueError(f"--port: expected a number from 1 to 65535, got {port}")
    for number in range(PORT, PORT + TRIES) if port is None else (port,):
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, number))
        except OSError as error:
            listening.close()
            if error.errno == errno.EACCES:
                raise ValueError(f"--port: {number} is reserved for the system; take one above 1023") from None
            if error.errno != errno.EADDRINUSE:
                raise
            continue
        listening.listen()
        return listening
    if port is None:
        raise ValueError(f"--port: the ports {PORT} to {PORT + TRIES - 1} are all in use; name a free one")
    raise ValueError(f"--port: {port} is in use; name another, or leave it out to take a free one")


def serve(lab: Lab, listening: socket.socket, *, browser: bool) -> NoReturn:
    """Print the address of a lab and serve it until Ctrl-C, which ends the process.

    Parameters
    ----------
    lab : Lab
        What is shown.
    listening : socket
        From `open_socket`.
    browser : bool
        Open the address in the browser of the user, if there is a display.
    """
    import marimo
    import uvicorn

    _LABS.append(lab)
    app = Path(__file__).with_name("app.py")
    token = secrets.token_urlsafe(12)  # other users of this machine and other pages in the browser do not know it
    site = marimo.create_asgi_app(quiet=True, token=token, session_ttl=10).with_app(path="", root=str(app)).build()
    address = f"http://{HOST}:{listening.getsockname()[1]}?access_token={token}"
    typer.echo(f"open {address} in a browser on this machine; Ctrl-C ends")
    if browser and has_display():
        webbrowser.open(address)
    server = uvicorn.Server(uvicorn.Config(site, log_level="warning", timeout_graceful_shutdown=1))
    ended = threading.Event()

    def run() -> None:
        try:
            server.run(sockets=[listening])
        finally:
            ended.set()

    threading.Thread(target=run, daemon=True).start()
    try:
        while not ended.wait(0.5):
            pass
    except KeyboardInterrupt:
        server.should_exit = True
        ended.wait(GRACE)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)  # threads of marimo wait for messages of a page for ever, and Python for those threads


def has_display() -> bool:
    """Whether a browser can be opened here: always on macOS and Windows, elsewhere in a graphical session."""
    return sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
