"""Two load balancers that both work: an address each, both at the one that is left, and back; a visitor keeps his server."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from quiet_site import QuietSite

from nospof.drills.workloads.http_get import History, Load, running
from nospof.explain.dns import zone_lines
from nospof.lab.machine import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")]

PATIENT_S = 90.0
HOMES: dict[str, tuple[str, ...]] = {"load-balancer": ("lb1",), "load-balancer.2": ("lb2",)}
STACK = """\
name: {name}
domain: both.example.com
hosts:
  lb1: {{zone: a}}
  lb2: {{zone: b}}
  web1: {{zone: a}}
  web2: {{zone: b}}
tiers:
  load-balancer: {{component: haproxy, hosts: [lb1, lb2], mode: active-active, sticky: source, to: web}}
  web: {{component: nginx, hosts: [web1, web2], to: app}}
  app: {{component: gunicorn, hosts: [web1, web2], source: ./app, module: "app:app", requirements: ""}}
"""
APP = """
import socket

def app(environ, start_response):
    told = [("X-App-Server", socket.gethostname()), ("X-Load-Balancer", environ.get("HTTP_X_LOAD_BALANCER", ""))]
    start_response("200 OK", [("Content-Type", "text/plain"), *told])
    return [b"well"]
"""


class Both(QuietSite):
    def __init__(self, folder: Path) -> None:
        self.file = folder / "stack.yaml"
        self.file.write_text(STACK.format(name=f"t{secrets.token_hex(3)}"))
        (folder / "app").mkdir()
        (folder / "app/app.py").write_text(APP)

    def load(self) -> Load:
        site = self.deployment
        return Load(site.entrance_addresses, site.topology.domain, site.ca_file, rate=40.0, timeout_s=5.0)

    def ask(self, output: Path, *addresses: str) -> History:
        """A visitor asks at each address a few times, or only at some."""
        load = self.load()
        load = replace(load, addresses=addresses or load.addresses)
        with running(load, output, lambda argv: self.deployment.lab.network_argv("client", argv)) as run:
            wait_until(lambda: output.read_text().count("\n") > 8, PATIENT_S, step_s=0.05)
            return run.finish()

    def answers_from(self, server: str, output: Path, *addresses: str) -> bool:
        """Whether a visitor gets good answers of `server` and of nobody else, at both addresses or at some."""
        history = self.ask(output, *addresses)
        return not history.bad and set(history.servers("app")) == {server}

    def is_held_as(self, wanted: dict[str, tuple[str, ...]]) -> bool:
        return dict(self.deployment.status(10.0).holders) == wanted


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    both = Both(tmp_path_factory.mktemp("both"))
    try:
        both.up()
        yield both
    finally:
        both.down()


def test_each_load_balancer_has_an_address_of_its_own_and_answers_there(site: Both, tmp_path: Path) -> None:
    assert wait_until(lambda: site.is_held_as(HOMES), PATIENT_S, step_s=0.5), site.deployment.status().holders
    site.deployment.ask_entrance()

    found = site.ask(tmp_path / "load.jsonl").by_address()
    by = {vip.address: vip.home for vip in site.deployment.topology.vips}
    assert {address: set(history.servers("load-balancer")) for address, history in found.items()} == {
        address: {home} for address, home in by.items()
    }
    assert [line.split()[-1] for line in zone_lines(site.deployment.topology)] == sorted(by)


def test_visitor_stays_with_his_server_when_the_one_his_address_leads_to_is_back(site: Both, tmp_path: Path) -> None:
    """Only one load balancer saw him move, and what both compute from his address leads elsewhere: the table must be shared."""
    one = site.deployment.entrance_addresses[0]
    (first,) = site.ask(tmp_path / "first.jsonl").servers("app")
    other = {"web1": "web2", "web2": "web1"}[first]

    site.on(first, "systemctl", "stop", "nginx")
    assert wait_until(lambda: site.answers_from(other, tmp_path / "other.jsonl", one), PATIENT_S, step_s=0.5)
    site.on(first, "systemctl", "start", "nginx")
    state = f"echo 'show stat' | socat stdio /run/haproxy/admin.sock | grep ^app,{first}, | cut -d, -f18"
    balancers = ("lb1", "lb2")
    assert wait_until(lambda: {site.on(name, "sh", "-c", state) for name in balancers} == {"UP"}, PATIENT_S, step_s=0.5)

    assert site.answers_from(other, tmp_path / "after.jsonl")


def test_who_is_left_holds_both_and_every_visitor_is_answered_until_all_is_as_it_was(site: Both, tmp_path: Path) -> None:
    output = tmp_path / "load.jsonl"
    lab = site.deployment.lab
    (server,) = site.ask(tmp_path / "before.jsonl").servers("app")

    with running(site.load(), output, lambda argv: lab.network_argv("client", argv)) as run:
        cut = lab.power_off("lb1")
        on_lb2 = "ip -4 -o address show | grep -c ' 198.18.0.[12]/32'"
        assert wait_until(lambda: site.on("lb2", "sh", "-c", on_lb2) == "2", PATIENT_S, step_s=0.05)
        held = time.monotonic()
        # Neighbours hear of it at once, and again a second later.
        wait_until(lambda: time.monotonic() > held + 4, 5)
        back = time.monotonic()
        lab.power_on("lb1")
        assert wait_until(lambda: site.is_held_as(HOMES), PATIENT_S, step_s=0.5)
        home = time.monotonic()
        wait_until(lambda: time.monotonic() > home + 4, 5)
        history = run.finish()

    gaps = {address: one.longest_gap(cut, back).length_s for address, one in history.by_address().items()}
    said = f"both held after {held - cut:.2f} s, gaps {gaps}, home after {home - back:.1f} s, bad {dict(history.reasons())}"
    (tmp_path / "seen").write_text(said)
    while_one = history.between(held + 1, back)
    assert len(while_one.by_address()) == 2
    assert while_one.requests
    assert not while_one.bad, said
    assert set(while_one.servers("load-balancer")) == {"lb2"}
    at_last = history.between(home + 2)
    assert set(at_last.servers("load-balancer")) == {"lb1", "lb2"}
    assert not at_last.bad, said
    # The visitor's session outlived the takeover and the way back.
    assert set(history.servers("app")) == {server}
