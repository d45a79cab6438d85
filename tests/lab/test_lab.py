"""A lab of two hosts in two zones, real: what is promised of `nospof.lab.lab.Lab` while all goes well, and in faults."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nospof.apply.transport import Finished, Outcome, Unknown, Unreachable
from nospof.errors import Failed, WrongInput
from nospof.lab import lock
from nospof.lab.cgroup import FORWARDER, tree
from nospof.lab.lab import HostState, Lab, LabHost, LabPlan
from nospof.lab.machine import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")]

WEB1, WEB2 = LabHost("web1", "a", "198.18.1.1"), LabHost("web2", "b", "198.18.1.2")


def quiet(host: str, what: str) -> None:
    """Take progress and say nothing."""


def plan(name: str, *hosts: LabHost) -> LabPlan:
    return LabPlan(name, hosts or (WEB1, WEB2), (), (("198.18.1.1", 80),))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = Lab.open(f"test-{secrets.token_hex(3)}")
    try:
        made.up(plan(made.places.lab), quiet)
        yield made
    finally:
        made.down()


def output(outcome: Outcome) -> str:
    assert isinstance(outcome, Finished), outcome
    assert outcome.exit_code == 0, outcome
    return outcome.stdout.decode().strip()


def code(outcome: Outcome) -> int:
    assert isinstance(outcome, Finished), outcome
    return outcome.exit_code


def sh(lab: Lab, host: str, script: str) -> str:
    return output(lab.run(host, ["sh", "-euc", script]))


def from_client(lab: Lab, program: str) -> str:
    """Run Python of this machine with the client's network alone; returns what it printed."""
    argv = lab.network_argv("client", [sys.executable, "-c", program])
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True).stdout.strip()


def test_hosts_of_different_zones_and_the_client_reach_each_other(lab: Lab) -> None:
    for host, address in (("web1", "198.18.1.2"), ("web2", "198.18.255.1"), ("client", "198.18.1.1")):
        assert "1 received" in sh(lab, host, f"ping -c1 -W2 {address}")


def test_host_has_its_name_its_address_and_no_way_out(lab: Lab) -> None:
    assert lab.host_names() == ("web1", "web2", "client")
    assert sh(lab, "web2", "hostname") == "web2"
    assert sh(lab, "web2", "getent hosts web2 | cut -d' ' -f1") == "198.18.1.2"
    assert "default" not in sh(lab, "web2", "ip route")
    assert sh(lab, "web2", "wc -c </etc/resolv.conf") == "0"


def test_hosts_differ_in_machine_id_and_keep_their_hardware_address(lab: Lab) -> None:
    assert sh(lab, "web1", "cat /etc/machine-id") != sh(lab, "web2", "cat /etc/machine-id")
    assert sh(lab, "web1", "cat /sys/class/net/eth0/address 2>/dev/null || ip -o link show eth0").count("02:00:c6:12:01:01")


def test_run_gives_exit_code_output_and_errors_apart(lab: Lab) -> None:
    outcome = lab.run("web1", ["sh", "-c", "cat; echo oops >&2; exit 7"], stdin=b"in\0put")
    assert outcome == Finished(7, b"in\0put", b"oops\n")


def test_run_passes_arguments_as_they_are(lab: Lab) -> None:
    assert lab.run("web1", ["printf", "%s|", "a b", "$HOME", "", "'"]) == Finished(0, b"a b|$HOME||'|", b"")


def test_run_of_what_is_not_installed_is_a_finished_command(lab: Lab) -> None:
    assert code(lab.run("web1", ["no-such-program"])) == 127


def test_run_hands_on_no_descriptor_of_ours(lab: Lab) -> None:
    assert sh(lab, "web1", "ls /proc/self/fd").split() == ["0", "1", "2", "3"]  # 3 is the folder that ls reads


def test_command_that_does_not_end_is_unknown_and_is_ended(lab: Lab) -> None:
    before = time.monotonic()
    assert isinstance(lab.run("web1", ["sleep", "4711"], timeout_s=0.3), Unknown)
    assert time.monotonic() - before < 2
    assert wait_until(lambda: lab.run("web1", ["pgrep", "-f", "[s]leep 4711"]) == Finished(1, b"", b""), 5)


def test_command_runs_in_the_hosts_control_group(lab: Lab) -> None:
    assert "0::/init.scope" in sh(lab, "web1", "cat /proc/self/cgroup")


def test_command_cannot_set_the_machines_clock(lab: Lab) -> None:
    # CAP_SYS_TIME is bit 25; asked, not tried.
    bounding = int(sh(lab, "web1", "sed -n 's/^CapBnd:\\s*//p' /proc/self/status"), 16)
    assert not bounding & (1 << 25)
    assert bounding & (1 << 12)  # CAP_NET_ADMIN


def test_host_that_is_not_there_is_unreachable_or_wrong(lab: Lab) -> None:
    assert isinstance(lab.run("web9", ["true"]), Unreachable)
    with pytest.raises(WrongInput, match="web9"):
        lab.power_off("web9")


def test_enter_gives_the_exit_code(lab: Lab) -> None:
    assert lab.enter("web1", ["sh", "-c", "exit 9"]) == 9


def test_enter_leaves_the_terminal_to_the_program(lab: Lab) -> None:
    program = f"import sys; from nospof.lab.lab import Lab; sys.exit(Lab.open({lab.places.lab!r}).enter('web1'))"
    typed = b"tty >/dev/null; test -t 0 && hostname; exit 5\n"
    argv = ["script", "--quiet", "--return", "--command", f'{sys.executable} -c "{program}"', "/dev/null"]
    done = subprocess.run(argv, input=typed, capture_output=True, timeout=20, check=False)
    assert b"\rweb1\r" in done.stdout
    assert done.returncode == 5


def test_host_keeps_its_own_sysctls_over_a_power_cut(lab: Lab) -> None:
    sh(lab, "web2", "mkdir -p /etc/sysctl.d; echo net.ipv4.ip_nonlocal_bind=1 >/etc/sysctl.d/60-vip.conf; sync")
    lab.power_off("web2")
    lab.power_on("web2")
    assert sh(lab, "web2", "cat /proc/sys/net/ipv4/ip_nonlocal_bind") == "1"
    assert sh(lab, "web1", "cat /proc/sys/net/ipv4/ip_nonlocal_bind") == "0"


def test_firewall_conntrack_and_vrrp_work_in_a_host(lab: Lab) -> None:
    sh(lab, "web2", "nft 'add table inet t; add chain inet t c { type filter hook input priority 0; }'")
    sh(lab, "web2", "nft 'add rule inet t c ct state established accept; add rule inet t c ip protocol 112 counter'")
    send = "import socket; socket.socket(2, 3, 112).sendto(b'x' * 20, ('198.18.1.2', 0))"
    sh(lab, "web1", f'python3 -c "{send}"')
    assert wait_until(lambda: "counter packets 1 " in sh(lab, "web2", "nft list table inet t"), 3)
    sh(lab, "web2", "nft delete table inet t")


def test_power_cut_loses_what_was_not_synced_and_keeps_what_was(lab: Lab) -> None:
    sh(lab, "web1", "echo kept >/root/kept; sync /root/kept /root; echo lost >/root/lost")
    lab.power_off("web1")
    assert lab.state("web1") is HostState.OFF
    lab.power_on("web1")
    assert lab.state("web1") is HostState.RUNNING
    assert sh(lab, "web1", "cat /root/kept") == "kept"
    # Its name may be there, if the journal was written just then; what is in it was on no disk.
    assert sh(lab, "web1", "cat /root/lost 2>/dev/null || true") == ""


def test_power_cut_takes_away_what_only_the_kernel_knew(lab: Lab) -> None:
    sh(lab, "web1", "ip addr add 198.18.0.100/32 dev eth0; nft add table inet gone")
    lab.power_off("web1")
    lab.power_on("web1")
    assert "198.18.0.100" not in sh(lab, "web1", "ip addr")
    assert "gone" not in sh(lab, "web1", "nft list ruleset")


def test_log_survives_a_power_cut(lab: Lab) -> None:
    sh(lab, "web1", "logger last-words")
    assert wait_until(lambda: "last-words" in sh(lab, "web1", "journalctl --no-pager -n 20"), 5)
    time.sleep(1.5)  # the journal is synced every second; nothing tells when
    lab.power_off("web1")
    lab.power_on("web1")
    assert "last-words" in sh(lab, "web1", "journalctl --no-pager --boot=-1 | cat")


def test_dark_host_is_silent_where_a_running_one_refuses(lab: Lab) -> None:
    connect = "import socket\ns = socket.socket(); s.settimeout(1)\nprint(s.connect_ex(('198.18.1.2', 81)))"
    assert from_client(lab, connect) == "111"  # ECONNREFUSED
    lab.power_off("web2")
    assert from_client(lab, connect) == "11"  # EAGAIN: timed out
    lab.power_on("web2")


def test_open_connection_to_a_host_that_goes_dark_is_not_reset(lab: Lab) -> None:
    serve = "import socket, time; s = socket.create_server(('', 82)); c = s.accept(); time.sleep(600)"
    sh(lab, "web2", f'systemd-run --quiet --unit=silent-server python3 -c "{serve}"')
    talk = (
        "import socket, sys, time\n"
        "for _ in range(100):\n"
        "    s = socket.socket(); s.settimeout(1)\n"
        "    if s.connect_ex(('198.18.1.2', 82)) == 0: break\n"
        "    time.sleep(0.05)\n"
        "print('open', flush=True); sys.stdin.readline(); s.send(b'x')\n"
        "try: print(s.recv(1))\n"
        "except TimeoutError: print('silence')\n"
    )
    argv = lab.network_argv("client", [sys.executable, "-c", talk])
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as peer:
        assert peer.stdin is not None
        assert peer.stdout is not None
        assert peer.stdout.readline() == "open\n"
        lab.power_off("web2")
        assert peer.communicate("go\n", timeout=10)[0] == "silence\n"
    lab.power_on("web2")


def test_power_off_is_quick_and_tells_when(lab: Lab) -> None:
    before = time.monotonic()
    silent_at = lab.power_off("web2")
    after = time.monotonic()
    assert before < silent_at <= after
    assert after - silent_at < 0.1
    assert isinstance(lab.run("web2", ["true"]), Unreachable)
    lab.power_on("web2")


def test_command_that_is_cut_off_is_unknown(lab: Lab) -> None:
    lab_name = lab.places.lab
    cutter = f"import time; from nospof.lab.lab import Lab; time.sleep(0.5); Lab.open({lab_name!r}).power_off('web2')"
    with subprocess.Popen([sys.executable, "-c", cutter]):
        assert isinstance(lab.run("web2", ["sleep", "30"], timeout_s=20), Unknown)
    lab.power_on("web2")


def test_power_on_of_a_running_host_changes_nothing(lab: Lab) -> None:
    boot = sh(lab, "web1", "cat /proc/sys/kernel/random/boot_id")
    lab.power_on("web1")
    assert sh(lab, "web1", "cat /proc/sys/kernel/random/boot_id") == boot


def test_host_that_turned_itself_off_is_off_and_comes_back(lab: Lab) -> None:
    lab.run("web2", ["systemctl", "poweroff", "--no-block"])
    assert wait_until(lambda: lab.state("web2") is HostState.OFF, 20)
    lab.power_on("web2")
    assert lab.state("web2") is HostState.RUNNING


def test_host_that_reboots_itself_comes_back(lab: Lab) -> None:
    boot = sh(lab, "web2", "cat /proc/sys/kernel/random/boot_id")
    lab.run("web2", ["systemctl", "reboot", "--no-block"])
    again = ["cat", "/proc/sys/kernel/random/boot_id"]
    assert wait_until(lambda: lab.run("web2", again, timeout_s=5) not in (Finished(0, boot.encode() + b"\n", b""),), 20)
    assert wait_until(lambda: lab.state("web2") is HostState.RUNNING, 20, step_s=0.1)
    assert sh(lab, "web2", "cat /proc/sys/kernel/random/boot_id") != boot
    assert "1 received" in sh(lab, "web2", "ping -c1 -W2 198.18.1.1")


def test_frozen_host_does_not_answer_and_goes_on_when_thawed(lab: Lab) -> None:
    lab.freeze("web2")
    assert lab.state("web2") is HostState.FROZEN
    assert isinstance(lab.run("web2", ["touch", "/root/while-frozen"], timeout_s=0.3), Unreachable)
    lab.thaw("web2")
    assert lab.state("web2") is HostState.RUNNING
    # Unreachable promises that nothing has happened, then or later.
    assert lab.run("web2", ["test", "-e", "/root/while-frozen"]) == Finished(1, b"", b"")


def test_pulled_cable_cuts_the_host_off_but_not_us(lab: Lab) -> None:
    lab.link("web2", is_up=False)
    assert code(lab.run("web1", ["ping", "-c1", "-W1", "198.18.1.2"])) == 1
    assert "NO-CARRIER" in sh(lab, "web2", "ip link show eth0")
    lab.link("web2", is_up=True)
    assert "1 received" in sh(lab, "web1", "ping -c1 -W2 198.18.1.2")


HEAR = """\
import socket
hears = socket.socket(type=socket.SOCK_DGRAM)
hears.bind(("", 5000))
hears.settimeout(1)
hears.recv(9)
"""
SAY = """\
import socket, sys, time
says = socket.socket(type=socket.SOCK_DGRAM)
for _ in range(30):
    says.sendto(b"something", (sys.argv[1], 5000))
    time.sleep(0.05)
"""


def test_cut_drops_what_goes_one_way_or_both_or_to_some_ports_only(lab: Lab) -> None:
    def hears(receiver: str, sender: str, address: str) -> bool:
        with ThreadPoolExecutor(1) as pool:
            saying = pool.submit(lab.run, sender, ["python3", "-c", SAY, address])
            is_heard = code(lab.run(receiver, ["python3", "-c", HEAR])) == 0
            assert code(saying.result()) == 0
        return is_heard

    lab.cut(["web1"], ["web2"], one_way=True)
    assert not hears("web2", "web1", "198.18.1.2")
    assert hears("web1", "web2", "198.18.1.1")
    lab.mend()
    lab.cut(["web1"], ["web2"], ports=[4000])
    assert hears("web2", "web1", "198.18.1.2")
    lab.cut(["web1"], ["web2"])
    assert code(lab.run("web1", ["ping", "-c1", "-W1", "198.18.1.2"])) == 1
    lab.up(plan(lab.places.lab), quiet)
    assert "1 received" in sh(lab, "web1", "ping -c1 -W2 198.18.1.2")


def test_zone_that_is_cut_off_keeps_together(lab: Lab) -> None:
    lab.up(plan(lab.places.lab, WEB1, WEB2, LabHost("web3", "b", "198.18.1.4")), quiet)
    lab.zone_link("b", is_up=False)
    assert code(lab.run("web1", ["ping", "-c1", "-W1", "198.18.1.2"])) == 1
    assert "1 received" in sh(lab, "web3", "ping -c1 -W2 198.18.1.2")
    lab.zone_link("b", is_up=True)
    assert "1 received" in sh(lab, "web1", "ping -c1 -W2 198.18.1.2")
    lab.up(plan(lab.places.lab), quiet)


def test_stalled_disk_holds_writes_and_the_host_can_still_be_cut(lab: Lab) -> None:
    lab.stall_disk("web2", is_stalled=True)
    assert isinstance(lab.run("web2", ["sh", "-c", "echo x >/root/x; sync"], timeout_s=0.5), Unknown)
    lab.stall_disk("web2", is_stalled=False)
    assert sh(lab, "web2", "sync; echo ok") == "ok"
    lab.stall_disk("web2", is_stalled=True)
    lab.power_off("web2")
    lab.power_on("web2")
    assert lab.state("web2") is HostState.RUNNING


def test_host_that_was_killed_while_its_disk_was_stalled_boots_again(lab: Lab) -> None:
    """The file system stayed frozen without a mount, held its loop device, and neither up nor down could go on."""
    lab.stall_disk("web2", is_stalled=True)
    tree().group(lab.places.lab, "web2").kill()
    lab.power_off("web2")
    lab.power_on("web2")
    assert lab.state("web2") is HostState.RUNNING


def test_forwarder_relays_and_up_brings_it_back_on_the_same_port(lab: Lab) -> None:
    sh(lab, "web1", "mkdir -p /srv/www; echo hello >/srv/www/index.html; sync")
    serve = "python3 -m http.server --bind 198.18.1.1 --directory /srv/www 80"
    sh(lab, "web1", f"systemd-run --quiet --unit=www {serve}")
    port = lab.url_port
    url = f"http://127.0.0.1:{port}/"
    assert wait_until(lambda: fetch(url) == b"hello\n", 5, step_s=0.1)
    (relay,) = tree().group(lab.places.lab, FORWARDER).processes()
    os.kill(relay, signal.SIGINT)  # as Ctrl-C in the terminal of `nospof up` would
    assert fetch(url) == b"hello\n"
    os.kill(relay, signal.SIGKILL)
    assert wait_until(lambda: fetch(url) is None, 5)
    lab.up(plan(lab.places.lab), quiet)
    assert lab.url_port == port
    assert fetch(url) == b"hello\n"


def fetch(url: str) -> bytes | None:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bytes(answer.read())
    except OSError:
        return None


def test_second_up_changes_nothing_and_heals_what_was_broken(lab: Lab) -> None:
    boot = sh(lab, "web1", "cat /proc/sys/kernel/random/boot_id")
    lab.freeze("web1")
    lab.link("web1", is_up=False)
    lab.power_off("web2")
    said: list[tuple[str, str]] = []
    lab.up(plan(lab.places.lab), lambda host, what: said.append((host, what)))
    assert sh(lab, "web1", "cat /proc/sys/kernel/random/boot_id") == boot
    assert "1 received" in sh(lab, "web1", "ping -c1 -W2 198.18.1.2")
    assert [host for host, what in said if what == "boots"] == ["web2"]


def test_host_that_is_added_and_one_that_is_removed(lab: Lab) -> None:
    db1 = LabHost("db1", "c", "198.18.1.3")
    lab.up(plan(lab.places.lab, WEB1, WEB2, db1), quiet)
    assert "1 received" in sh(lab, "db1", "ping -c1 -W2 198.18.1.1")
    lab.up(plan(lab.places.lab), quiet)
    assert lab.host_names() == ("web1", "web2", "client")
    assert "db1" in lab.unplanned()
    assert "1 received" in sh(lab, "web1", "ping -c1 -W2 198.18.1.3")
    lab.trim(quiet)
    assert lab.unplanned() == ()
    assert not lab.places.host("db1").folder.exists()
    assert isinstance(lab.run("db1", ["true"]), Unreachable)


def test_package_that_the_image_lacks_is_refused(lab: Lab) -> None:
    other = LabPlan(lab.places.lab, (WEB1, WEB2), ("haproxy",), ())
    with pytest.raises(Failed, match="with another image, without haproxy"):
        lab.up(other, quiet)


def test_second_up_at_once_says_who_holds_the_lab(lab: Lab) -> None:
    with lock.whole_lab(lab.places, "up"), pytest.raises(Failed, match=rf"`up` by process {os.getpid()} since \d\d:\d\d:\d\d"):
        lab.up(plan(lab.places.lab), quiet)


def test_two_hosts_can_be_cut_at_once_but_not_during_up(lab: Lab) -> None:
    with lock.one_host(lab.places, "web1", "power off"):
        lab.power_off("web2")
    with lock.whole_lab(lab.places, "up"), pytest.raises(Failed, match="`up` by process"):
        lab.power_on("web2")
    lab.power_on("web2")


def test_host_that_does_not_boot_is_told_with_its_console() -> None:
    broken = Lab.open(f"test-{secrets.token_hex(3)}")
    try:
        broken.up(plan(broken.places.lab), quiet)
        sh(broken, "web1", "rm /sbin/init /usr/lib/systemd/systemd; sync")
        broken.power_off("web1")
        with pytest.raises(Failed, match="web1 ended before it was up") as caught:
            broken.power_on("web1")
        assert "xec" in caught.value.detail
    finally:
        broken.down()
    assert not Path(broken.places.folder).exists()


def test_command_that_reads_late_gets_all_of_its_input(lab: Lab) -> None:
    """Incident: what did not fit into the pipe at first was never sent, and `up` hung while it sent a release."""
    assert sh_with(lab, "web1", "sleep 3; wc -c", b"x" * 1_000_000) == "1000000"


def sh_with(lab: Lab, host: str, script: str, stdin: bytes) -> str:
    return output(lab.run(host, ["sh", "-euc", script], stdin, timeout_s=20))
