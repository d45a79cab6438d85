"""The lab's network: a namespace with one bridge per zone, joined by a trunk, and a namespace per host.

The bridges' namespace has no default route, so nothing leaves the machine. Cables are made inside the namespaces,
never in the machine's own, where NetworkManager or udev would grab them. A namespace has a name under /run/netns
and needs no process, so it stays as the host's network card while the host is off.

    client ── z-outside ── trunk ──┬── z-a ── lb1, web1
                                   └── z-b ── lb2, web2
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nospof.errors import Failed
from nospof.lab import machine
from nospof.lab.places import NAMESPACES, PREFIX_LENGTH, TRUNK_ADDRESS, HostPlaces, Places, interface_name, mac_address

TRUNK = "trunk"
_CUTS = "cuts"
_ALWAYS = 100
# Multicast snooping would lose VRRP and neighbour discovery where nobody asks who listens.
_BRIDGE = "type bridge stp_state 0 forward_delay 0 mcast_snooping 0"


@dataclass(frozen=True)
class Cable:
    """A host's connection: its address and the zone whose bridge it is plugged into."""

    host: HostPlaces
    zone: str
    address: str


@dataclass(frozen=True)
class Cut:
    """What is dropped, silently: from `sources` to `targets`, None for everybody.

    `ports`: only TCP from or to one of these. `percent`: so many of a hundred packets, by chance.
    """

    sources: tuple[Cable, ...] | None
    targets: tuple[Cable, ...] | None
    ports: tuple[int, ...] = ()
    percent: int = _ALWAYS

    def rules(self) -> list[str]:
        """The rules in nft's words.

        By the sender's card and the receiver's cable, so that addresses that move and multicast are meant too. Only IP: the
        cables stay in, and ARP is answered, else the peers would soon be told that there is no way. But for the hosts' own
        addresses only: a load balancer that is not heard must not go on claiming the VIP.
        """
        pair = []
        if self.sources is not None:
            pair.append(f"ether saddr {_set(mac_address(cable.address) for cable in self.sources)}")
        if self.targets is not None:
            cables = [f'"{cable.host.port}"' for cable in self.targets]
            pair.append(f"oifname {_set(cables)}")
        chance = "" if self.percent == _ALWAYS else f" numgen random mod {_ALWAYS} < {self.percent}"
        ends = [f" tcp {end} {_set(map(str, self.ports))}" for end in ("sport", "dport")] if self.ports else [""]
        rules = [f"{' '.join(['meta protocol ip', *pair])}{end}{chance} counter drop" for end in ends]
        if self.sources is not None and not self.ports and self.percent == _ALWAYS:
            own = _set(cable.address for cable in self.sources)
            rules.append(f"{' '.join(pair)} arp saddr ip != {own} drop")
        return rules


def make_switches(places: Places, zones: Iterable[str]) -> None:
    """Make the lab's namespace with its bridges, joined and up; what is there already stays."""
    if not namespace_exists(places.namespace):
        _make_namespace(places.namespace)
    present = _interfaces(places.namespace)
    lines = [f"link add name {TRUNK} {_BRIDGE}"] if TRUNK not in present else []
    for zone in sorted(set(zones)):
        lines += _zone_lines(zone, present)
    lines += [
        "link set dev lo up",
        f"link set dev {TRUNK} up",
        f"addr replace {TRUNK_ADDRESS}/{PREFIX_LENGTH} dev {TRUNK}",
    ]
    # Before the first bridge: IPv6 would only add noise here (IPv4 only, for now).
    _disable_ipv6(places.namespace)
    _ip(lines, places.namespace)


def plug(cable: Cable) -> None:
    """Give the host a new network card, cold as after power on: no address but its own, no rules, no connections.

    Whatever keepalived or nft had left in its namespace is gone, as it is on a server that lost power.
    """
    unplug(cable.host)
    _make_namespace(cable.host.namespace)
    card = f"peer name eth0 address {mac_address(cable.address)} netns {cable.host.namespace}"
    _ip([f"link add name {cable.host.port} type veth {card}", *_port_lines(cable)], cable.host.of.namespace)
    broadcast = "broadcast +"
    _ip(
        [
            "link set dev lo up",
            f"addr add {cable.address}/{PREFIX_LENGTH} {broadcast} dev eth0",
            "link set dev eth0 up",
            "route add 224.0.0.0/4 dev eth0",  # without a default route, multicast would have none
        ],
        cable.host.namespace,
    )


def replug(cable: Cable) -> None:
    """Put the cable of a host that runs into its zone's bridge, with the link up."""
    _ip(_port_lines(cable), cable.host.of.namespace)


def unplug(host: HostPlaces) -> None:
    """Take the host's network card away; nothing if there is none."""
    if namespace_exists(host.of.namespace) and host.port in _interfaces(host.of.namespace):
        _ip([f"link del dev {host.port}"], host.of.namespace)
    remove_namespace(host.namespace)


def has_address(cable: Cable) -> bool:
    """Say whether the host's card has the cable's address, whatever else it has."""
    if not namespace_exists(cable.host.namespace):
        return False
    shown = json.loads(machine.call(["ip", "-n", cable.host.namespace, "-json", "addr", "show"]) or "[]")
    addresses = [entry["local"] for interface in shown for entry in interface.get("addr_info", [])]
    return cable.address in addresses


def set_link(host: HostPlaces, is_up: bool) -> None:
    """Pull the host's cable, or put it in: the host sees its carrier go, its neighbours see nothing."""
    state = "up" if is_up else "down"
    machine.call(["ip", "-n", host.of.namespace, "link", "set", "dev", host.port, state])


def darken(host: HostPlaces) -> None:
    """Pull the host's cable, if it has one: a killed `up` may have left a host half made."""
    try:
        set_link(host, is_up=False)
    except Failed:  # looked into only now: it would cost half of the time that a power cut takes
        if namespace_exists(host.of.namespace) and host.port in _interfaces(host.of.namespace):
            raise


def set_zone_link(places: Places, zone: str, is_up: bool) -> None:
    """Cut the zone off from all other zones, or join it again; inside the zone all go on talking."""
    state = "up" if is_up else "down"
    machine.call(["ip", "-n", places.namespace, "link", "set", "dev", interface_name("t", zone), state])


def zone_is_linked(places: Places, zone: str) -> bool:
    """Say whether the zone is joined to the others."""
    return _is_up(places.namespace, interface_name("t", zone))


def has_link(host: HostPlaces) -> bool:
    """Say whether the host's cable is in, at the bridge's end."""
    return _is_up(host.of.namespace, host.port)


def add_cut(places: Places, cut: Cut, name: str = "") -> None:
    """Begin to drop what `cut` says. Cuts of one name add up until `mend`."""
    chain = "type filter hook forward priority 0; policy accept;"
    text = "\n".join([f"table bridge {_table(name)} {{ chain cut {{ {chain}", *cut.rules(), "}", "}", ""])
    machine.call([*_nft(places), "-f", "-"], text=text)


def mend(places: Places, name: str = "") -> None:
    """End the cuts of that name, and no others."""
    if name in cuts(places):
        machine.call([*_nft(places), "delete", "table", "bridge", _table(name)])


def cuts(places: Places) -> tuple[str, ...]:
    """Name all cuts; a machine whose kernel cannot filter on bridges has none."""
    words = [line.split() for line in machine.call([*_nft(places), "list", "tables"]).splitlines()]
    tables = [table for _, family, table in words if family == "bridge" and table.partition(".")[0] == _CUTS]
    return tuple(table.partition(".")[2] for table in tables)


def dropped(places: Places, name: str) -> int:
    """Count the packets that the cuts of that name have dropped so far; 0 if there are none."""
    if name not in cuts(places):
        return 0
    shown = json.loads(machine.call([*_nft(places), "-j", "list", "table", "bridge", _table(name)]))
    parts = [part for entry in shown["nftables"] for part in entry.get("rule", {}).get("expr", ())]
    return sum(part["counter"]["packets"] for part in parts if "counter" in part)


def set_delay(host: HostPlaces, ms: int) -> None:
    """Deliver what goes to the host so much later; 0: at once again. Raises Failed where the kernel has no netem."""
    at = ["tc", "-n", host.of.namespace, "qdisc"]
    if ms:
        machine.call([*at, "replace", "dev", host.port, "root", "netem", "delay", f"{ms}ms"])
    elif delay_of(host):
        machine.call([*at, "del", "dev", host.port, "root"])


def delay_of(host: HostPlaces) -> str:
    """What the kernel says of the delay towards the host; "" if there is none."""
    shown = machine.call(["tc", "-n", host.of.namespace, "qdisc", "show", "dev", host.port])
    return next((line for line in shown.splitlines() if "netem" in line), "")


def can_delay(places: Places) -> bool:
    """Try whether the kernel has netem."""
    at = ["tc", "-n", places.namespace, "qdisc"]
    try:
        machine.call([*at, "add", "dev", "lo", "root", "netem", "delay", "1ms"])
    except Failed:
        return False
    machine.call([*at, "del", "dev", "lo", "root"])
    return True


def namespaces(places: Places) -> tuple[str, ...]:
    """Name all the namespaces of the lab, its own and its hosts', whole or half."""
    if not NAMESPACES.is_dir():
        return ()
    names = sorted(path.name for path in NAMESPACES.iterdir())
    return tuple(name for name in names if name == places.namespace or name.startswith(places.namespace + "."))


def namespace_exists(name: str) -> bool:
    """Say whether the name leads to a namespace: a killed `ip netns add` leaves an empty file."""
    try:
        return (NAMESPACES / name).stat().st_dev != NAMESPACES.stat().st_dev
    except FileNotFoundError:
        return False


def remove_namespace(name: str) -> None:
    if namespace_exists(name):
        machine.call(["ip", "netns", "delete", name])
    (NAMESPACES / name).unlink(missing_ok=True)


def inside(namespace: Path) -> list[str]:
    """Return the argv that runs a program of the machine in a network namespace.

    Not `ip netns exec`, which remounts /sys: control groups are not there inside it.
    """
    return ["nsenter", f"--net={namespace}", "--"]


def _set(entries: Iterable[str]) -> str:
    return f"{{ {', '.join(entries)} }}"


def _table(name: str) -> str:
    return f"{_CUTS}.{name}" if name else _CUTS


def _nft(places: Places) -> list[str]:
    return [*inside(NAMESPACES / places.namespace), "nft"]


def _is_up(namespace: str, interface: str) -> bool:
    shown = json.loads(machine.call(["ip", "-n", namespace, "-json", "link", "show", "dev", interface]))
    return "UP" in shown[0]["flags"]


def _make_namespace(name: str) -> None:
    remove_namespace(name)
    machine.call(["ip", "netns", "add", name])


def _zone_lines(zone: str, present: frozenset[str]) -> list[str]:
    bridge, outer, inner = (interface_name(kind, zone) for kind in ("z", "t", "u"))
    lines = [f"link add name {bridge} {_BRIDGE}"] if bridge not in present else []
    if outer not in present:
        lines.append(f"link add name {outer} type veth peer name {inner}")
    lines += [f"link set dev {outer} master {TRUNK}", f"link set dev {inner} master {bridge}"]
    return lines + [f"link set dev {interface} up" for interface in (bridge, outer, inner)]


def _port_lines(cable: Cable) -> list[str]:
    port = cable.host.port
    return [f"link set dev {port} master {interface_name('z', cable.zone)}", f"link set dev {port} up"]


def _disable_ipv6(namespace: str) -> None:
    write = "for one in all default; do echo 1 >/proc/sys/net/ipv6/conf/$one/disable_ipv6; done"
    machine.call([*inside(NAMESPACES / namespace), "sh", "-c", f"[ ! -d /proc/sys/net/ipv6 ] || {{ {write}; }}"])


def _interfaces(namespace: str) -> frozenset[str]:
    shown = json.loads(machine.call(["ip", "-n", namespace, "-json", "link", "show"]) or "[]")
    return frozenset(interface["ifname"] for interface in shown)


def _ip(lines: list[str], namespace: str) -> None:
    machine.call(["ip", "-n", namespace, "-batch", "-"], text="\n".join(lines) + "\n")
