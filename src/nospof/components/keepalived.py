"""keepalived: moves a virtual IP address (VIP) to a living host (VRRP version 3, unicast between the hosts of a tier).

Each host says every `advert_ms` that it holds the VIP. Who hears nothing for three times that long takes it over, and who
comes back does not take it away again, but from a spare, or where the VIP is at home: then after `home_after_s`. The holder
gives it up at once when the service's alive file stops saying 0, and within some 3 s when it is there but does not answer.

Limits: hosts must share a layer-2 network; where gratuitous ARP moves nothing, as in most clouds, `move` names a program that
tells whoever routes the VIP. VRRP 3 has no password, so that the firewall and the hop limit of 255 decide who may speak.
`track_process` is not used: the kernel's process connector works in the first network namespace only.

Source: man 5 keepalived.conf (2.3.3), RFC 5798; the reason for each number is in docs/decisions/0004-edge-settings.md, for
homes in docs/decisions/0023-active-active.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from nospof import component as c

CONFIG = "/etc/keepalived/keepalived.conf"
# A host that is new has no folder yet for the alive files, without which they do not count.
CHECK = f"mkdir -p /run/nospof && exec keepalived -t -f {CONFIG}"
HOLDS_ADDRESS = "/usr/lib/nospof/keepalived-holds-address"
MOVE, MOVERS = "/usr/lib/nospof/keepalived-move", "/srv/nospof/keepalived"
MOVE_UNIT_FILE = "/etc/systemd/system/nospof-move-vip@.service"
# Not 255, which VRRP keeps for the owner of the address; the host named first takes over soonest.
HIGHEST_PRIORITY = 250
AWAY_FOR_S = 60  # beyond the time after which it should have been taken back


class KeepalivedSettings(c.Settings):
    advert_ms: int = c.Field(
        100,
        ge=10,
        le=1000,
        multiple_of=10,
        description="Milliseconds between two signs of life; a dark holder is replaced after some 3.4 of them.",
    )
    home_after_s: int = c.Field(
        10,
        ge=1,
        le=1000,
        description="Seconds that a host must be well again before it takes a VIP back: from a spare, or where it is at home "
        "(active-active).",
    )
    move: Annotated[str, c.Folder()] = c.Field(
        "",
        description="Folder beside the stack file with a program move-vip, for networks in which gratuitous ARP moves nothing: "
        "it is run as root, with the VIP as its word, on a host that has taken it.",
    )


@dataclass(frozen=True)
class Address:
    """One VIP as this host sees it."""

    vip: c.Vip
    priority: int
    takes_back: bool
    """Whether it takes the VIP from a holder of lower priority."""


@dataclass(frozen=True)
class Service:
    """What the VIPs of one tier lead to, and with whom this host agrees on who holds them."""

    need: c.VipNeed
    addresses: tuple[Address, ...]
    peers: tuple[str, ...]

    @property
    def alive_check(self) -> str:
        return " ".join(self.need.alive_check)


class Keepalived(c.Component[KeepalivedSettings]):
    name = "keepalived"
    missed_s = 0.3
    about = "It moves a virtual IP address (VIP) to a host that is alive; the hosts agree on the holder by VRRP."
    why = "A name in DNS leads to one address for minutes or hours. That address must not be lost together with one machine."
    when_lost = (
        "The hosts that hear no sign of life any more take the VIP over; who comes back does not take it away again, but from "
        "a spare, or where it is at home."
    )
    packages = ("keepalived", "iproute2")
    provides = (c.VipNeed,)
    listens = (c.Listen("vrrp", c.Protocol.VRRP),)
    connects = (c.Connect(c.Who.PEERS, c.Protocol.VRRP, "peers", is_required=False),)
    touch_last_if = (HOLDS_ADDRESS,)
    lets_go = ("systemctl", "restart", "keepalived.service")
    if_vip_stays = (
        "your provider's way of moving an address, as a program move-vip in a folder beside the stack file: "
        "options: {keepalived: {move: ./FOLDER}}"
    )

    @property
    def sources(self) -> tuple[c.Source, ...]:
        return (c.Source("move", self.settings.move),) if self.settings.move else ()

    def alerts(self, topology: c.Topology) -> tuple[c.Alert, ...]:
        return tuple(self._alerts(topology))

    def _alerts(self, topology: c.Topology) -> Iterator[c.Alert]:
        for need in self.needs(c.VipNeed):
            for vip in topology.vips_of(need.name):
                yield _not_one_holder(topology, vip)
                spares = self._spares(topology, need, vip.hosts)
                if takers := [host for host in vip.hosts if _takes_back(vip, host, spares)]:
                    yield _away(vip, takers, self.settings.home_after_s)

    def panels(self, topology: c.Topology) -> tuple[c.Panel, ...]:
        held = c.Panel(
            "Who holds the VIP",
            "One host at each moment. None: nobody answers visitors; two: they do not hear each other.",
            (("nospof_vip_held", "{{name}} on {{host}}"),),
            c.Scale.YES_OR_NO,
        )
        return (held,)

    def parts(self, here: c.Context) -> c.Parts:
        services = [self._service(here, need) for need in self.needs(c.VipNeed)]
        addresses = [address for service in services for address in service.addresses]
        advert_s, home_after_s = f"{self.settings.advert_ms / 1000:g}", self.settings.home_after_s
        times = {"advert_s": advert_s, "home_after_s": home_after_s}
        text = here.template(TEXT, services=services, mover=MOVE if self.settings.move else "", **times)
        config = c.File(CONFIG, text, check=("/bin/sh", "-c", CHECK))
        holds = c.File(HOLDS_ADDRESS, here.template(HOLDS, addresses=addresses), mode=0o755, for_units=())
        drop_in = here.template(DROP_IN, addresses=addresses)
        movers, trees, symlinks = self._mover(here)
        return c.Parts(
            files=(config, holds, *movers),
            trees=trees,
            symlinks=symlinks,
            # Never RELOAD: keepalived 2.3.3 then sets its limit of realtime to 0 and is killed a second later.
            units=(c.Unit("keepalived.service", drop_in=drop_in),),
        )

    def _mover(self, here: c.Context) -> tuple[tuple[c.File, ...], tuple[c.Tree, ...], tuple[c.Symlink, ...]]:
        """What is run when this host has taken a VIP; a new version of it is used from the next time on."""
        if not self.settings.move:
            return (), (), ()
        blob = here.blob("move")
        release = f"{MOVERS}/releases/{blob[:12]}"
        script = c.File(MOVE, here.template(MOVE_TEXT, program=f"{MOVERS}/current/app/move-vip"), mode=0o755, for_units=())
        unit = c.File(MOVE_UNIT_FILE, here.template(MOVE_UNIT, script=MOVE), for_units=())
        return (script, unit), (c.Tree(release, blob),), (c.Symlink(f"{MOVERS}/current", release, for_units=()),)

    def _service(self, here: c.Context, need: c.VipNeed) -> Service:
        me, vips = self.id.host, here.vips(need.name)
        others = sorted({host for vip in vips for host in vip.hosts} - {me})
        spares = self._spares(here.topology, need, (me, *others))
        addresses = tuple(Address(vip, _priority(vip, me, spares), _takes_back(vip, me, spares)) for vip in vips)
        return Service(need, addresses, tuple(here.address(host) for host in others))

    def _spares(self, topology: c.Topology, need: c.Need, hosts: Iterable[str]) -> set[str]:
        return {host for host in hosts if _is_spare(topology, c.InstanceId(self.id.tier, host), need)}


def _priority(vip: c.Vip, host: str, spares: Collection[str]) -> int:
    """Who is at home comes first and spares last; the others have one priority where there is a spare.

    VRRP takes a VIP back from whoever has a lower priority, or from nobody, and those do not from each other.
    """
    # Steps as wide as there is room for: the wider, the less often two hosts start to take over at the same moment.
    step = HIGHEST_PRIORITY // len(vip.hosts)
    of_equals = [one for one in vip.hosts if one not in spares and one != vip.home]
    first = of_equals[0] if spares and host in of_equals else host
    return HIGHEST_PRIORITY - vip.hosts.index(first) * step


def _takes_back(vip: c.Vip, host: str, spares: Collection[str]) -> bool:
    return host == vip.home or (bool(spares) and host not in spares)


def _is_spare(topology: c.Topology, provider: c.InstanceId, need: c.Need) -> bool:
    """Whether all for which `provider` serves `need` are spares."""
    ranks = {demand.rank for demand in topology.instance(provider).demands if demand.need == need}
    return bool(ranks) and c.Rank.NORMAL not in ranks


def _not_one_holder(topology: c.Topology, vip: c.Vip) -> c.Alert:
    return c.Alert(
        "VipNotHeldByOne",
        c.not_one(f'nospof_vip_held{{name="{vip.name}"}}', topology, vip.hosts),
        f"{vip.address} ({vip.name}) is held by {{{{ $value }}}} hosts",
        "Visitors come in at this address. With no holder nobody answers them; with two, each of them answers some, and a "
        "connection may change from one to the other.",
        "nospof status names the holders. None: is HAProxy up on any of these hosts, or its alive file -1? Two: the hosts do "
        "not hear each other (VRRP, IP protocol 112); the address must go from one: systemctl restart keepalived there.",
        c.Urgency.CRITICAL,
        labels=(("tier", vip.tier), ("vip", vip.name)),
    )


def _away(vip: c.Vip, takers: Sequence[str], home_after_s: int) -> c.Alert:
    """Of a VIP that another host keeps, though one of `takers` could have it back."""
    of_takers = f'host=~"{"|".join(sorted(takers))}"'
    held = f'nospof_vip_held{{name="{vip.name}"'
    return c.Alert(
        "VipAway",
        f"sum({held}}}) == 1 and on () sum({held},{of_takers}}}) == 0 "
        f'and on () max(nospof_instance_up{{tier="{vip.tier}",{of_takers}}}) == 1',
        f"{vip.address} ({vip.name}) is not where it belongs, on {' or '.join(sorted(takers))}",
        f"A host that is well again takes it back after {home_after_s} s. Until then its visitors come to a host that has work "
        "of its own.",
        "journalctl -u keepalived where it belongs tells why it is not taken back; systemctl restart keepalived there.",
        for_s=home_after_s + AWAY_FOR_S,
        labels=(("tier", vip.tier), ("vip", vip.name)),
    )


TEXT = """\
# Written by nospof for {{ here.me.id }}; changes made here are replaced.
global_defs {
    router_id {{ here.me.id.host }}
    vrrp_version 3
    enable_script_security
    script_user nobody nogroup
    # Signs of life go out in time although the host is busy, and are never swapped out.
    vrrp_rt_priority 50
    vrrp_rlimit_rttime 1000000
    vrrp_no_swap
    # Who still believes in the old holder is told again after 1 s, and once a minute.
    vrrp_garp_master_repeat 5
    vrrp_garp_master_delay 1
    vrrp_garp_master_refresh 60
    # After both held the VIP for a moment.
    vrrp_garp_lower_prio_repeat 5
    vrrp_higher_prio_send_advert true
}
{% for service in services if not service.peers %}
{% for address in service.addresses %}

# Nobody to take {{ address.vip.address }} over: it stays here.
static_ipaddress {
    {{ address.vip.address }}/32 dev {{ here.facts.interface }}
}
{% endfor %}
{% endfor %}
{% for service in services if service.peers %}

# 0 in this file is alive, anything else gives the VIP up at once. Until the service has said that it lives, it does not.
track_file {{ service.need.name }}_lives {
    file {{ service.need.alive_file }}
    weight 0
    init_file -1
}

# What the file cannot tell: a process that is there and does not answer.
vrrp_script {{ service.need.name }}_answers {
    script "{{ service.alive_check }}"
    interval 1
    timeout 1
    fall 2
    rise 1
}
{% for address in service.addresses %}

vrrp_instance {{ address.vip.name }} {
{% if address.takes_back %}
    # Taken from whoever has a lower priority, once this host has been well for a while; one that fails again and again has not.
    state BACKUP
    preempt_delay {{ home_after_s }}
{% else %}
    # All start as BACKUP: who comes back does not take the VIP away again.
    state BACKUP
    nopreempt
{% endif %}
    interface {{ here.facts.interface }}
    virtual_router_id {{ address.vip.number }}
    priority {{ address.priority }}
    advert_int {{ advert_s }}
    unicast_src_ip {{ here.host.address }}
    unicast_ttl 255
    unicast_peer {
{% for peer in service.peers %}
        {{ peer }} min_ttl 255 max_ttl 255
{% endfor %}
    }
    track_file {
        {{ service.need.name }}_lives
    }
    track_script {
        {{ service.need.name }}_answers
    }
    virtual_ipaddress {
        {{ address.vip.address }}/32 dev {{ here.facts.interface }}
    }
{% if mover %}
    notify_master "/usr/bin/systemctl restart --no-block nospof-move-vip@{{ address.vip.address }}.service" root
{% endif %}
}
{% endfor %}
{% endfor %}
"""

MOVE_TEXT = """\
#!/bin/sh
# Written by nospof. Run on a host that has taken the VIP $1, whose traffic somebody else must now lead here.
# What fails is tried again for as long as this host has the VIP.
export NOSPOF_HOST="{{ here.host.name }}" NOSPOF_ADDRESS="{{ here.host.address }}" NOSPOF_VIP="$1"
holds() { ip -oneline address show to "$1" | grep -q .; }
until timeout 60 {{ program }} "$1"; do
    code=$?
    holds "$1" || { echo "move-vip $1 ended with $code; another host has $1 now"; exit 0; }
    echo "move-vip $1 ended with $code: again in 2 s"
    sleep 2
done
echo "move-vip $1: done"
"""

# Not in keepalived's own sandbox, which would be in the program's way, nor ended with it.
MOVE_UNIT = """\
# Written by nospof.
[Unit]
Description=Lead the traffic of %i to this host
StartLimitIntervalSec=0

[Service]
ExecStart=/bin/sh {{ script }} %i
SyslogIdentifier=nospof-move-vip
"""

DROP_IN = """\
# Written by nospof.
[Unit]
StartLimitIntervalSec=0

[Service]
Restart=always
RestartSec=100ms
RuntimeDirectory=nospof
RuntimeDirectoryPreserve=yes
{% for address in addresses %}
# A killed keepalived leaves the VIP behind, and two hosts would answer for it.
{% set remove = "ip address show to " ~ address.vip.address ~ "/32 | grep -q inet && ip address del "
   ~ address.vip.address ~ "/32 dev " ~ here.facts.interface ~ " || true" %}
ExecStartPre=-/bin/sh -c '{{ remove }}'
ExecStopPost=-/bin/sh -c '{{ remove }}'
{% endfor %}
# Addresses, raw sockets, realtime, memory that is not swapped out, scripts as another user: and nothing else of root.
CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW CAP_SYS_NICE CAP_SYS_RESOURCE CAP_IPC_LOCK
CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_KILL CAP_DAC_OVERRIDE
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths=/run
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET
RestrictNamespaces=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
UMask=0077
"""

# The checker refuses a file to track that is not there, as it is before the first start.
HOLDS = """\
#!/bin/sh
# Written by nospof: exits 0 when this host holds a VIP.
for address in{% for address in addresses %} {{ address.vip.address }}{% endfor %}; do
    ip -4 address show to "$address/32" | grep -q inet && exit 0
done
exit 1
"""
