"""Uvicorn: runs the team's Python web application (ASGI: FastAPI, Starlette, Django's channels) from a release folder.

Gunicorn's first process holds the sockets and watches, uvicorn's workers do the work: uvicorn alone takes one socket, has no
readiness and forgets what it accepted when a process is replaced. Everything but the worker is in python_common.
Limits: the health is told by HTTP; websockets end when a process is replaced, and their clients connect anew.
Source: https://www.uvicorn.org/deployment/#gunicorn, uvicorn 0.32's workers.py; ASGI's specification 3.0 (root_path).
"""

from __future__ import annotations

from nospof import component as c
from nospof.components.python_common import PythonApplication, PythonSettings

WORKER = '''"""Uvicorn's worker for gunicorn, but it answers every connection it has accepted before it ends, tells the
application where it is mounted, and its health is honest.

Uvicorn 0.32 closes connections whose request it has not read when it is told to end, so that some requests to a busy site
would fail at each restart.

An application that has lost what it needs on its own host, the way to its database, fails requests that another host
would answer: its health says so, and the load balancer asks the other. Web servers on other hosts do not ask for health:
they get no connection from it meanwhile, and so ask the next one, with what must not be sent twice, too.
"""

import asyncio
import os
import ssl
import sys
import time

from gunicorn.arbiter import Arbiter
from uvicorn import Server
from uvicorn.workers import UvicornWorker

# A caller that has connected and sends nothing for so long is not waited for.
SILENCE_S, STEP_S = 1.0, 0.05
HEALTH = os.environ.get("NOSPOF_HEALTH", "")
MOUNT = os.environ.get("SCRIPT_NAME", "")
# Files that are there while what is needed on this host runs.
BESIDE = [path for path in os.environ.get("NOSPOF_BESIDE", "").split(":") if path]
# Names by which it finds what it needs.
NAMES = [name for name in os.environ.get("NOSPOF_NAMES", "").split(":") if name]


async def what_is_gone():
    gone = [f"{path} is not there" for path in BESIDE if not os.path.exists(path)]
    for name in NAMES:
        try:
            await asyncio.get_running_loop().getaddrinfo(name, None)
        except OSError as error:
            gone.append(f"the name {name} is not found ({error})")
    return gone


def turned_away(connection, name, context):
    """A caller that begins to encrypt, and so has sent nothing yet, is told to ask elsewhere."""
    if not all(map(os.path.exists, BESIDE)):
        return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR


def closing(send):
    """A connection that a caller keeps ends with its answer, so that the next request comes by a new one."""

    async def send_last(message):
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        await send(message)

    return send_last


def guarded(application):
    async def answer(scope, receive, send):
        if scope["type"] not in ("http", "websocket"):
            return await application(scope, receive, send)
        if scope["type"] == "http" and not all(map(os.path.exists, BESIDE)):
            send = closing(send)
        gone = await what_is_gone() if scope["type"] == "http" and scope["path"] == MOUNT + HEALTH else []
        if gone:
            text = f"this host lacks what it needs: {'; '.join(gone)}\\n".encode()
            head = [(b"content-type", b"text/plain"), (b"content-length", str(len(text)).encode())]
            await send({"type": "http.response.start", "status": 503, "headers": head})
            return await send({"type": "http.response.body", "body": text})
        # The path is the visitor's, and begins with where the application is mounted.
        return await application({**scope, "root_path": MOUNT}, receive, send)

    return answer


class DrainingServer(Server):
    async def shutdown(self, sockets=None):
        for server in self.servers:
            server.close()
        until = time.monotonic() + SILENCE_S
        await asyncio.sleep(STEP_S)  # what has just been accepted becomes a connection
        while time.monotonic() < until and any(waits_for_its_first(one) for one in self.server_state.connections):
            await asyncio.sleep(STEP_S)
        await super().shutdown(sockets)


def waits_for_its_first(connection):
    return getattr(connection, "cycle", connection) is None


class DrainingWorker(UvicornWorker):
    def load_wsgi(self):
        super().load_wsgi()
        self.wsgi = guarded(self.wsgi)

    async def _serve(self):
        self.config.app = self.wsgi
        self.config.load()
        if self.config.ssl:
            self.config.ssl.sni_callback = turned_away
        server = DrainingServer(config=self.config)
        self._install_sigquit_handler()
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
'''


class UvicornSettings(PythonSettings):
    pass


class Uvicorn(PythonApplication[UvicornSettings]):
    name = "uvicorn"
    about = "An application server: it runs your asynchronous Python web application (ASGI) in several processes."
    packages = ("curl", "gunicorn", "python3", "python3-httptools", "python3-uvicorn", "python3-uvloop")
    worker_folder = "/usr/lib/nospof/uvicorn"
    worker_class = "nospof_worker.DrainingWorker"
    worker_text = WORKER
    worker_options = ""

    def _believed(self, here: c.Context) -> str:
        # To uvicorn a socket's caller has no address and is nobody. All callers are the stack's: they own the socket, or show
        # a certificate.
        return "*"
