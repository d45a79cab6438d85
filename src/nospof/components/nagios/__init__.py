"""Nagios: looks at everything in the stack every few seconds, and tells people of what must not stay as it is.

Which hosts, services and checks there are follows from the topology. One program of nospof's own (nospof.onhost.nagios) is run
by Nagios for each look: it reads what every host tells of itself, asks for the site as a visitor would, and hands Nagios a
result for each service. On the hosts nothing of Nagios' runs, no NRPE either: what is asked is node_exporter, at a port that is
open to those who watch. Nagios decides what lasts and whom to tell; mails are written and sent by the same program.

Two or more watch side by side, and know nothing of each other: the first in the file tells people, each other one does where
those before it are not well. Limits: it keeps no figures; its web pages are not installed (they want Apache with CGI), so that
`nospof status` and its log show how it is; it tells of a tier and not also of each instance of it.
Source: https://assets.nagios.com/downloads/nagioscore/docs/nagioscore/4/en/ (configmain, objectdefinitions, passivechecks;
4.4.6 in Debian 13); reasons: docs/decisions/0025-figures-and-nagios.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from nospof import component as c
from nospof.components import alert_keys
from nospof.components.alert_keys import AlertKeys
from nospof.components.nagios import texts

UNIT_NAME = "nagios4.service"
FOLDER = "/etc/nospof/nagios"
CONFIG, OBJECTS, LOOK = f"{FOLDER}/nagios.cfg", f"{FOLDER}/objects.cfg", f"{FOLDER}/look.json"
USER = "nagios"
STATE, RUN = "nagios4", "nospof-nagios"
RESULTS = f"/var/lib/{STATE}/spool/checkresults"
COMMANDS = f"/run/{RUN}/nagios.cmd"
COLLECTED = ("textfile", "filesystem", "meminfo")
CA = "/etc/nospof/tls/ca.pem"
# Three looks must find the same before anybody is told: hosts look at themselves every 15 s, and a restart is over by then.
TIMES = 3
HTTPS = 443
HOST_SERVICES = ("certificates", "disks", "figures", "memory")


class NagiosSettings(c.Settings):
    alert: AlertKeys | None = c.Field(None, description="Who is told of alerts, and how. Without it nobody is.")
    every_s: int = c.Field(10, ge=5, le=60, description="Seconds between two looks at everything.")
    again_after_h: int = c.Field(12, ge=1, le=168, description="Hours until people are told again of what still lasts.")


@dataclass(frozen=True)
class Service:
    """One thing that Nagios knows the state of. `is_told`: whether people hear of it by itself."""

    host: str
    name: str
    is_told: bool = True


@dataclass(frozen=True)
class Entrance:
    """Where a visitor asks for a site: `name` is the service's."""

    name: str
    address: str
    port: int
    domain: str
    path: str
    ca: str


class Nagios(c.Component[NagiosSettings]):
    name = "nagios"
    about = "It looks at every part of the stack every few seconds, and tells people of what must not stay as it is."
    why = "A stack that outlives every failure hides them: somebody must hear of the first before the second."
    when_lost = "The others look at the same, and the next one tells people in its place."
    # mailutils: Nagios' package wants a program for mails, and of those that are one this brings no mail server.
    packages = ("mailutils", "nagios4-core")
    connects = (
        c.Connect(c.ProviderOf(c.HostMetrics), c.Protocol.METRICS, "ask", is_required=False),
        c.Connect(c.Who.ENTRANCE, c.Protocol.HTTP, "visit", is_required=False),
    )

    @property
    def wants(self) -> tuple[c.Wants, ...]:
        return (c.Wants(c.HostMetrics(), c.Place.EVERY_HOST),)

    @property
    def tells(self) -> c.AlertDelivery | None:
        return alert_keys.delivery(self.settings.alert)

    @classmethod
    def objections(cls, tier: c.Tier) -> tuple[c.Objection, ...]:
        settings = tier.settings
        assert isinstance(settings, NagiosSettings)  # noqa: S101 - the loader made it from this class
        return alert_keys.objections(settings.alert)

    def cautions(self, topology: c.Topology) -> tuple[c.Objection, ...]:
        return alert_keys.cautions(self.id.tier, self.settings.alert, topology)

    def parts(self, here: c.Context) -> c.Parts:
        ca = next(file for file in here.tls(for_units=()).files if file.path == CA)
        program = f"/usr/bin/python3 {c.ONHOST} nagios --config {LOOK}"
        values = {"set": self.settings, "program": program, "folder": FOLDER, "run": f"/run/{RUN}", "results": RESULTS}
        objects = here.template(
            texts.OBJECTS_TEXT,
            stack=stack_name(here.topology),
            services=services(here),
            times=TIMES,
            is_told=self.tells is not None,
            **values,
        )
        main = here.template(
            texts.MAIN_TEXT, objects=OBJECTS, state=f"/var/lib/{STATE}", user=USER, commands=COMMANDS, **values
        )
        unit = here.template(
            texts.UNIT, config=CONFIG, user=USER, state=STATE, run=RUN, stack=stack_name(here.topology), commands=COMMANDS
        )
        return c.Parts(
            files=(
                ca,
                c.File(OBJECTS, objects),
                c.File(CONFIG, main, check=("nagios4", "-v", CONFIG)),
                # Read anew at each look.
                c.File(LOOK, self._look(here), mode=0o400, user=USER, for_units=()),
            ),
            units=(c.Unit(UNIT_NAME, c.OnChange.RELOAD, text=unit),),
            healthy_when=(c.Probe("looks", (*program.split(), "well"), timeout_s=90.0),),
        )

    def _look(self, here: c.Context) -> str:
        topology = here.topology
        collect = "&".join(f"collect[]={name}" for name in COLLECTED)
        figures = {
            target.owner.host: [here.address(target.owner.host), target.listen.port, f"/metrics?{collect}"]
            for target in here.targets("ask")
        }
        members = [one.id.host for one in topology.of_tier(self.id.tier)]
        told = self.tells or c.AlertDelivery()
        return c.as_json(
            {
                "stack": topology.stack,
                "tier": self.id.tier,
                "watched": {
                    "stack": stack_name(topology),
                    "tiers": _tiers(topology),
                    "hosts": [host.name for host in topology.hosts],
                    "vips": {vip.name: vip.address for vip in topology.vips},
                    "primaries": _primaries(topology),
                    "promotable": _promotable(topology),
                    "sites": [entrance.name for entrance in entrances(here)],
                    "has_firewall": topology.has_firewall,
                    "quiet": sorted(_measuring(topology)),
                },
                "figures": dict(sorted(figures.items())),
                "entrances": {
                    one.name: {
                        "address": one.address,
                        "port": one.port,
                        "domain": one.domain,
                        "path": one.path,
                        "ca": one.ca,
                    }
                    for one in entrances(here)
                },
                "earlier": members[: members.index(self.id.host)],
                "told": {
                    "emails": told.emails,
                    "smtp": told.smtp,
                    "sender": told.sender or f"nospof@{topology.domain}",
                    "smtp_user": told.smtp_user,
                    "smtp_password": told.smtp_password,
                    "smtp_tls": told.smtp_tls,
                    "webhooks": told.webhooks,
                    "heartbeats": told.heartbeats,
                },
                "results_folder": RESULTS,
                "folder": f"/var/lib/{STATE}",
            }
        )


# --- what there is to look at: as nospof.onhost.nagios_checks tells of it ------------------------------------------------
def stack_name(topology: c.Topology) -> str:
    """What Nagios calls the stack, which for it is one host more; no host's name has a dot."""
    return f"stack.{topology.stack}"


def services(here: c.Context) -> list[Service]:
    """Every service there is a result for, host by host; those of the stack last."""
    topology = here.topology
    found = []
    for host in topology.hosts:
        names = sorted((*HOST_SERVICES, *(("firewall",) if topology.has_firewall else ())))
        found += [Service(host.name, name) for name in names]
        tiers = sorted(
            tier for tier, hosts in _tiers(topology).items() if host.name in hosts and tier not in _measuring(topology)
        )
        # What its tier tells of need not be told twice.
        found += [Service(host.name, f"instance {tier}", is_told=False) for tier in tiers]
    names = [f"tier {tier}" for tier in sorted(_tiers(topology)) if tier not in _measuring(topology)]
    names += [f"vip {vip.name}" for vip in sorted(topology.vips, key=lambda vip: vip.name)]
    names += [f"primary {tier}" for tier in _primaries(topology)]
    names += [f"copies {tier}" for tier in _promotable(topology)]
    names += [entrance.name for entrance in entrances(here)]
    return found + [Service(stack_name(topology), name) for name in names]


def entrances(here: c.Context) -> list[Entrance]:
    """Where visitors ask for each site: at each VIP of the load balancers, or at their hosts where there is none."""
    found: dict[str, Entrance] = {}
    for endpoint in here.targets("visit"):
        for address in _addresses(here.topology, endpoint):
            for site in here.topology.sites_behind(endpoint):
                domain = site.domain or here.topology.domain
                name = f"site {domain}{site.path} at {address}"
                ca = CA if endpoint.listen.tls is not c.Tls.NONE else ""
                found[name] = Entrance(name, address, endpoint.listen.port or HTTPS, domain, site.asked, ca)
    return [found[name] for name in sorted(found)]


def _addresses(topology: c.Topology, endpoint: c.Endpoint) -> list[str]:
    owner = endpoint.owner
    vips = [vip.address for vip in topology.vips if vip.tier == owner.tier and owner.host in vip.hosts]
    return vips or [topology.host(endpoint.owner.host).address]


def _tiers(topology: c.Topology) -> dict[str, list[str]]:
    tiers = sorted({one.id.tier for one in topology.instances})
    return {tier: [one.id.host for one in topology.of_tier(tier)] for tier in tiers}


def _measuring(topology: c.Topology) -> set[str]:
    return {one.id.tier for one in topology.instances if any(isinstance(d.need, c.HostMetrics) for d in one.demands)}


def _kinds(topology: c.Topology) -> dict[str, c.Component[c.Settings]]:
    """One instance of each tier stands for all: settings are the tier's."""
    firsts = {tier: topology.of_tier(tier)[0] for tier in _tiers(topology)}
    return {tier: c.Component.kinds[one.component](one) for tier, one in firsts.items()}


def _primaries(topology: c.Topology) -> list[str]:
    """Tiers whose agents write down who takes writes."""
    return sorted(
        tier for tier, kind in _kinds(topology).items() if kind.role_note and isinstance(kind.redundancy, c.OnePrimary)
    )


def _promotable(topology: c.Topology) -> list[str]:
    """Databases in which another server is to be ready to take over."""
    found = []
    for tier, kind in _kinds(topology).items():
        redundancy = kind.redundancy
        if kind.asks_agent and isinstance(redundancy, c.OnePrimary) and redundancy.takes_over:
            found.append(tier)
    return sorted(found)
