"""etcd on three real hosts: one `up` from nothing, and what is left when members die, fall dark and come back.

The stack is the smallest that wants Consensus: a tier of a component of this file's own, which only gets a certificate and a
link to the voters, and a fourth host without one.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from quiet_site import QuietSite

from nospof import component as c
from nospof.lab.machine import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")]

VOTERS = ("a1", "b1", "c1")
PATIENT_S = 60.0
STACK = """\
name: {name}
domain: etcd.example.com
hosts:
  a1: {{zone: a}}
  b1: {{zone: b}}
  c1: {{zone: c}}
  x1: {{zone: a}}
tiers:
  decider: {{component: test-decider, hosts: [a1, b1, c1]}}
"""


class DeciderSettings(c.Settings):
    """None."""


class Decider(c.Component[DeciderSettings]):
    """Whoever asks etcd: it has a certificate, and links to the voters."""

    name = "test-decider"
    wants = (c.Wants(c.Consensus(), c.Place.THREE_ZONES),)
    connects = (c.Connect(c.ProviderOf(c.Consensus), c.Protocol.CONTROL, "agreement", is_required=False),)

    def parts(self, here: c.Context) -> c.Parts:
        return c.Parts(files=here.tls().files)


# Run on a host with the client that is shipped there. Prints JSON: what came back or the error's kind, and how long it took.
ASK = """
import json, sys, time
sys.path.insert(0, "/usr/lib/nospof/onhost")
from nospof.onhost.etcd import *
voters, timeout_s, calls = sys.argv[1].split(","), float(sys.argv[2]), json.loads(sys.argv[3])
stem = "/etc/nospof/tls/decider"
etcd = Etcd([(voter, 2379) for voter in voters], "/etc/nospof/tls/ca.pem", stem + ".crt", stem + ".key", timeout_s)
told = []
for name, *arguments in calls:
    begin = time.monotonic()
    try:
        answer = str(getattr(etcd, name)(*arguments))
    except EtcdError as error:
        answer = type(error).__name__
    told.append([answer, time.monotonic() - begin])
print(json.dumps(told))
"""


class Trio(QuietSite):
    """Three voters and a stranger, in a lab of their own."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "stack.yaml"
        self.write(STACK.format(name=f"t{secrets.token_hex(3)}"))

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def ask(self, host: str, *calls: tuple[object, ...], timeout_s: float = 2.0) -> list[str]:
        """What `calls` on the client return on `host`, as text."""
        told = json.loads(self.on(host, "python3", "-c", ASK, ",".join(self.order(host)), str(timeout_s), json.dumps(calls)))
        return [answer for answer, _ in told]

    def order(self, host: str) -> tuple[str, ...]:
        """The local voter first."""
        return tuple(sorted(VOTERS, key=lambda voter: (voter != host, voter)))

    def pids(self) -> dict[str, str]:
        return {host: self.on(host, "systemctl", "show", "--value", "-p", "MainPID", "etcd.service") for host in VOTERS}

    def health(self) -> dict[str, str]:
        states = self.deployment.status().instances
        return {state.host: state.health for state in states if state.component == "etcd"}

    def is_well(self) -> bool:
        return self.health() == dict.fromkeys(VOTERS, "ok")

    def heals(self) -> bool:
        for host in VOTERS:
            self.deployment.lab.power_on(host)
        return wait_until(self.is_well, PATIENT_S, 0.3)

    def reads(self, host: str, key: str, text: str) -> bool:
        return f"text='{text}'" in self.ask(host, ("get", key))[0]

    def eventually_reads(self, host: str, key: str, text: str) -> bool:
        return wait_until(partial(self.reads, host, key, text), PATIENT_S, 0.1)


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    trio = Trio(tmp_path_factory.mktemp("etcd"))
    try:
        assert trio.up()
        yield trio
    finally:
        trio.down()


@pytest.fixture(autouse=True)
def well(trio: Trio) -> None:
    """Every test begins with three voters that agree."""
    assert trio.heals()


def test_one_up_from_nothing_makes_three_voters_that_agree(trio: Trio) -> None:
    told = trio.ask("a1", ("status",))[0]
    assert all(f"name='{host}'" in told for host in VOTERS)
    assert trio.ask("a1", ("delete_prefix", "first/"), ("swap", "first/key", "one", 0))[1].startswith("Done(")
    assert all(trio.reads(host, "first/key", "one") for host in VOTERS)


def test_second_up_changes_nothing(trio: Trio) -> None:
    before = trio.pids()
    assert not trio.up()
    assert trio.pids() == before


def test_changed_setting_restarts_one_voter_after_the_other_and_loses_no_key(trio: Trio) -> None:
    trio.ask("a1", ("put", "rolling", "kept"))
    before = trio.pids()
    trio.edit("tiers:", "options: {etcd: {quota_mib: 96}}\ntiers:")
    assert trio.up()
    after = trio.pids()
    assert all(before[host] != after[host] for host in VOTERS)
    assert all(trio.reads(host, "rolling", "kept") for host in VOTERS)


def test_killed_member_comes_back_by_itself(trio: Trio) -> None:
    before = trio.pids()["b1"]
    trio.on("b1", "kill", "-9", before)
    assert wait_until(lambda: trio.pids()["b1"] not in ("0", before), PATIENT_S, 0.1)
    assert wait_until(trio.is_well, PATIENT_S, 0.3)


def test_one_dark_host_costs_nothing_but_its_own_vote(trio: Trio) -> None:
    trio.ask("b1", ("put", "dark", "before"))
    trio.deployment.lab.power_off("a1")
    assert trio.eventually_reads("b1", "dark", "before")
    assert trio.ask("c1", ("put", "dark", "during"))[0].isdigit()
    assert trio.heals()
    assert trio.eventually_reads("a1", "dark", "during")


def test_without_a_majority_the_client_says_so_and_waits_for_no_more_than_its_limits(trio: Trio) -> None:
    trio.ask("a1", ("put", "majority", "before"))
    trio.deployment.lab.power_off("b1")
    trio.deployment.lab.power_off("c1")
    assert wait_until(lambda: trio.ask("a1", ("get", "majority"), timeout_s=0.3)[0] == "Unreachable", PATIENT_S, 0.1)
    assert trio.ask("a1", ("swap", "majority", "after", 0), timeout_s=0.3)[0] in ("Unknown", "Unreachable")
    assert trio.health()["a1"] == "failed", "a voter that has had a majority is not well without one"
    assert trio.heals()
    assert all(trio.eventually_reads(host, "majority", "before") for host in VOTERS)


def test_keys_outlive_a_loss_of_power_of_all_three(trio: Trio) -> None:
    assert trio.ask("a1", ("put", "power", "before"))[0].isdigit()
    for host in VOTERS:
        trio.deployment.lab.power_off(host)
    assert trio.heals()
    assert all(trio.eventually_reads(host, "power", "before") for host in VOTERS)


def test_caller_without_a_certificate_is_refused(trio: Trio) -> None:
    url = ("--http1.1", "--max-time", "3", "--cacert", "/etc/nospof/tls/ca.pem", "https://b1:2379/health")
    mine = ("--cert", "/etc/nospof/tls/decider.crt", "--key", "/etc/nospof/tls/decider.key")
    assert trio.run("a1", "curl", "-sS", *mine, *url).exit_code == 0
    assert b"alert" in trio.run("a1", "curl", "-sS", *url).stderr


def test_client_is_no_peer(trio: Trio) -> None:
    """Its certificate is the stack's, and yet it cannot take part in the voting."""
    argv = ("curl", "-sS", "--http1.1", "--max-time", "3", "--cacert", "/etc/nospof/tls/ca.pem", "https://b1:2380/version")
    stem = "/etc/nospof/tls"
    assert trio.run("a1", *argv, "--cert", f"{stem}/etcd.crt", "--key", f"{stem}/etcd.key").exit_code == 0
    assert trio.run("a1", *argv, "--cert", f"{stem}/decider.crt", "--key", f"{stem}/decider.key").exit_code != 0


@pytest.mark.parametrize("port", [2379, 2380])
def test_host_without_a_link_is_dropped_by_the_firewall(trio: Trio, port: int) -> None:
    silent = 28  # curl's own number for "nothing came in time"; a port that is refused would be 7
    outcome = trio.run("x1", "curl", "-sS", "-k", "--connect-timeout", "2", f"https://b1:{port}/health")
    assert outcome.exit_code == silent


def test_voter_whose_data_is_gone_is_taken_in_as_a_new_member(trio: Trio) -> None:
    """Under its old number it would vote again on what it has voted on."""
    trio.ask("a1", ("put", "wiped", "kept"))
    before = trio.ask("a1", ("status",))[0]
    trio.on("c1", "systemctl", "stop", "etcd.service")
    trio.on("c1", "rm", "-rf", "/var/lib/etcd/nospof")
    trio.on("c1", "systemctl", "start", "etcd.service")
    assert wait_until(trio.is_well, PATIENT_S, 0.3)
    assert trio.reads("c1", "wiped", "kept")
    assert trio.ask("a1", ("members",))[0] not in before


def test_another_host_takes_the_place_of_one_that_leaves_the_stack(trio: Trio) -> None:
    """Last of this file: the stack is another one afterwards."""
    trio.ask("a1", ("put", "replaced", "kept"))
    trio.deployment.lab.power_off("c1")
    trio.edit("  c1: {zone: c}\n", "  d1: {zone: c}\n")
    trio.edit("[a1, b1, c1]", "[a1, b1, d1]")
    assert trio.up()
    told = trio.ask("d1", ("members",), ("get", "replaced"))
    assert "name='d1'" in told[0]
    assert "name='c1'" not in told[0]
    assert "text='kept'" in told[1]
    trio.edit("  d1: {zone: c}\n", "  c1: {zone: c}\n")
    trio.edit("[a1, b1, d1]", "[a1, b1, c1]")
    assert trio.up()
    assert wait_until(trio.is_well, PATIENT_S, 0.3)
