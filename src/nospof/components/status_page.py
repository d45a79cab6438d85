"""A status page of the stack's own: what is well, who leads, what of the redundancy is lost, on one page without anything else.

Each of its hosts asks all the others for the figures that they have anyway (HostMetrics), and those that count requests; pages
know nothing of each other, so that one may be lost. It is a site like others, behind the load balancers where they name it
in their `to:`, but no promise to visitors: goals and drills leave it out. Nobody sees it without the password that nospof made.

Limits: it tells how things are and what changed lately, and keeps no figures; it sends no alerts. What it cannot see for
itself, such as whether the site's name still leads to the VIP, it does not know.

Source: RFC 7617 (Basic), RFC 9110; reasons: docs/decisions/0027-status-page.md.
"""

from __future__ import annotations

import hashlib

from nospof import component as c

USER, LONGEST_USER_NAME = "nospof", 31
WAYS = {c.Each: "each", c.Majority: "majority", c.OnePrimary: "primary"}


class StatusPageSettings(c.Settings):
    path: str = c.Field(
        "",
        pattern=r"^(/([A-Za-z0-9_.-]+/)*)?$",
        description="Path under which it is visited, with / at both ends. Default: the tier's name, as /status/.",
    )
    domain: str = c.Field("", pattern=r"^[a-z0-9.-]*$", description="Domain under which it is visited. Default: the stack's.")
    port: int = c.Field(8444, ge=1024, le=65535, description="Port of the page on its hosts' addresses.")
    direct: c.Switch = c.Field(
        False, description="Let in who may reach the hosts by SSH (`admin:`) to the page's own port, past the load balancers."
    )
    every_s: int = c.Field(2, ge=1, le=60, description="Seconds between two questions to each host.")


class StatusPage(c.Component[StatusPageSettings]):
    name = "status-page"
    missed_s = 0.0
    about = "A page that shows how the stack is now: what is healthy, who leads, and what of its redundancy is lost."
    why = "Whoever is called at night needs to see at once what is left and what the next failure would take, without any tool."
    when_lost = "The page is made on its other hosts as well; nothing else depends on it."
    packages = ("curl", "python3")
    runs_per_host = 0

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        site = c.Site(self.id.tier, self.settings.domain, self.path, health=f"{self.path}health", is_promised=False)
        called_by = (c.ADMIN,) if self.settings.direct else ()
        return (c.Listen("page", c.Protocol.HTTP, self.settings.port, tls=c.Tls.SERVER, sites=(site,), called_by=called_by),)

    connects = (
        c.Connect(c.ProviderOf(c.HostMetrics), c.Protocol.METRICS, "look", is_required=False),
        c.Connect(c.Who.COUNTING, c.Protocol.METRICS, "count", is_required=False),
    )
    wants = (c.Wants(c.HostMetrics(), c.Place.EVERY_HOST),)

    @property
    def path(self) -> str:
        """Where it is visited."""
        return self.settings.path or f"/{self.id.tier}/"

    @property
    def user(self) -> str:
        """Who runs it: a user of the tier's own."""
        name = f"nospof-{self.id.tier}"
        return name if len(name) <= LONGEST_USER_NAME else f"nospof-{hashlib.sha256(self.id.tier.encode()).hexdigest()[:16]}"

    @property
    def hears_of_drills(self) -> str:
        return f"/var/lib/nospof-drills/{self.id.tier}.jsonl"

    def remarks(self, topology: c.Topology) -> tuple[str, ...]:
        named = any(link.target.owner.tier == self.id.tier for link in topology.links if not link.asks_health)
        way = f"at {self.path} of the site" if named else "on its hosts only, as through ssh -L"
        who = f"by user {USER} with the password that nospof made (.nospof/secrets/{self.id.tier}.visitors)"
        return (f"It is seen {way}, {who}. It tells no secrets, but an attacker would like to know what is weak now.",)

    # --- what the host must have -----------------------------------------------------------------------------------------
    def parts(self, here: c.Context) -> c.Parts:
        tier, folder = self.id.tier, f"/etc/nospof/{self.id.tier}"
        tls = here.tls(user=self.user)
        config = c.File(f"{folder}/page.json", c.as_json(self._told(here, tls)))
        password = c.File(f"{folder}/password", f"{here.accepted(f'{tier}/visitors')}\n", mode=0o400, user=self.user)
        unit = here.template(
            UNIT, tier=tier, user=self.user, program=here.program("status_page"), config=config.path, state=self._state
        )
        # Under the name in its certificate, whatever the site is called.
        url = f"https://{here.host.name}:{self.settings.port}{self.path}health"
        ask = ("/usr/bin/curl", "-fsS", "-o", "/dev/null", "--max-time", "2", "--cacert", tls.ca, url)
        return c.Parts(
            files=(*tls.files, password, config),
            units=(c.Unit(f"nospof-{tier}.service", c.OnChange.RELOAD, text=unit),),
            healthy_when=(c.Probe("health", ask),),
            users=(self.user,),
        )

    @property
    def _state(self) -> str:
        return f"nospof-{self.id.tier}"

    def _told(self, here: c.Context, tls: c.TlsFiles) -> dict[str, object]:
        """What nospof.onhost.page.config reads."""
        topology = here.topology
        return {
            "stack": topology.stack,
            "domain": topology.domain,
            "me": here.host.name,
            "address": here.host.address,
            "port": self.settings.port,
            "path": self.path,
            "user": USER,
            "password_file": f"/etc/nospof/{self.id.tier}/password",
            "certificate": tls.certificate,
            "key": tls.key,
            "every_s": self.settings.every_s,
            "state_file": f"/var/lib/{self._state}/events.json",
            "drills_file": self.hears_of_drills,
            "hosts": _hosts(here),
            "tiers": _tiers(topology),
            "vips": [
                {"name": vip.name, "address": vip.address, "tier": vip.tier, "hosts": list(vip.hosts)} for vip in topology.vips
            ],
            "counting": _counting(here),
            "pages": [one.id.host for one in topology.of_tier(self.id.tier)],
        }


def _hosts(here: c.Context) -> list[dict[str, str]]:
    asked = {target.owner.host: target for target in here.targets("look")}
    # Of all that a host tells, only what nospof's own program there found out: the kernel's figures are for others.
    return [
        {
            "name": host.name,
            "zone": host.zone,
            "address": host.address,
            "ask": f"http://{host.address}:{asked[host.name].listen.port}/metrics?collect[]=textfile",
        }
        for host in here.topology.hosts
    ]


def _tiers(topology: c.Topology) -> list[dict[str, object]]:
    """The tiers from the visitors down as they are called, then those that came along; not those who only measure hosts."""
    names = dict.fromkeys(one.id.tier for one in topology.instances if not _measures(one))
    return sorted(
        (_tier(topology, name) for name in names), key=lambda told: (told["is_implied"], _depth(topology, told), told["name"])
    )


def _tier(topology: c.Topology, name: str) -> dict[str, object]:
    members = topology.of_tier(name)
    kind = c.Component.kinds[members[0].component](members[0])
    how = kind.redundancy
    calls = {link.target.owner.tier for one in members for link in topology.links_from(one.id) if not _is_aside(topology, link)}
    return {
        "name": name,
        "component": members[0].component,
        "about": kind.about,
        "how": WAYS[type(how)],
        "members": [{"host": one.id.host, "rank": one.rank.value} for one in members],
        "calls": sorted(calls - {name}),
        "is_implied": all(one.demands for one in members),
        "takes_over": isinstance(how, c.OnePrimary) and how.takes_over and len(members) > 1,
    }


def _is_aside(topology: c.Topology, link: c.Link) -> bool:
    """Whether nothing is asked over `link` but how the other is."""
    return link.asks_health or link.target.listen.speaks is c.Protocol.METRICS


def _depth(topology: c.Topology, told: dict[str, object]) -> int:
    """How many calls a tier is away from the visitors; those that no visitor's request reaches come last."""
    frontier, depth = {link.target.owner.tier for link in topology.links if link.source == c.OUTSIDE}, 0
    seen: set[str] = set()
    while frontier:
        if told["name"] in frontier:
            return depth
        seen |= frontier
        further = {
            link.target.owner.tier for link in topology.links if link.source.tier in frontier and not _is_aside(topology, link)
        }
        frontier, depth = further - seen, depth + 1
    return len(topology.instances)


def _measures(one: c.Instance) -> bool:
    return any(isinstance(demand.need, c.HostMetrics) for demand in one.demands)


def _counting(here: c.Context) -> list[dict[str, object]]:
    return [
        {
            "host": target.owner.host,
            "tier": target.owner.tier,
            "what": count.what,
            "ask": f"http://{here.address(target.owner.host)}:{target.listen.port}{count.path}",
            "figure": count.figure,
            "labels": dict(count.labels),
            "failed": dict(count.failed),
        }
        for target in here.targets("count")
        for count in target.listen.counts
        if target.listen.tls is c.Tls.NONE
    ]


UNIT = """\
# Written by nospof.
[Unit]
Description=Status page of the stack
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
User={{ user }}
Group={{ user }}
StateDirectory={{ state }}
StateDirectoryMode=0700
ExecStart={{ program }} --config {{ config }}
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=1s
TimeoutStopSec=3
# What is watched comes first.
Nice=5
OOMScoreAdjust=200
MemoryMax=256M
{{ hardening }}
UMask=0077

[Install]
WantedBy=multi-user.target
"""
