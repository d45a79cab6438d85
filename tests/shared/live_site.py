"""The example brought up for real by the command a user types, in a folder and a lab of its own."""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.message import Message
from functools import cached_property
from pathlib import Path
from typing import Any

from lab_runs import lives_beside_others
from ruamel.yaml import YAML

from nospof.apply.transport import Finished
from nospof.deployment import Deployment, NamedHTTPSConnection, lab_of
from nospof.lab.machine import wait_until

EXAMPLE = Path(__file__).parents[2] / "examples" / "distributed"
UP_S = 420.0


# As the application, with the password on standard input; prints "taken" or why not.
CONNECT = """
import pymysql, ssl, sys
context = ssl.create_default_context(cafile="/etc/nospof/tls/ca.pem")
try:
    pymysql.connect(host="database", port=int(sys.argv[1]), user="app", password=sys.stdin.read(), ssl=context)
    print("taken")
except pymysql.err.OperationalError as error:
    print(error.args[0])
"""


class LiveSite:
    """One stack: its folder, and `nospof` run on it as a program of its own."""

    def __init__(self, folder: Path, name: str | None = None, example: Path = EXAMPLE) -> None:
        self.folder, self.name = folder, name or f"t{secrets.token_hex(3)}"
        self._lives = lives_beside_others()
        shutil.copytree(example, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".nospof", "__pycache__"))
        self.file = folder / "stack.yaml"
        named = next(line for line in self.file.read_text().splitlines() if line.startswith("name: "))
        self.edit(named, f"name: {self.name}")

    def edit(self, old: str, new: str, file: str = "stack.yaml") -> None:
        """Replace `old`, which must be there, by `new` in one of the stack's files."""
        path = self.folder / file
        text = path.read_text()
        assert old in text, f"{old!r} is not in {path}"
        path.write_text(text.replace(old, new))

    def set_options(self, tier: str, **options: object) -> None:
        """Give a tier of the stack file these options and take away those that are None, however the file is written."""
        yaml = YAML()
        yaml.width, yaml.preserve_quotes = 10_000, True
        told = yaml.load(self.file.read_text())
        told["tiers"][tier].update(options)
        for option in [option for option, value in options.items() if value is None]:
            del told["tiers"][tier][option]
        with self.file.open("w") as file:
            yaml.dump(told, file)

    def start(self, *words: str, shorter: Mapping[str, float] | None = None) -> subprocess.Popen[str]:
        """Start `nospof WORDS` in a process group of its own.

        `shorter`: "module.NAME" of a time that elapses in full, and so many seconds in its place.
        """
        given = [f"import {name.rpartition('.')[0]}; {name} = {seconds}" for name, seconds in (shorter or {}).items()]
        argv = [sys.executable, "-c", "; ".join([*given, "from nospof.cli.main import main", "main()"]), *words]
        environment = {**os.environ, "COLUMNS": "200"}
        pipe = subprocess.PIPE
        return subprocess.Popen(argv, stdout=pipe, stderr=pipe, text=True, start_new_session=True, env=environment)

    def nospof(self, command: str, *words: str, code: int = 0, shorter: Mapping[str, float] | None = None) -> str:
        """Run `nospof COMMAND STACK WORDS`, which must end with exit `code`; returns what it printed, errors last."""
        process = self.start(*command.split(), str(self.file), *words, shorter=shorter)
        out, err = process.communicate(timeout=UP_S)
        assert process.returncode == code, f"exit code {process.returncode}, not {code}:\n{out}\n{err}"
        return out + err

    def up_when_free(self, tries: int = 20) -> str:
        """`nospof up` again after one that was ended; returns what it printed.

        A trip that lost its controlling machine may still hold a host for a moment, and says so.
        """
        for _ in range(tries):
            process = self.start("up", str(self.file))
            out, err = process.communicate(timeout=UP_S)
            if process.returncode == 0:
                return out
            assert "another nospof works on this host" in err, out + err
            time.sleep(1)
        raise AssertionError(out + err)

    def wait_free(self) -> None:
        """Wait until no trip of a run that was killed holds a host any more."""
        hosts = [host.name for host in self.deployment().topology.hosts]
        free = ("flock", "--nonblock", "/run/nospof.lock", "true")
        assert wait_until(lambda: all(self.told(host, free)[0] == 0 for host in hosts), UP_S)

    def deployment(self) -> Deployment:
        return Deployment.load(self.file)

    def json(self, command: str, code: int = 0) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.nospof(command, "--json", code=code))
        return document

    def settled_status(self, limit_s: float = 60.0) -> dict[str, Any]:
        """The status, once everything is ok: a busy machine needs some tries, a broken stack never gets there."""
        end = time.monotonic() + limit_s
        while True:
            process = self.start("status", "--json", str(self.file))
            out, err = process.communicate(timeout=UP_S)
            if process.returncode == 0:
                document: dict[str, Any] = json.loads(out)
                return document
            assert time.monotonic() < end, f"exit code {process.returncode}:\n{out}\n{err}"
            time.sleep(1.0)

    def on(self, host: str, *argv: str) -> str:
        """Run a command on a host, which must work; returns its standard output."""
        outcome = self.deployment().lab.run(host, argv, timeout_s=60)
        assert isinstance(outcome, Finished), f"{host}: {outcome}"
        assert outcome.exit_code == 0, f"{host}: {' '.join(argv)}: {outcome}"
        return outcome.stdout.decode().strip()

    def told(self, host: str, argv: Sequence[str], text: str = "") -> tuple[int, str]:
        """Run a command on a host with `text` on its standard input; returns its exit code and what it printed."""
        outcome = self.deployment().lab.run(host, argv, text.encode(), timeout_s=60)
        assert isinstance(outcome, Finished), f"{host}: {outcome}"
        return outcome.exit_code, outcome.stdout.decode().strip()

    def passwords(self) -> dict[str, str]:
        """By name, all secrets but those that sign applications' cookies."""
        files = (self.folder / ".nospof/secrets").iterdir()
        return {path.name: path.read_text().strip() for path in files if not path.name.endswith(".secret-key")}

    def database_takes(self, host: str, port: int, password: str) -> str:
        """What the tier `database` says to application `app` on `host` with this password: "taken", or the error's number."""
        return self.told(host, ("python3", "-c", CONNECT, str(port)), password)[1]

    @property
    def url(self) -> str:
        return self.deployment().url

    def tls(self) -> ssl.SSLContext:
        """As somebody who believes the stack's CA, and while it is replaced both."""
        known = sorted((self.folder / ".nospof" / "certificates").glob("ca*.crt"))
        return ssl.create_default_context(cadata="".join(path.read_text() for path in known))

    def ask(
        self, path: str = "/", body: bytes | None = None, timeout_s: float = 10.0, more: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """GET, or POST `body` as JSON, over HTTPS through the forwarded port, certificate verified: (status, text)."""
        status, _, text = self.answer(path, "GET" if body is None else "POST", body, timeout_s, more)
        return status, text

    def status_of(self, path: str = "/", body: bytes | None = None, timeout_s: float = 10.0) -> int:
        """Ask once; 0 when nothing came."""
        try:
            return self.ask(path, body, timeout_s)[0]
        except (OSError, http.client.HTTPException):
            return 0

    def answer(
        self,
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        timeout_s: float = 10.0,
        more: Mapping[str, str] | None = None,
    ) -> tuple[int, Message, str]:
        """The whole answer: (status, headers, text)."""
        port, name = self.port, f"{self.name}.localhost"
        connection = NamedHTTPSConnection("127.0.0.1", port, name, self.tls(), timeout_s)
        headers = {"Host": name, "Content-Type": "application/json", **(more or {})}
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()

    @cached_property
    def port(self) -> int:
        port = self.deployment().lab.url_port
        assert port is not None
        return port

    def post_entry(self, token: str) -> int:
        """Write an entry; returns the status."""
        body = json.dumps({"name": "test", "message": f"entry {token}", "token": token}).encode()
        return self.ask("/api/entries", body)[0]

    def has_entry(self, token: str) -> bool:
        status, text = self.ask(f"/api/entries/{token}")
        return status == 200 and token in text

    def units(self) -> dict[str, tuple[str, str]]:
        """By "host/unit", when it became active and its process: equal means that it was not restarted."""
        found = {}
        for host in self.deployment().topology.hosts:
            shown = self.on(
                host.name,
                "systemctl",
                "show",
                "--type=service",
                "--state=running",
                "--property=Id,ActiveEnterTimestampMonotonic,MainPID",
                "*",
            )
            for block in shown.split("\n\n"):
                values = dict(line.split("=", 1) for line in block.splitlines())
                if re.match(r"(nospof|haproxy|nginx|apache2|mariadb|keepalived)", values["Id"]):
                    found[f"{host.name}/{values['Id']}"] = (values["ActiveEnterTimestampMonotonic"], values["MainPID"])
        return found

    def down(self) -> None:
        lab = lab_of(self.file)
        if lab is not None:
            lab.down()

    @contextmanager
    def visited(self, period_s: float = 0.05, path: str = "/", timeout_s: float = 35.0) -> Iterator[list[str]]:
        """Visit `path` all the time; the list gets one line per visit that failed.

        `timeout_s`: by itself as long as the load balancer gives a server. A visit that waits for a restart is slow and has not
        failed; one that a dark load balancer had in hand gets no answer at all.
        """
        failed: list[str] = []
        is_over = threading.Event()
        count = [0]

        def visit() -> None:
            while not is_over.wait(period_s):
                count[0] += 1
                try:
                    status, _ = self.ask(path, timeout_s=timeout_s)
                    said = "" if status == 200 else f"status {status}"
                except (OSError, http.client.HTTPException) as error:
                    said = repr(error)
                if said:
                    failed.append(f"{time.strftime('%H:%M:%S')} visit {count[0]}: {said}")

        thread = threading.Thread(target=visit)
        thread.start()
        try:
            yield failed
        finally:
            is_over.set()
            thread.join()
        assert count[0] > 0


def with_the_shop(folder: Path, stack: str) -> LiveSite:
    """The stack file `stack`, with the example's application beside it, in a folder of its own below `folder`."""
    example = folder / "example"
    shutil.copytree(EXAMPLE / "app", example / "app")
    (example / "stack.yaml").write_text(stack)
    return LiveSite(folder / "small", example=example)


@contextmanager
def simple_brought_up(folder: Path) -> Iterator[LiveSite]:
    """The example `simple`, whose application is the other example's; taken down at the end, come what may."""
    shutil.copytree(EXAMPLE / "app", folder / "distributed" / "app")
    made = LiveSite(folder / "simple", example=EXAMPLE.parent / "simple")
    try:
        made.nospof("up")
        yield made
    finally:
        made.down()


def kill_when(process: subprocess.Popen[str], line_has: str, *, signals: Sequence[int], whole_group: bool) -> str:
    """Send `signals` to `process` as soon as it prints a line with `line_has`; returns everything it printed."""
    assert process.stdout is not None
    printed = []
    for line in process.stdout:
        printed.append(line)
        if line_has in line:
            break
    else:
        raise AssertionError(f"it never printed {line_has!r}:\n{''.join(printed)}")
    for number in signals:
        (os.killpg if whole_group else os.kill)(process.pid, number)
    out, err = process.communicate(timeout=UP_S)
    return "".join(printed) + out + err


KILL = (signal.SIGKILL,)
INTERRUPT = (signal.SIGINT,)
