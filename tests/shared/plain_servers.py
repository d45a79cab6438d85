"""Servers as one rents them: a minimal Debian with sshd and a user who may become root, and nothing of nospof's.

They are hosts of a lab of their own, reached by OpenSSH with a configuration file as users have one; its ProxyCommand stands
for the network in between. What they install comes from the packages at hand in their image.
"""

from __future__ import annotations

import secrets
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nospof.components  # noqa: F401 - registers them
from nospof.apply.transport import Finished
from nospof.component import Component
from nospof.lab.lab import Lab, LabHost, LabPlan
from nospof.render.base import BASE_PACKAGES

USER, WORD = "debian", "correct horse"
# Both ways of a TCP connection; ends when the server's side does.
PIPE = """
import os, socket, sys, threading
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
def send():
    while block := os.read(0, 65536):
        connection.sendall(block)
    connection.shutdown(socket.SHUT_WR)
threading.Thread(target=send, daemon=True).start()
while block := connection.recv(65536):
    os.write(1, block)
"""


@dataclass
class PlainServers:
    """The lab that stands for them, and the file that tells ssh how they are reached."""

    lab: Lab
    folder: Path

    @property
    def ssh_config(self) -> Path:
        return self.folder / "ssh_config"

    @property
    def ssh(self) -> str:
        """What NOSPOF_SSH must be for it."""
        return f"ssh -F {shlex.quote(str(self.ssh_config))}"

    def sh(self, host: str, script: str) -> str:
        """Run a script as root, not over SSH; returns what it printed. It must work."""
        outcome = self.lab.run(host, ("sh", "-euc", script), timeout_s=120)
        assert isinstance(outcome, Finished), f"{host}: {outcome}"
        assert outcome.exit_code == 0, f"{host}: {outcome}"
        return outcome.stdout.decode()


@contextmanager
def plain_servers(folder: Path, hosts: Sequence[tuple[str, str]], components: Sequence[str]) -> Iterator[PlainServers]:
    """Servers by (name, zone), the first at 198.18.1.1, with the packages of `components` at hand."""
    name = f"t{secrets.token_hex(3)}"
    made = tuple(LabHost(host, zone, f"198.18.1.{number}") for number, (host, zone) in enumerate(hosts, 1))
    packages = [package for name in components for package in Component.kinds[name].packages]
    at_hand = tuple(sorted({*packages, *BASE_PACKAGES}))
    lab = Lab.open(name)
    servers = PlainServers(lab, folder)
    try:
        lab.up(LabPlan(name, made, ("sudo",), (), at_hand=at_hand), lambda host, what: None)
        _make_way(servers, [host for host, _ in hosts])
        yield servers
    finally:
        lab.down()


def _make_way(servers: PlainServers, hosts: Sequence[str]) -> None:
    """A key of the user's, the user on each server, and what ssh must know."""
    folder = servers.folder
    folder.mkdir(parents=True, exist_ok=True)
    key, known = folder / "id", folder / "known_hosts"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    public = key.with_suffix(".pub").read_text().strip()
    keys = []
    for host in hosts:
        servers.sh(
            host,
            f"useradd --create-home --shell=/bin/bash {USER}\n"
            f"echo {shlex.quote(f'{USER}:{WORD}')} | chpasswd\n"
            f"echo '{USER} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/{USER}\n"
            f"install -d -m 700 -o {USER} /home/{USER}/.ssh\n"
            f"echo '{public}' >/home/{USER}/.ssh/authorized_keys\n"
            "systemctl enable --now ssh.service 2>/dev/null",
        )
        address = servers.lab.address(host)
        keys.append(f"{address} {servers.sh(host, 'cat /etc/ssh/ssh_host_ed25519_key.pub')}")
    known.write_text("".join(keys))
    pipe = folder / "pipe.py"
    pipe.write_text(PIPE)
    way = shlex.join(servers.lab.network_argv("client", [sys.executable, str(pipe)]))
    servers.ssh_config.write_text(
        f"Host 198.18.1.*\n  User {USER}\n  IdentityFile {key}\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {known}\n  ProxyCommand {way} %h %p\n"
    )
