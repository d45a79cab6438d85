"""Real servers, over the system's own OpenSSH: the user's configuration, agent, jump hosts and keys work as they always do.

One connection per host is kept open while a command of nospof runs, since a new one costs some 80 ms and a command over it 5.
On the host every command is a transient unit of systemd that ssh only follows: when the connection ends, it goes on to its end.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from nospof.apply.transport import Finished, Outcome, Unknown, Unreachable

CONNECT_S = 5
# A connection that says nothing for so long is dead: a server that lost its power sends no farewell.
ALIVE_EVERY_S, ALIVE_TRIES = 3, 3
# How long the connection outlives the last command over it, should nospof be killed before it closes it.
PERSIST_S = 30
ENDS_WITHIN_S = 2.0


@dataclass(frozen=True)
class Server:
    """How a host is reached; None = as the user's SSH configuration says."""

    name: str
    address: str
    user: str | None = None
    port: int | None = None


AskPassword = Callable[[], str]
"""Asks the user for the password of sudo, once; "" where nobody can be asked."""


class OpenSsh:
    """Implements `nospof.apply.transport.Transport` for real servers.

    `command`: what to call instead of ssh, with options, as `GIT_SSH_COMMAND` is for git.
    """

    def __init__(self, servers: Mapping[str, Server], ask_password: AskPassword, command: str = "ssh") -> None:
        self._servers, self._command = servers, tuple(shlex.split(command))
        self._password = _Password(ask_password)
        self._sockets: Path | None = None
        self._lock = Lock()
        self._needs_password: set[str] = set()

    def open(self) -> None:
        """Connect to all servers at once, so that a question for a password is asked before anything else is shown."""
        with ThreadPoolExecutor(max(1, len(self._servers))) as pool:
            list(pool.map(lambda host: self.run(host, ("true",), timeout_s=3 * CONNECT_S), self._servers))

    def run(self, host: str, argv: Sequence[str], stdin: bytes = b"", timeout_s: float = 60.0) -> Outcome:
        """Run `argv` as root on `host`; see `Transport.run`."""
        return self._run(host, argv, stdin, timeout_s, self._over_kept())

    def run_anew(self, host: str, argv: Sequence[str], timeout_s: float = 15.0) -> Outcome:
        """The same over a connection of its own, which shows that a new one can be made."""
        return self._run(host, argv, b"", timeout_s, ("-o", "ControlMaster=no", "-o", "ControlPath=none"))

    def enter(self, host: str, argv: Sequence[str] = ()) -> int:
        """Give the caller's terminal to `argv`, or to a login shell, as root on `host`; returns the exit code."""
        wanted = shlex.join(["sudo", "--", *argv] if argv else ["sudo", "-i"])
        words = f'if [ "$(id -u)" = 0 ]; then {shlex.join(argv) or "exec bash --login"}; else {wanted}; fi'
        terminal = ("-t",) if os.isatty(0) else ("-T",)
        return subprocess.run([*self._ssh(host, *terminal), "sh -c " + shlex.quote(words)], check=False).returncode

    def close(self) -> None:
        """End the connections that are kept open."""
        with self._lock:
            folder, self._sockets = self._sockets, None
        if folder is None:
            return
        for host in self._servers:
            argv = self._ssh(host, *_QUIET, "-O", "exit", "-o", f"ControlPath={folder}/%C")
            with suppress(subprocess.TimeoutExpired):
                subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=ENDS_WITHIN_S, check=False)
        shutil.rmtree(folder, ignore_errors=True)

    # --- one command -------------------------------------------------------------------------------------------------
    def _run(self, host: str, argv: Sequence[str], stdin: bytes, timeout_s: float, options: Sequence[str]) -> Outcome:
        if host not in self._needs_password:
            outcome = self._try(host, argv, stdin, timeout_s, options)
            if not isinstance(outcome, Unreachable) or outcome.reason != SUDO_ASKS:
                return outcome
            self._needs_password.add(host)
        if not self._password.known():
            return Unreachable(NOBODY_TO_ASK)
        return self._try(host, argv, stdin, timeout_s, options)

    def _try(self, host: str, argv: Sequence[str], stdin: bytes, timeout_s: float, options: Sequence[str]) -> Outcome:
        mark = secrets.token_hex(8)
        script = _script(mark, argv, has_password=host in self._needs_password)
        if host in self._needs_password:
            stdin = self._password.known().encode() + b"\n" + stdin
        code, out, err = _communicate([*self._ssh(host, *_QUIET, *options), script], stdin, timeout_s)
        return _outcome(host, mark, code, out, err.decode(errors="replace"), timeout_s)

    def _ssh(self, host: str, *options: str) -> list[str]:
        server = self._servers[host]
        user = ("-l", server.user) if server.user else ()
        port = ("-p", str(server.port)) if server.port else ()
        return [*self._command, *_ALIVE, *user, *port, *options, "--", server.address]

    def _over_kept(self) -> tuple[str, ...]:
        with self._lock:
            if self._sockets is None:
                # Short, since a socket's path has at most 108 bytes; readable by this user only.
                self._sockets = Path(tempfile.mkdtemp(prefix="nospof-ssh-", dir="/tmp"))
            folder = self._sockets
        return ("-o", "ControlMaster=auto", "-o", f"ControlPath={folder}/%C", "-o", f"ControlPersist={PERSIST_S}")


_ALIVE = (
    *("-x", "-o", f"ConnectTimeout={CONNECT_S}"),
    *("-o", f"ServerAliveInterval={ALIVE_EVERY_S}", "-o", f"ServerAliveCountMax={ALIVE_TRIES}"),
)
# BatchMode: a question that nobody sees would be waited for until the time is over.
_QUIET = ("-T", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR")


class _Password:
    """Asked for once, and only if a host wants it."""

    def __init__(self, ask: AskPassword) -> None:
        self._ask, self._lock = ask, Lock()
        self._value: str | None = None

    def known(self) -> str:
        with self._lock:
            if self._value is None:
                self._value = self._ask()
            return self._value


SUDO_ASKS = "sudo asks for a password"
NOBODY_TO_ASK = "sudo asks for a password, and there is no terminal to ask for it"


def _script(mark: str, argv: Sequence[str], *, has_password: bool) -> str:
    """What the user's shell on the host runs: `argv` as root in a unit of its own, between two marks on standard output.

    The first mark says that it was started, the second with which code it ended: without it nobody knows.
    """
    unit = ["systemd-run", "--quiet", "--collect", "--pipe", "--wait", f"--unit=nospof-{mark}"]
    unit += [f"--description=nospof: {Path(argv[0]).name}"]
    # With where the caller came from, by which the preflight judges whether he can come again.
    command = f'{shlex.join(unit)} --setenv=SSH_CONNECTION="$SSH_CONNECTION" {shlex.join(["--", *argv])}'
    if has_password:
        # Read by the shell's own `read` and given on by its own `printf`: it is in no process's arguments.
        ask = "IFS= read -r password; printf '%s\\n' \"$password\" | sudo -k -S -p '' -v"
        run = f"{{ printf '%s\\n' \"$password\"; cat; }} | sudo -k -S -p '' -- {command}"
        refused = "wrong"
    else:
        ask, run, refused = "sudo -n -v", f"sudo -n -- {command}", "sudo"
    as_root = f"printf '%s\\n' '{mark} begun'; {command}; printf '\\n%s\\n' \"{mark} $?\""
    by_sudo = (
        f"if ! command -v sudo >/dev/null; then printf '%s\\n' '{mark} none'; exit 0; fi; "
        f"if ! {{ {ask}; }} 2>/dev/null; then printf '%s\\n' '{mark} {refused}'; exit 0; fi; "
        f"printf '%s\\n' '{mark} begun'; {run}; printf '\\n%s\\n' \"{mark} $?\""
    )
    return "sh -c " + shlex.quote(f'if [ "$(id -u)" = 0 ]; then {as_root}; else {by_sudo}; fi')


_REFUSALS = {
    "none": "its user is not root and there is no sudo",
    "sudo": SUDO_ASKS,
    "wrong": "sudo refuses: the password is wrong, or the user may not become root",
}


def _outcome(host: str, mark: str, code: int | None, out: bytes, said: str, timeout_s: float) -> Outcome:
    word = mark.encode()
    # Before the first mark stands what the user's shell prints at each login.
    _, begun, rest = out.partition(word + b" begun\n")
    if not begun:
        for refusal, why in _REFUSALS.items():
            if word + b" " + refusal.encode() + b"\n" in out:
                return Unreachable(why)
        return Unreachable(f"no answer within {timeout_s:g} s" if code is None else _why(said) or f"ssh ended with code {code}")
    if found := re.search(rb"\n" + word + rb" (\d+)\n", rest):
        return Finished(int(found[1]), rest[: found.start()], said.encode())
    if code is None:
        return Unknown(f"no answer from {host} within {timeout_s:g} s")
    return Unknown(f"the connection to {host} ended while the command ran{': ' + _why(said) if _why(said) else ''}")


def _why(said: str) -> str:
    """The last line that ssh printed, which names the reason, without what it says of closing."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and "mux_client" not in line]
    return lines[-1] if lines else ""


def _communicate(argv: Sequence[str], stdin: bytes, timeout_s: float) -> tuple[int | None, bytes, bytes]:
    """Exit code, None where it was ended for its time, and what it printed. Ctrl-C does not reach it: what began, ends."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
    try:
        out, err = process.communicate(stdin, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        try:
            out, err = process.communicate(timeout=ENDS_WITHIN_S)
        except subprocess.TimeoutExpired as late:  # what it left in the background keeps the pipes
            out, err = late.stdout or b"", late.stderr or b""
        return None, out, err
    return process.returncode, out, err
