"""The sections on who may call whom, what is encrypted, who watches, and what `check` found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator

from nospof.component import AlertDelivery, HostMetrics
from nospof.explain.layers import Layers
from nospof.explain.page import Block, Paragraph, Section, Table, code, plain
from nospof.explain.words import counted, measures, protocol
from nospof.resolve import component_of
from nospof.stack.problems import Problem, worst_first
from nospof.stack.words import listed
from nospof.topology import ADMIN, OUTSIDE, Endpoint, Link, Tls, Topology

EVERYBODY = "0.0.0.0/0"
TLS_WORDS = {
    Tls.NONE: "not encrypted",
    Tls.SERVER: "TLS, the server proves who it is",
    Tls.MUTUAL: "TLS, both sides prove who they are",
}


def sections(layers: Layers) -> Iterator[Section]:
    """Security and monitoring."""
    yield Section("security", "Security", tuple(_security(layers.topology)))
    yield Section("firewall", "The firewall: who may call whom", tuple(_firewall(layers.topology)), level=3)
    yield Section("monitoring", "Monitoring", tuple(_monitoring(layers)))


def findings(problems: Iterable[Problem]) -> Iterator[Block]:
    """Everything `check` said of the stack file."""
    rows = [
        (one.severity.value, code(one.code), plain(one.what), plain(one.why), plain(one.fix)) for one in worst_first(problems)
    ]
    if rows:
        yield Table(("severity", "code", "what", "why it matters", "what to do"), tuple(rows))
    else:
        yield Paragraph(f"Nothing. Run {code('nospof check')} after each change of the stack file.")


# --- security --------------------------------------------------------------------------------------------------------
def _security(topology: Topology) -> Iterator[Block]:
    crossing = [link for link in topology.links if not link.is_local]
    open_data = [link for link in crossing if topology.is_open(link)]
    if open_data:
        routes = sorted({f"{code(one.source.tier)} → {code(_where(one.target))}" for one in open_data})
        yield Paragraph(f"Not encrypted between hosts, though users' data may cross it: {listed(routes)}.")
    else:
        yield Paragraph("Everything that carries users' data between hosts or to visitors is encrypted with TLS.")
    if any(topology.leads_to_https(link) for link in crossing):
        yield Paragraph("Plain HTTP beside HTTPS is there only to send visitors to HTTPS.")
    certified = {link.target.owner for link in topology.links if link.target.listen.tls is not Tls.NONE}
    certified |= {link.source for link in crossing if link.target.listen.tls is Tls.MUTUAL}
    if certified - {OUTSIDE, ADMIN}:
        yield Paragraph(
            f"The stack has a certificate authority (CA) of its own; {counted(len(certified - {OUTSIDE, ADMIN}), 'instance')} "
            "carry a certificate of it with the names of their host and tier. The CA's key stays on the machine that "
            f"{code('nospof up')} is run on."
        )
    if any(link.source == OUTSIDE and link.target.listen.tls is not Tls.NONE for link in crossing):
        yield Paragraph(
            "Visitors' browsers do not know this CA and warn until they are told to trust it. Your own machines you can tell: "
            f"the CA's certificate is {code('.nospof/certificates/ca.crt')} beside the stack file, and "
            f"{code('docs/how-to/trust-the-ca.md')} says how. Customers you cannot: they need a certificate that a public "
            f"authority signed, which nospof does not get yet ({code('F108')}, above)."
        )
    yield Paragraph(
        f"Passwords between the parts are made once, are kept in {code('.nospof/')} beside the stack file, readable by its "
        "owner only, and reach the hosts in files that only their program can read. None is in this document."
    )


def _firewall(topology: Topology) -> Iterator[Block]:
    if not topology.has_firewall:
        yield Paragraph(
            "The firewall is switched off in the stack file: every port of every host is open to whoever reaches it."
        )
    else:
        yield Paragraph("Each host drops what comes in over the network unless this table names it.")
    rows = list(_rules(topology))
    if rows:
        yield Table(("who calls", "whom", "port", "what", "encryption"), tuple(rows))
    egress = topology.egress
    if egress is None:
        yield Paragraph("Out of the hosts everything is allowed.")
    else:
        yield Paragraph(
            f"Out of the hosts only the stack itself may be called, and {listed(map(code, egress)) or 'nothing else'}."
        )
    yield Paragraph(_administrators(topology))


def _administrators(topology: Topology) -> str:
    if topology.admin:
        where = "everywhere" if EVERYBODY in topology.admin else listed(map(code, topology.admin))
        return f"Administrators may come in by SSH from {where}."
    return (
        f"The stack file names no network for administrators ({code('admin')}), so that SSH is open to nobody. A host in the "
        f"lab is entered from this machine, not over the network: {code('nospof shell HOST')}."
    )


def _rules(topology: Topology) -> Iterator[tuple[str, ...]]:
    """One row per endpoint of a tier, its callers joined."""
    grouped: dict[tuple[str, int, str, str, str], list[Link]] = defaultdict(list)
    for link in topology.links:
        if not link.is_local:
            listen = link.target.listen
            key = (link.target.owner.tier, listen.port or 0, listen.name, protocol(listen), TLS_WORDS[listen.tls])
            grouped[key].append(link)
    for (tier, _, name, spoken, tls), links in sorted(grouped.items()):
        wires = "/".join(sorted({wire for link in links for wire in link.target.listen.speaks.wires}))
        port = links[0].target.listen.port
        what = f"{wires} {port}" if port is not None else wires
        hosts = sorted({link.target.owner.host for link in links})
        yield (
            _callers(topology, links),
            f"{code(tier)} on {listed(map(code, hosts))}",
            code(what),
            f"{spoken} ({code(name)})",
            tls,
        )


def _callers(topology: Topology, links: Iterable[Link]) -> str:
    tiers: dict[str, set[str]] = defaultdict(set)
    for link in links:
        tiers[link.source.tier].add(link.source.host)
    words = {OUTSIDE.tier: "everybody", ADMIN.tier: f"administrators ({', '.join(map(code, topology.admin)) or 'none named'})"}
    return listed(
        [words.get(tier, f"{code(tier)} on {listed(map(code, sorted(hosts)))}") for tier, hosts in sorted(tiers.items())]
    )


def _where(endpoint: Endpoint) -> str:
    port = endpoint.listen.port
    return f"{endpoint.owner.tier}" + (f" {port}" if port is not None else "")


# --- monitoring ------------------------------------------------------------------------------------------------------
def _monitoring(layers: Layers) -> Iterator[Block]:
    links = [link for link in layers.topology.links if measures(link)]
    watched = sorted({link.target.owner.tier for link in links})
    watchers = sorted({link.source.tier for link in links})
    if not links:
        yield Paragraph(
            "Nothing watches the stack. A failure that others make up for is noticed by nobody, and the next one takes the "
            f"site down; somebody has to hear of the first. {code('nospof status')} tells, but only whoever asks."
        )
        return
    verb = "measures" if len(watchers) == 1 else "measure"
    yield Paragraph(f"{listed(map(code, watchers))} {verb} {listed(map(code, watched))}.")
    gaps = [tier for tier in [*layers.tiers, *layers.providers] if tier not in watched]
    demands = [demand for one in layers.topology.instances for demand in one.demands]
    if gaps and any(isinstance(demand.need, HostMetrics) for demand in demands):
        yield Paragraph(
            f"Of {listed(map(code, gaps))} it is measured on their hosts whether they are healthy, and what they use there; "
            "they tell no figures of their own."
        )
    elif gaps:
        yield Paragraph(f"Not measured: {listed(map(code, gaps))}. What fails there is noticed by its callers first.")
    by_themselves = {told for one in layers.topology.instances if (told := component_of(one).tells) is not None}
    yield Paragraph(_told(by_themselves | {demand.need for demand in demands if isinstance(demand.need, AlertDelivery)}))


def _told(needs: Collection[AlertDelivery]) -> str:
    """Who hears of an alert. URLs are secret."""
    emails = sorted({email for need in needs for email in need.emails})
    urls = {url for need in needs for url in need.webhooks}
    ways = [f"a mail to {listed(map(code, emails))}"] if emails else []
    ways += [f"a document to {counted(len(urls), 'URL')} (not shown)"] if urls else []
    if not ways:
        return "Nobody is told of what is noticed: somebody has to look."
    outside = (
        "A service outside hears every few minutes that alerts would still arrive."
        if any(need.heartbeats for need in needs)
        else "Nobody outside would notice that no alert can arrive any more."
    )
    return f"Of each alert there is {listed(ways)}, once, and again when it is over. {outside}"
