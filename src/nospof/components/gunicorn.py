"""Gunicorn: runs the team's Python web application (WSGI) from a release folder that nospof unpacks.

Its workers are gunicorn's threaded ones, but for what is said in their text below. Everything else is in python_common.
Source: https://docs.gunicorn.org/en/23.0.0/deploy.html#systemd, gunicorn 23's workers/gthread.py.
"""

from __future__ import annotations

from nospof import component as c
from nospof.components.python_common import PythonApplication, PythonSettings


class GunicornSettings(PythonSettings):
    threads: int = c.Field(16, ge=1, le=256, description="Requests that one process works on at once.")


WORKER = '''"""Gunicorn's threaded worker, but it answers every connection it has accepted before it ends; its health is honest.

Gunicorn 23 forgets connections whose request it has not begun to read when it is told to end, so that some requests
to a busy site would fail at each restart. Another version, from the application's requirements, drains as it does.

An application that has lost what it needs on its own host, the way to its database, fails requests that another host
would answer: its health says so, and the load balancer asks the other. Web servers on other hosts do not ask for health:
they get no connection from it meanwhile, and so ask the next one, with what must not be sent twice, too.
"""

import os
import socket
import time

import gunicorn
from gunicorn.workers.gthread import ThreadWorker

# A caller that has connected and sends nothing for so long is not waited for.
SILENCE_S = 1.0
# How long what was found lacking counts, or that nothing was.
LOOK_S = 0.1
HEALTH = os.environ.get("NOSPOF_HEALTH", "")
# Files that are there while what is needed on this host runs.
BESIDE = [path for path in os.environ.get("NOSPOF_BESIDE", "").split(":") if path]
# Names by which it finds what it needs.
NAMES = [name for name in os.environ.get("NOSPOF_NAMES", "").split(":") if name]


def what_is_gone():
    yield from (f"{path} is not there" for path in BESIDE if not os.path.exists(path))
    for name in NAMES:
        try:
            socket.getaddrinfo(name, None)
        except OSError as error:
            yield f"the name {name} is not found ({error})"


def guarded(application):
    def answer(environ, start_response):
        gone = list(what_is_gone()) if environ.get("PATH_INFO") == HEALTH else []
        if not gone:
            return application(environ, start_response)
        text = f"this host lacks what it needs: {'; '.join(gone)}\\n".encode()
        start_response("503 Service Unavailable", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
        return [text]

    return answer


class HonestWorker(ThreadWorker):
    lacks = False
    looked_at = 0.0

    def load_wsgi(self):
        super().load_wsgi()
        if BESIDE or NAMES:
            self.wsgi = guarded(self.wsgi)

    def is_lacking(self):
        # Names may take a while to be looked up, which is not for the loop that accepts connections.
        if BESIDE and time.monotonic() - self.looked_at > LOOK_S:
            self.lacks, self.looked_at = not all(map(os.path.exists, BESIDE)), time.monotonic()
        return self.lacks

    def enqueue_req(self, conn):
        """A caller who has gone before its turn, as a health check does that waited too long, ends no process.

        Python refuses to begin TLS with it, and gunicorn lets that end the worker with all its requests; on a busy host each
        new worker then dies of those who gave up on the last.
        """
        try:
            if conn.sock.family == socket.AF_INET and not getattr(conn, "initialized", True) and self.is_lacking():
                raise ConnectionRefusedError("this host lacks what it needs")
            super().enqueue_req(conn)
        except OSError as error:
            self.log.debug("Closing connection. %s", error)
            self.nr_conns -= 1
            conn.close()


class DrainingWorker(HonestWorker):
    drain_until = None
    is_draining = False
    kept_at_most = None

    def handle_exit(self, sig, frame):
        # The main loop does the work, since a signal may come in the middle of anything.
        if self.drain_until is None:
            self.drain_until = time.monotonic() + SILENCE_S

    def murder_keepalived(self):
        """The main loop calls this at the end of each round."""
        if self.drain_until is None and self.is_lacking() != (self.kept_at_most is not None):
            self.keep(not self.lacks)
        super().murder_keepalived()
        if self.drain_until is not None:
            self.drain()

    def keep(self, may_keep):
        """Connections that callers keep are theirs to use again; while something is lacking they end."""
        if may_keep:
            self.max_keepalived, self.kept_at_most = self.kept_at_most, None
            return
        self.kept_at_most, self.max_keepalived = self.max_keepalived, 0
        with self._lock:
            for connection in self._keep:
                connection.timeout = 0

    def drain(self):
        self.max_keepalived = 0  # answers say from now on that the connection ends
        if not self.is_draining:
            self.is_draining = True
            for listener in self.sockets:
                self.poller.unregister(listener)
        with self._lock:
            for connection in self._keep:
                connection.timeout = 0
        super().murder_keepalived()
        # What is still waited for has been accepted and not read.
        if not self.poller.get_map() or time.monotonic() > self.drain_until:
            self.alive = False


if gunicorn.version_info[0] != 23:
    DrainingWorker = HonestWorker
'''


class Gunicorn(PythonApplication[GunicornSettings]):
    name = "gunicorn"
    missed_s = 0.0
    about = "An application server: it runs your Python web application (WSGI) in several processes."
    packages = ("curl", "gunicorn", "python3")
    worker_folder = "/usr/lib/nospof/gunicorn"
    worker_class = "nospof_worker.DrainingWorker"
    worker_text = WORKER

    @property
    def worker_options(self) -> str:
        return f"--threads {self.settings.threads}"
