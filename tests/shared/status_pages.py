"""A status page of the example with figures as its hosts would tell them, all well but for what a test changes."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

from live_site import EXAMPLE

from nospof.component import Component, Context, Facts
from nospof.onhost.page.config import Config, config_of
from nospof.onhost.page.figures import parse
from nospof.onhost.page.judge import Picture, picture
from nospof.onhost.page.seen import Board, Now
from nospof.resolve import Allotment, resolve
from nospof.stack.load import load
from nospof.topology import InstanceId, Topology

FACTS = Facts("3.13", "13.1", "x86_64", "host0", 16, 524288, 4096, 4)
STATUS = "  status: {component: status-page, hosts: [lb1, lb2]}\n"
START = Now(1000.0, 1_795_962_000.0)


def with_status(mode: str = "active-passive") -> Topology:
    """The example with a status page behind its load balancers."""
    text = (EXAMPLE / "stack.yaml").read_text().replace("to: web}", "to: [web, status]}").replace("active-passive", mode)
    kinds = {name: kind.settings_type for name, kind in Component.kinds.items()}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "app").symlink_to(EXAMPLE / "app")
        file = Path(folder) / "stack.yaml"
        file.write_text(text.replace("tiers:\n", f"tiers:\n{STATUS}", 1))
        resolved = resolve(load(file, kinds), Allotment())
    assert not resolved.problems
    return resolved.topology


def told(topology: Topology, host: str = "lb1") -> dict[str, Any]:
    """What the page on `host` is told."""
    me = topology.instance(InstanceId("status", host))
    here = Context(topology, me, FACTS, {"database/first-primary": "db1"}, {"base/onhost": "0123456789abcdef" * 4})
    files = {file.path: file.text for file in Component.kinds[me.component](me).parts(here).files}
    found: dict[str, Any] = json.loads(files["/etc/nospof/status/page.json"])
    return found


@dataclasses.dataclass
class Told:
    """The figures of one host by their whole names."""

    figures: dict[str, float]

    def text(self) -> str:
        return "".join(f"{name} {value}\n" for name, value in self.figures.items())


class Stage:
    """A page on lb1 and what it hears. `hosts` may be changed before the next `hear`; a host that is None is dark."""

    def __init__(self, topology: Topology | None = None, me: str = "lb1") -> None:
        self.config: Config = config_of(told(topology or with_status(), me))
        self.now = START
        self.board = Board(self.config, START)
        self.asked = 0.0
        self.still: set[str] = set()
        """Hosts that tell what they told before."""
        self.hosts: dict[str, Told | None] = {host.name: self._well(host.name) for host in self.config.hosts}

    def hear(self, seconds: float = 2.0) -> Picture:
        """Time passes, everybody is asked once, and a picture is made."""
        self.now = Now(self.now.mono_s + seconds, self.now.at + seconds)
        self.asked += 120 * seconds
        for name, figures in self.hosts.items():
            if figures is None:
                self.board.missed(name, "no answer within 2 s")
                continue
            if name not in self.still:
                figures.figures["nospof_measured_at_seconds"] = self.now.at
            self.board.heard(name, parse(figures.text()), self.now)
        for where in self.config.counting:
            if self.hosts[where.host] is None:
                continue
            of = ",".join(f'{name}="{value}"' for name, value in where.labels.items())
            count = self.asked if where.host == "lb1" else 0
            text = f'{where.figure}{{{of},code="2xx"}} {count}\n{where.figure}{{{of},code="5xx"}} 0\nother{{{of}}} 9\n'
            self.board.counted(where, parse(text), self.now)
        self.board.tick(self.now)
        return self.picture()

    def picture(self) -> Picture:
        return picture(self.config, self.board.seen(self.now))

    def set(self, host: str, name: str, value: float | None) -> None:
        """Another value of a figure; None: it is not told."""
        told = self.hosts[host]
        assert told is not None
        if value is None:
            del told.figures[name]
        else:
            told.figures[name] = value

    def _well(self, host: str) -> Told:
        figures = {
            f'nospof_instance_up{{tier="{tier.name}"}}': 1.0
            for tier in self.config.tiers
            for name in tier.hosts
            if name == host
        }
        for vip in self.config.vips:
            figures[f'nospof_vip_held{{name="{vip.name}",address="{vip.address}"}}'] = float(host == vip.hosts[0])
        figures["nospof_firewall_in_force"] = 1.0
        figures['nospof_certificate_ends_seconds{tier="ca",path="/etc/nospof/tls/ca.pem"}'] = START.at + 1e8
        if host in ("db1", "db2", "w1"):
            figures |= {
                'nospof_database_takes_writes{tier="database"}': float(host == "db1"),
                'nospof_database_fit_for_reads{tier="database"}': float(host != "w1"),
                'nospof_database_fit_for_promotion{tier="database"}': float(host == "db2"),
                'nospof_database_term{tier="database"}': 1.0,
                'nospof_database_queries_per_second{tier="database"}': 31.5 if host == "db1" else 4.0,
            }
            if host != "db1":
                figures['nospof_database_lag_seconds{tier="database"}'] = 0.0
        figures["nospof_measured_every_seconds"] = 15.0
        figures["nospof_measured_at_seconds"] = START.at
        return Told(figures)
