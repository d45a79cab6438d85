"""A host's firewall: exactly the links that reach it, one rule per endpoint, in a table of our own.

Input is dropped unless a link says otherwise; out is open unless the stack file's `egress:` closes it. The table is replaced in
one transaction; Debian's own nftables.service, whose stop flushes everything, is not used.
Source: https://wiki.nftables.org/wiki-nftables/index.php/Atomic_rule_replacement
"""

from __future__ import annotations

from collections import defaultdict

from nospof.component import File, OnChange, Parts, Unit
from nospof.topology import ADMIN, OUTSIDE, Bind, Endpoint, InstanceId, Link, Topology

RULES_PATH = "/etc/nospof/firewall.nft"
UNIT_NAME = "nospof-firewall.service"
# While it is there, no boot loads the rules (nospof.onhost.firewall_guard). Whoever came in through new rules confirms them.
UNCONFIRMED = "/var/lib/nospof/firewall-unconfirmed"
CONFIRM = ("sh", "-c", f"systemctl stop nospof-firewall-undo.timer 2>/dev/null; rm -f {UNCONFIRMED}")
FIRST_MARK, LAST_MARK = "# links", "# end of links"
FIRST_OUT_MARK, LAST_OUT_MARK = "# links out", "# end of links out"
# nft takes 128 bytes.
LONGEST_COMMENT = 120


def firewall_parts(topology: Topology, host: str) -> Parts:
    """The firewall of `host` as parts."""
    rules = File(RULES_PATH, firewall(topology, host), check=("/usr/sbin/nft", "-c", "-f", RULES_PATH), mode=0o600)
    return Parts(files=(rules,), units=(Unit(UNIT_NAME, OnChange.RELOAD, text=UNIT),))


def firewall(topology: Topology, host: str) -> str:
    """The nftables file of `host`; with `firewall: off`, one that takes an earlier firewall away."""
    if not topology.has_firewall:
        return OFF
    rules = input_rules(topology, host)
    output = _output_chain(topology, host) if topology.egress is not None else ""
    indented = "".join(f"        {rule}\n" for rule in [FIRST_MARK, *rules, LAST_MARK])
    return HEAD + indented + TAIL + output + "}\n"


def input_rules(topology: Topology, host: str) -> list[str]:
    """One rule per endpoint of `host` that is called over the network, and on a real server one for SSH; sorted."""
    callers: dict[Endpoint, list[Link]] = defaultdict(list)
    for link in topology.into(host):
        callers[link.target].append(link)
    rules = [rule for endpoint, links in callers.items() for rule in _accept(topology, endpoint, links)]
    return sorted([*rules, *_administered(topology, host)])


def _administered(topology: Topology, name: str) -> list[str]:
    """What lets in those who look after a real server; a host of a lab is entered from the machine it is in."""
    host = topology.host(name)
    if host.is_lab:
        return []
    return [f'{_sources(topology, {ADMIN})}tcp dport {host.ssh_port} accept comment "administrators to SSH"']


def union(old: str, new: str) -> str:
    """The `new` firewall file that also allows what the `old` one did: for the time between two configurations.

    `old` is a file this module wrote, or "" where there was none. Where the old one left the way out open, so does the union.
    """
    text = _with_rules_of(old, new, FIRST_MARK, LAST_MARK)
    if OUTPUT_HEAD not in old and OUTPUT_HEAD in text:
        return text[: text.index(OUTPUT_HEAD)] + "}\n"
    return _with_rules_of(old, text, FIRST_OUT_MARK, LAST_OUT_MARK)


def _with_rules_of(old: str, new: str, first: str, last: str) -> str:
    rules = _rules_between(new, first, last)
    kept = [rule for rule in _rules_between(old, first, last) if rule not in rules]
    extra = "".join(f"        {rule}\n" for rule in kept)
    return new.replace(f"        {last}\n", f"{extra}        {last}\n", 1)


def _rules_between(text: str, first: str, last: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines()]
    if first not in lines or last not in lines:
        return []
    return lines[lines.index(first) + 1 : lines.index(last)]


def _accept(topology: Topology, endpoint: Endpoint, links: list[Link]) -> list[str]:
    sources = _sources(topology, {link.source for link in links})
    tiers = ", ".join(sorted({link.source.tier for link in links}))
    comment = f"{tiers} to {endpoint.owner.tier} {endpoint.listen.name}"
    if len(comment) > LONGEST_COMMENT:
        comment = comment[: LONGEST_COMMENT - 3] + "..."
    return [f'{sources}{_port(wire, endpoint)} accept comment "{comment}"' for wire in endpoint.listen.speaks.wires]


def _port(wire: str, endpoint: Endpoint) -> str:
    return "meta l4proto 112" if wire == "vrrp" else f"{wire} dport {endpoint.listen.port}"


def _sources(topology: Topology, sources: set[InstanceId]) -> str:
    if OUTSIDE in sources:
        return ""
    addresses = {topology.host(source.host).address for source in sources if source.host}
    if ADMIN in sources:
        addresses.update(topology.admin)
    if "0.0.0.0/0" in addresses:
        return ""
    return f"ip saddr {{ {', '.join(sorted(addresses))} }} "


def _output_chain(topology: Topology, host: str) -> str:
    ours = [link for link in topology.links if link.source.host == host and link.crosses]
    rules = {
        f"ip daddr {address} {_port(wire, link.target)} accept"
        for link in ours
        for wire in link.target.listen.speaks.wires
        for address in _addresses(topology, link.target)
    }
    if topology.egress:
        rules.add(f"ip daddr {{ {', '.join(sorted(topology.egress))} }} accept")
    lines = "".join(f"        {rule}\n" for rule in [FIRST_OUT_MARK, *sorted(rules), LAST_OUT_MARK])
    return OUTPUT_HEAD + lines + "    }\n"


def _addresses(topology: Topology, endpoint: Endpoint) -> list[str]:
    """Where `endpoint` is reached: at its host's address, and what answers on every address at the VIPs too."""
    vips = [vip.address for vip in topology.vips] if endpoint.listen.bind is Bind.ANY else []
    return [topology.host(endpoint.owner.host).address, *vips]


OFF = """# Made by nospof: the stack file says `firewall: off`.
table inet nospof {}
delete table inet nospof
"""

# An old client's packets that arrive after an address moved are answered with a reset at once, so that it reconnects.
HEAD = """# Made by nospof from the stack's links; changes here are lost at the next `nospof up`.
table inet nospof {}
delete table inet nospof
table inet nospof {
    chain input {
        type filter hook input priority filter; policy drop;
        iif lo accept
        ct state established,related accept
        ct state invalid tcp dport { 80, 443 } reject with tcp reset
        ct state invalid drop
        icmp type { destination-unreachable, time-exceeded, parameter-problem } accept
        icmp type echo-request limit rate 10/second burst 20 packets accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert, nd-router-solicit, packet-too-big, destination-unreachable, time-exceeded, parameter-problem } accept
"""  # noqa: E501

TAIL = """        limit rate 5/minute log prefix "nospof-drop: "
        counter
    }
"""

OUTPUT_HEAD = """    chain output {
        type filter hook output priority filter; policy drop;
        oif lo accept
        ct state established,related accept
        icmp type { destination-unreachable, time-exceeded, parameter-problem, echo-request } accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, packet-too-big } accept
"""

UNIT = f"""[Unit]
Description=Firewall of this host, made by nospof
# Rules that may shut administrators out do not come back with a boot before somebody came in through them.
ConditionPathExists=!{UNCONFIRMED}
DefaultDependencies=no
Wants=network-pre.target
Before=network-pre.target shutdown.target
Conflicts=shutdown.target
After=local-fs.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f {RULES_PATH}
ExecReload=/usr/sbin/nft -f {RULES_PATH}

[Install]
WantedBy=multi-user.target
"""
