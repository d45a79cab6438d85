"""Real servers, for which plain hosts of a lab stand: looked at first, taken over SSH, never locked out of, given back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from itertools import count
from pathlib import Path

import pytest
from live_site import LiveSite, with_the_shop
from plain_servers import USER, WORD, PlainServers, plain_servers

from nospof.apply.transport import Finished
from nospof.lab.machine import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")]
HOSTS = (("one", "a"), ("two", "b"), ("three", "c"))
COMPONENTS = ("haproxy", "keepalived", "gunicorn", "mariadb", "database-router", "etcd")
STACK = """\
name: small
domain: small.example.com
vip: 198.18.0.1/16
admin: [198.18.0.0/15]
hosts:
  one: {zone: a, address: 198.18.1.1}
  two: {zone: b, address: 198.18.1.2}
  three: {zone: c, address: 198.18.1.3}
tiers:
  load-balancer: {component: haproxy, hosts: [one, two], mode: active-passive, to: app}
  app: {component: gunicorn, hosts: [one, two], source: ./app, module: "shop:app", to: database}
  database: {component: mariadb, hosts: [one, two], witness: three}
"""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainServers]:
    with plain_servers(tmp_path_factory.mktemp("ssh"), HOSTS, COMPONENTS) as made:
        os.environ["NOSPOF_SSH"] = made.ssh
        try:
            yield made
        finally:
            del os.environ["NOSPOF_SSH"]


@pytest.fixture(scope="module")
def site(servers: PlainServers, tmp_path_factory: pytest.TempPathFactory) -> LiveSite:
    return with_the_shop(tmp_path_factory.mktemp("stack"), STACK)


def visit(servers: PlainServers) -> str:
    """What a visitor at the client gets from the VIP: the body, then the status in a line of its own."""
    resolve = "--resolve small.example.com:443:198.18.0.1"
    return servers.sh("client", f"curl -sk -m 10 -w '\\n%{{http_code}}' {resolve} https://small.example.com/ || true")


# --- before anything is begun -------------------------------------------------------------------------------------------
def test_all_that_keeps_servers_from_being_taken_is_said_at_once_and_nothing_is_begun(
    servers: PlainServers, site: LiveSite
) -> None:
    servers.sh("one", "systemd-run -q --unit=other python3 -m http.server 443")
    servers.sh("two", "mkdir -p /var/lib/mysql && touch /var/lib/mysql/ibdata1; ip address add 198.18.0.1/16 dev eth0")
    servers.sh("three", "mkdir -p /var/lib/nospof && echo 0123456789abcdef >/var/lib/nospof/begun")
    assert wait_until(lambda: "443" in servers.sh("one", "ss -Hlnt"), 10)
    try:
        said = site.nospof("preflight", code=1)
        refused = site.nospof("up", code=1)
    finally:
        servers.sh("one", "systemctl stop other")
        servers.sh("two", "rm -r /var/lib/mysql; ip address del 198.18.0.1/16 dev eth0")
        servers.sh("three", "rm -r /var/lib/nospof")
    for text in (
        "one: tcp port 443, which tier load-balancer needs, is held by python3 (process ",
        "two: /var/lib/mysql holds data that is not this stack's",
        "three: another stack (0123456789abcdef) was begun on it and not finished",
        "198.18.0.1 is somebody's already: it answers",
    ):
        assert text in said
    assert "one, three, two cannot be taken as they are: nothing was begun" in refused
    assert "mv /var/lib/mysql /var/lib/mysql.before" in refused
    assert "haproxy" not in servers.sh("one", "dpkg-query -W -f '${Package}\\n'")
    assert "nospof" not in servers.sh("one", "nft list tables 2>/dev/null; ls /var/lib /etc")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("address: 198.18.1.2}", "address: 198.18.1.2, port: 2222}", "ssh to it by hand must work"),
        ("address: 198.18.1.2}", "address: 198.18.1.2, user: nobody-there}", "Permission denied"),
        ("address: 198.18.1.2}", "address: 198.18.1.99}", "ssh to it by hand must work"),
        ("admin: [198.18.0.0/15]", "admin: [203.0.113.0/24]", "you come from 198.18.255.1, and `admin:` has 203.0.113.0/24"),
    ],
)
def test_server_that_cannot_be_reached_again_is_not_begun(
    servers: PlainServers, tmp_path: Path, old: str, new: str, said: str
) -> None:
    wrong = with_the_shop(tmp_path, STACK)
    wrong.edit(old, new)
    assert said in wrong.nospof("preflight", code=1)


def test_key_that_nobody_knows_is_not_trusted(servers: PlainServers, site: LiveSite, monkeypatch: pytest.MonkeyPatch) -> None:
    known = servers.folder / "known_hosts"
    kept = known.read_text()
    known.write_text("".join(line for line in kept.splitlines(keepends=True) if not line.startswith("198.18.1.2 ")))
    try:
        said = site.nospof("preflight", code=1)
    finally:
        known.write_text(kept)
    assert "Host key verification failed" in said
    assert "ssh to two once by hand" in said


def test_password_of_sudo_is_asked_for_and_is_nowhere_to_be_seen(
    servers: PlainServers, site: LiveSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for host, _ in HOSTS:
        servers.sh(host, f"echo '{USER} ALL=(ALL) ALL' >/etc/sudoers.d/{USER}")
    answers = tmp_path / "answers"
    answers.write_text(f"#!/bin/sh\necho '{WORD}'\n")
    answers.chmod(0o700)
    try:
        assert "sudo asks for a password, and there is no terminal" in without_terminal(site, "preflight")
        monkeypatch.setenv("NOSPOF_ASKPASS", str(answers))
        said = site.nospof("preflight")
        answers.write_text("#!/bin/sh\necho wrong\n")
        assert "the password is wrong, or the user may not become root" in site.nospof("preflight", code=1)
    finally:
        for host, _ in HOSTS:
            servers.sh(host, f"echo '{USER} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/{USER}")
    assert "packages" in said
    assert WORD not in servers.sh("one", "journalctl --quiet --output=cat")


def without_terminal(site: LiveSite, command: str) -> str:
    process = site.start(command, str(site.file))
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1, out + err
    return out + err


# --- taken -----------------------------------------------------------------------------------------------------------------
def test_up_that_is_killed_goes_on_and_ends_with_a_site(servers: PlainServers, site: LiveSite) -> None:
    process = site.start("up", str(site.file))
    assert process.stdout is not None
    assert any("base" in line for line in process.stdout)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    said = site.up_when_free()
    assert "the site answers: 200" in said
    assert "moving 198.18.0.1 away from" in said
    assert "found at" in said
    assert visit(servers).endswith("\n200")
    assert "nothing to change" in site.nospof("up")
    assert {entry["health"] for entry in site.settled_status()["tiers"]["database"]} == {"ok"}


def holder(servers: PlainServers) -> str:
    found = [host for host in ("one", "two") if servers.sh(host, "ip -oneline address show to 198.18.0.1")]
    assert len(found) == 1, found
    return found[0]


def test_network_in_which_no_vip_moves_is_found_before_a_host_dies(servers: PlainServers, site: LiveSite) -> None:
    """As in a cloud: whoever asks goes on asking the host that had the address first."""
    first, moved = holder(servers), site.folder / ".nospof/moved-vips"
    assert first in moved.read_text()
    moved.unlink()
    mac = servers.sh(first, "cat /sys/class/net/eth0/address").strip()
    servers.sh("three", f"ip neigh replace 198.18.0.1 lladdr {mac} dev eth0 nud permanent")
    try:
        said = site.nospof("up", code=1)
    finally:
        servers.sh("three", "ip neigh del 198.18.0.1 dev eth0")
    assert f"was not found there; {first} has it again" in said
    assert "options: {keepalived: {move: ./FOLDER}}" in said
    assert holder(servers) == first


@pytest.mark.long
def test_program_that_moves_the_vip_is_run_until_it_succeeds(servers: PlainServers, site: LiveSite) -> None:
    kept = site.file.read_text()
    folder = site.folder / "move"
    folder.mkdir()
    fails_first = "test -e /run/failed-once || { touch /run/failed-once; exit 7; }"
    (folder / "move-vip").write_text(f'#!/bin/sh\n{fails_first}\necho "$1 $NOSPOF_HOST" >>/run/moved\n')
    (folder / "move-vip").chmod(0o755)
    site.file.write_text(kept + "options: {keepalived: {move: ./move}}\n")
    said = site.nospof("up")
    assert "found at" in said
    now = holder(servers)
    assert wait_until(lambda: f"198.18.0.1 {now}" in servers.sh(now, "cat /run/moved || true"), 20)
    logged = servers.sh(now, "journalctl --quiet --output=cat --identifier=nospof-move-vip")
    assert "ended with 7: again in 2 s" in logged
    assert "move-vip 198.18.0.1: done" in logged
    site.file.write_text(kept)
    site.nospof("up")
    assert "move-vip" not in servers.sh(now, "grep -r move-vip /etc/keepalived /usr/lib/nospof || true")


def test_server_that_boots_again_is_as_it_was(servers: PlainServers, site: LiveSite) -> None:
    servers.lab.power_off("three")
    servers.lab.power_on("three")
    assert {entry["health"] for entry in site.settled_status(120)["tiers"]["database"]} == {"ok"}


def test_dark_server_keeps_nobody_from_changing_the_others(servers: PlainServers, site: LiveSite) -> None:
    servers.lab.power_off("three")
    site.set_options("load-balancer", max_connections_per_server=66)
    said = site.nospof("up", code=3)
    assert "three did not answer; every other host is as the file says" in said
    assert "66" in servers.sh("one", "cat /etc/haproxy/haproxy.cfg")
    servers.lab.power_on("three")
    site.nospof("up")
    site.settled_status(120)


def test_only_what_the_stack_needs_is_open_and_ssh_is(servers: PlainServers, site: LiveSite) -> None:
    for port, is_open in ((22, True), (443, True), (3306, False), (2379, False)):
        said = servers.sh("client", f"timeout 1 bash -c '</dev/tcp/198.18.1.1/{port}' 2>/dev/null && echo open || true")
        assert (said == "open\n") == is_open, port


LEAVE = """
import os, signal, socket, struct, subprocess, sys, time
workers = [int(pid) for pid in subprocess.check_output(["pgrep", "-P", sys.argv[1]], text=True).split()]
for worker in workers:
    os.kill(worker, signal.SIGSTOP)
for _ in range(60):
    one = socket.create_connection(("198.18.1.1", 8000))
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.send(b"hello")
    one.close()
for worker in workers:
    os.kill(worker, signal.SIGCONT)
time.sleep(2)
left = [int(pid) for pid in subprocess.check_output(["pgrep", "-P", sys.argv[1]], text=True).split()]
print("as before" if left == workers else f"{workers} became {left}")
"""


def test_callers_who_leave_before_their_turn_end_no_worker(servers: PlainServers, site: LiveSite) -> None:
    """Incident: health checks that had waited too long ended each new worker of a busy application at once, for ever."""
    main = servers.sh("one", "systemctl show --property=MainPID --value nospof-app.service").strip()
    assert servers.sh("one", f"python3 - {main} <<'END'\n{LEAVE}\nEND") == "as before\n"
    assert visit(servers).endswith("\n200")


def test_log_and_shell(servers: PlainServers, site: LiveSite) -> None:
    said = site.start("logs", str(site.file), "app", "-n", "5").communicate(timeout=60)[0]
    assert "one gunicorn[" in said
    assert "two gunicorn[" in said
    assert site.start("shell", str(site.file), "two", "--", "id", "-un").communicate(timeout=60)[0] == "root\n"


def test_firewall_that_would_shut_us_out_is_undone_by_the_host(servers: PlainServers, site: LiveSite) -> None:
    site.edit("admin: [198.18.0.0/15]", "admin: [203.0.113.0/24]")
    begun = time.monotonic()
    said = site.nospof("up", code=3, shorter={"nospof.apply.rollout.GUARD_S": 25})
    assert "no new connection to one, three, two since the firewall changed there" in said
    assert "puts its old rules back by itself" in said
    site.edit("admin: [203.0.113.0/24]", "admin: [198.18.0.0/15]")

    def lets_us_in() -> bool:
        entering = [site.start("shell", str(site.file), host, "--", "true") for host, _ in HOSTS]
        return {process.wait(60) for process in entering} == {0}

    assert wait_until(lets_us_in, 90, step_s=1)
    assert time.monotonic() - begun < 240
    assert visit(servers).endswith("\n200")
    for shown in ("nft list ruleset", "cat /etc/nospof/firewall.nft"):
        assert "198.18.0.0/15" in servers.sh("one", shown)
    site.nospof("up")
    assert "nothing to change" in site.nospof("plan")


PHASES = ("asking the hosts", "checking everything", "  app", "  load-balancer", "closing")


def _attacks() -> Iterator[object]:
    """Each kind in each phase."""
    for phase in PHASES:
        for kind in ("killed", "cut off", "booted"):
            yield pytest.param(kind, phase, id=f"{kind}-{phase.strip()}")


@pytest.mark.long  # the very first `up` is killed, too
@pytest.mark.parametrize(("kind", "phase"), list(_attacks()))
def test_up_that_is_disturbed_in_any_phase_is_finished_by_the_next_and_the_site_serves_all_along(
    servers: PlainServers, site: LiveSite, kind: str, phase: str
) -> None:
    number = next(NUMBERS)
    site.set_options("load-balancer", max_connections_per_server=100 + number)
    site.set_options("app", timeout_s=50 + number)
    with visited(servers) as failed:
        process = site.start("up", str(site.file))
        assert process.stdout is not None
        assert any(phase in line for line in process.stdout)
        if kind == "killed":
            os.killpg(process.pid, signal.SIGKILL)
        elif kind == "booted":
            servers.lab.power_off("two")
            servers.lab.power_on("two")
        with cut_off(servers) if kind == "cut off" else nullcontext():
            out, err = process.communicate(timeout=180)
        assert "Traceback" not in out + err
        assert process.returncode == 3 or kind != "cut off", out + err
        site.up_when_free(tries=10)
        site.settled_status(120)
    assert "nothing to change" in site.nospof("plan")
    for host in ("one", "two"):
        assert f"maxconn {100 + number}\n" in servers.sh(host, "cat /etc/haproxy/haproxy.cfg")
    # A server without power has what it had in its hands: a visit, and the one that waits for the VIP.
    assert len(failed) <= (2 if kind == "booted" else 0), failed


NUMBERS = count(1)
VISITS = """
rm -f /run/no-more-visits
while [ ! -e /run/no-more-visits ]; do
    curl -sk -m 35 -o /dev/null -w '%{http_code} %{errormsg}\\n' --resolve small.example.com:443:198.18.0.1 \\
        https://small.example.com/ || true
    sleep 0.1
done
"""


@contextmanager
def visited(servers: PlainServers) -> Iterator[list[str]]:
    """The site is visited all the time, from a server that is never disturbed; the list gets what failed, at the end."""
    failed: list[str] = []
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(servers.lab.run, "three", ("sh", "-euc", VISITS), b"", 600.0)
        try:
            yield failed
        finally:
            servers.sh("three", "touch /run/no-more-visits")
        outcome = asking.result()
    assert isinstance(outcome, Finished), outcome
    said = outcome.stdout.decode().splitlines()
    assert said
    failed += [line for line in said if not line.startswith("200 ")]


@contextmanager
def cut_off(servers: PlainServers) -> Iterator[None]:
    """Nothing passes between the client, through whose network ssh goes, and the servers."""
    servers.lab.cut(["client"], None, name="lost")
    try:
        yield
    finally:
        servers.lab.mend("lost")


def test_second_controller_without_the_secrets_is_refused(servers: PlainServers, site: LiveSite, tmp_path: Path) -> None:
    other = with_the_shop(tmp_path, STACK)
    said = other.nospof("up", code=1)
    assert f"belongs to stack {site.name}" in said
    assert "put its .nospof/ folder back beside the file" in said


# --- given back -----------------------------------------------------------------------------------------------------------
def test_server_taken_out_of_the_file_is_cleared(servers: PlainServers, site: LiveSite) -> None:
    kept = site.file.read_text()
    site.set_options("load-balancer", hosts=["one"], mode=None)
    site.set_options("app", hosts=["one"])
    site.set_options("database", hosts=["one", "three"], witness=None)
    site.edit("  two: {zone: b, address: 198.18.1.2}\n", "")
    assert "remove  host     two" in site.nospof("plan")
    said = site.nospof("up")
    assert "stopped and removed; data stays in " in said
    assert "nospof" not in servers.sh(
        "two", "nft list tables; systemctl list-units --plain --no-legend --state=active 'nospof*'"
    )
    # The VIP's last holder starts keepalived anew, without the other.
    assert wait_until(lambda: visit(servers).endswith("\n200"), 60, step_s=1)
    site.file.write_text(kept)


def test_down_asks_for_the_name_and_keeps_the_data(servers: PlainServers, site: LiveSite) -> None:
    assert f"nospof down {site.file} --name {site.name}" in site.nospof("down", code=2)
    said = site.nospof("down", "--name", site.name)
    assert "data and packages stay on the servers" in said
    units = servers.sh("one", "systemctl list-units --plain --no-legend --state=active 'nospof*' haproxy.service 'mariadb*'")
    assert units == ""
    assert servers.sh("one", "nft list tables") == ""
    assert servers.sh("one", "ls /var/lib/mysql | head -1") != ""
    assert "there is nothing to take down" in site.nospof("down")
