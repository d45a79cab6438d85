"""Give another host of the tier a copy of this host's MariaDB server, over HTTPS with certificates on both sides.

    database_donor --config FILE [--idle-s SECONDS]

systemd holds the port and starts this program when somebody calls; it ends by itself once nobody has called for a minute. A
caller must show a certificate of the stack's CA that names this tier and one of its hosts. It may ask

    GET /size    {"data_bytes": N}: how much room a copy takes, about
    GET /copy    mariadb-backup's stream in frames (`copy_stream`); 503 and why, while another copy is given

Runs as the server's own user, which the server knows by its unix socket and whose files it may read: no password, no right of
root. mariadb-backup ends with the caller. Limits: a caller that takes nothing for ten seconds has left, since all writes wait
for it if that happens in the short moment at the end of a backup.
Source: https://mariadb.com/docs/server/server-usage/backup-and-restore/mariadb-backup (BACKUP STAGE, streaming).
"""

from __future__ import annotations

import argparse
import fcntl
import json
import logging
import os
import pwd
import resource
import select
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from nospof.onhost.copy_stream import MIB, PIECE, Kind, frame, names_of, whole

IDLE_S = 60.0
FIRST_INHERITED = 3
"""systemd gives the socket as this file descriptor (sd_listen_fds)."""
MOST_CALLERS = 8
LOG_COPY_MS = 20
"""How often the log of changes is read. At the end all writes wait for it: a second, at the default."""
REDO_LOG_AND_TEMPORARY = ("ibtmp1", "ib_buffer_pool")

log = logging.getLogger("nospof")


@dataclass(frozen=True)
class Config:
    """What the host is told: its tier, who may call, where to listen if nobody gives a socket, and its certificate.

    `limit_mib_s`: how fast a copy may go; None = as fast as it can. Who receives gives up below half a MiB/s.
    """

    tier: str
    host: str
    members: Mapping[str, str]
    copy_port: int
    ca: str
    certificate: str
    key: str
    limit_mib_s: float | None = None
    socket: str = "/run/mysqld/mysqld.sock"


@dataclass(frozen=True)
class Limits:
    """How long each wait lasts at most, in seconds."""

    handshake_s: float = 5.0
    send_s: float = 10.0
    """The caller takes nothing."""
    silence_s: float = 600.0
    """mariadb-backup gives nothing: it waits for a long statement that changes a table."""
    alive_every_s: float = 5.0
    """While it gives nothing, the caller is told at this pace that there is still somebody."""
    ask_s: float = 5.0
    """The server does not say where its data is."""


def main(argv: list[str]) -> int:
    """Serve until idle."""
    parser = argparse.ArgumentParser(prog="database_donor")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--idle-s", type=float, default=IDLE_S)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    # A backup holds every table's file open; the limit that systemd gives is for programs that use select.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        donor = Door(arguments.config)
        signal.signal(signal.SIGTERM, lambda *_: donor.close())
        donor.serve(listening(arguments.config), arguments.idle_s)
    except (OSError, KeyError, ValueError) as error:
        log.error("cannot run: %s: %s", type(error).__name__, error)
        return 1
    return 0


def read_config(path: Path) -> Config:
    """Read the JSON with the fields of Config; others in it are not ours. Raises OSError, KeyError or ValueError."""
    told = json.loads(path.read_text())
    return Config(
        tier=told["tier"],
        host=told["host"],
        members=told["members"],
        copy_port=told["copy_port"],
        ca=told["ca"],
        certificate=told["certificate"],
        key=told["key"],
        limit_mib_s=told.get("copy_limit_mib_s"),
        socket=told.get("socket", Config.socket),
    )


def listening(path: Path) -> socket.socket:
    """The socket that systemd gives, else one at the place that the configuration says."""
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and int(os.environ.get("LISTEN_FDS", "0")) > 0:
        return socket.socket(fileno=FIRST_INHERITED)
    config = read_config(path)
    return socket.create_server((config.members[config.host], config.copy_port))


# --- callers -------------------------------------------------------------------------------------------------------------
def refusal(certificate: Mapping[str, object] | None, config: Config) -> str:
    """Say why the caller with this certificate (as ssl reads it, and verified it) gets nothing; "" = it may. Pure.

    The name of a host is not enough: what else runs there has a certificate with it too, but with its own tier's name.
    """
    names = names_of(certificate)
    if config.tier not in names:
        return f"this certificate is not of tier {config.tier}"
    if not names & set(config.members):
        return f"this certificate is of no host of tier {config.tier}"
    return ""


class Door:
    """Takes callers, one thread for each; one copy at a time. Configuration and certificates are read anew for each caller."""

    def __init__(self, config: Path, limits: Limits | None = None) -> None:
        self.config, self.limits = config, limits or Limits()
        self.copying = threading.Lock()
        self.is_open = True
        self._callers = 0
        self._last_s = time.monotonic()
        self._lock = threading.Lock()

    def close(self) -> None:
        self.is_open = False

    def serve(self, listener: socket.socket, idle_s: float) -> None:
        """Take callers until there was none for `idle_s`; what still waits at the port then has systemd start us again."""
        listener.settimeout(min(1.0, idle_s))
        with listener:
            while self.is_open and not self._is_idle(idle_s):
                try:
                    plain, address = listener.accept()
                except TimeoutError:
                    continue
                with self._lock:
                    self._callers += 1
                threading.Thread(target=self._take, args=(plain, address[0]), daemon=True).start()

    def _is_idle(self, idle_s: float) -> bool:
        with self._lock:
            return not self._callers and time.monotonic() - self._last_s > idle_s

    def _take(self, plain: socket.socket, address: str) -> None:
        try:
            with plain:
                if self._callers <= MOST_CALLERS:
                    self._answer(plain, address)
        except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
            log.info("%s: %s", address, error)
        finally:
            with self._lock:
                self._callers -= 1
                self._last_s = time.monotonic()

    def _answer(self, plain: socket.socket, address: str) -> None:
        config = read_config(self.config)
        plain.settimeout(self.limits.handshake_s)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=config.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(config.certificate, config.key)
        with context.wrap_socket(plain, server_side=True) as caller:
            path = _path_asked(caller)
            why = refusal(caller.getpeercert(), config)
            if why:
                log.warning("%s is refused: %s", address, why)
                caller.sendall(_head("403 Forbidden", why))
            elif path == "/size":
                self._tell_size(caller, config)
            elif path == "/copy":
                self._give_copy(caller, config, address)
            else:
                caller.sendall(_head("404 Not Found", "ask for /size or /copy"))

    def _tell_size(self, caller: ssl.SSLSocket, config: Config) -> None:
        try:
            answer = _head("200 OK", json.dumps({"data_bytes": data_bytes(config, self.limits)}))
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            answer = _head("503 Service Unavailable", f"the server does not say where its data is: {error}")
        caller.sendall(answer)

    def _give_copy(self, caller: ssl.SSLSocket, config: Config, address: str) -> None:
        if not self.copying.acquire(blocking=False):
            caller.sendall(_head("503 Service Unavailable", f"{config.host} is giving a copy to another host now"))
            return
        try:
            log.info("gives a copy to %s", address)
            # Also where the caller's host is dark: nothing is written then, and the timeout of the socket would not begin.
            caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self.limits.send_s * 1000))
            caller.settimeout(self.limits.send_s)
            caller.sendall(_head("200 OK", None))
            says = give(caller.sendall, config, self.limits)
            log.info("copy to %s: %s", address, says)
        finally:
            self.copying.release()


def _path_asked(caller: ssl.SSLSocket) -> str:
    request = b""
    while b"\r\n\r\n" not in request and len(request) < 4096:
        piece = caller.recv(4096)
        if not piece:
            break
        request += piece
    words = request.split(b" ", 2)
    return words[1].decode("latin-1") if words[0] == b"GET" and len(words) == 3 else ""


def _head(status: str, text: str | None) -> bytes:
    """An answer with a text; without one, the beginning of an answer that lasts until the connection ends."""
    length = "" if text is None else f"Content-Length: {len(text.encode())}\r\n"
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/octet-stream\r\n{length}Connection: close\r\n\r\n"
    return (head + (text or "")).encode()


# --- the server's data ---------------------------------------------------------------------------------------------------
def data_bytes(config: Config, limits: Limits) -> int:
    """How much the server's files are, without its logs of changes. Raises OSError, SubprocessError or ValueError."""
    question = "SELECT @@datadir, IFNULL(@@log_bin_basename, ''), IFNULL(@@relay_log_basename, '')"
    argv = ["mariadb", "--batch", "--skip-column-names", *_login(config), f"--execute={question}"]
    said = subprocess.run(argv, capture_output=True, text=True, timeout=limits.ask_s, check=False)
    if said.returncode != 0:
        raise ValueError(said.stderr.strip())
    data, *logs = said.stdout.rstrip("\n").split("\t")
    return sum(_sizes(data, tuple(f"{name}." for name in logs if name)))


def _sizes(data: str, logs: tuple[str, ...]) -> Iterator[int]:
    for folder, _, names in os.walk(data):
        for name in names:
            path = os.path.join(folder, name)
            if name not in REDO_LOG_AND_TEMPORARY and not path.startswith(logs):
                with suppress(FileNotFoundError):
                    yield os.stat(path).st_size


def _login(config: Config) -> tuple[str, str]:
    return f"--user={pwd.getpwuid(os.geteuid()).pw_name}", f"--socket={config.socket}"


# --- giving --------------------------------------------------------------------------------------------------------------
def give(send: Callable[[bytes], object], config: Config, limits: Limits) -> str:
    """Send a whole backup in frames and return what is to be said of it. Raises OSError when the caller is gone."""
    begun_s = time.monotonic()
    with _backup(config) as (output, end, errors):
        sent, heard_s = 0, time.monotonic()
        while True:
            if select.select([output], [], [], limits.alive_every_s)[0]:
                piece = os.read(output, PIECE)
                if not piece:
                    break
                send(frame(Kind.DATA, piece))
                sent, heard_s = sent + len(piece), time.monotonic()
                time.sleep(pause_s(sent, time.monotonic() - begun_s, config.limit_mib_s))
            elif time.monotonic() - heard_s > limits.silence_s:
                return _fail(send, f"mariadb-backup gave nothing for {limits.silence_s:.0f} s: {_last_lines(errors)}")
            else:
                send(frame(Kind.WAIT))
        code = end()
        if code != 0:
            return _fail(send, f"mariadb-backup failed with {code}: {_last_lines(errors)}")
        send(whole(sent))
        return f"whole, {sent} bytes in {time.monotonic() - begun_s:.1f} s"


def _fail(send: Callable[[bytes], object], why: str) -> str:
    send(frame(Kind.FAILED, why.encode()[:PIECE]))
    return why


@contextmanager
def _backup(config: Config) -> Iterator[tuple[int, Callable[[], int], IO[bytes]]]:
    """Start mariadb-backup: what it writes, how to await its exit code, its log. It does not outlive the block."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as errors:
        argv = [
            "mariadb-backup",
            "--backup",
            "--stream=mbstream",
            *_login(config),
            f"--target-dir={folder}",
            f"--tmpdir={folder}",
            f"--log-copy-interval={LOG_COPY_MS}",
        ]
        quiet = subprocess.DEVNULL
        with subprocess.Popen(argv, stdin=quiet, stdout=subprocess.PIPE, stderr=errors, start_new_session=True) as running:
            if running.stdout is None:
                raise TypeError("started without a way out")
            output = running.stdout.fileno()
            with suppress(OSError):  # as much as one frame at once, where the user's share of memory for pipes allows it
                fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, 4 * PIECE)
            try:
                yield output, lambda: running.wait(60), errors
            finally:
                # Its connection to the server ends with it, and with that all its locks.
                with suppress(ProcessLookupError):
                    os.killpg(running.pid, signal.SIGKILL)


def pause_s(sent: int, took_s: float, limit_mib_s: float | None) -> float:
    """How long to wait after so many bytes in so many seconds, to stay within the limit. Pure."""
    return max(0.0, sent / (limit_mib_s * MIB) - took_s) if limit_mib_s else 0.0


def _last_lines(errors: IO[bytes], count: int = 3) -> str:
    errors.seek(0, os.SEEK_END)
    errors.seek(max(0, errors.tell() - 4096))
    return " | ".join(errors.read().decode(errors="replace").strip().splitlines()[-count:])
