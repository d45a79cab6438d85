"""What Nagios is told of each host and of the stack, from the figures that hosts tell: pure, so that it can be tried.

The same questions that Prometheus' alerts ask, and the same limits. What nobody could find out is `unknown`, never well: a host
that does not answer says nothing of its instances, and they count as lost for their tiers.
Source: https://assets.nagios.com/downloads/nagioscore/docs/nagioscore/4/en/pluginapi.html (states);
https://prometheus.io/docs/instrumenting/exposition_formats/ (figures).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

DAY_S = 86_400.0
# Measures are written anew every few seconds; older ones tell of a past that nobody should take for now.
OLD_S = 60.0
FEW_FREE, HARDLY_FREE = 0.1, 0.05
LITTLE_MEMORY = 0.05
ENDS_SOON_S, ENDS_NOW_S = 30 * DAY_S, 2 * DAY_S
WORST_STATUS = 500
NO_DISKS = {"tmpfs", "ramfs", "squashfs", "iso9660"}

_LINE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


class State(IntEnum):
    """Nagios' words for it, as a plugin's exit code."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True)
class Result:
    """One line for Nagios; `service` "" is the host itself, which is up where the state is OK."""

    host: str
    service: str
    state: State
    says: str


@dataclass(frozen=True)
class Figures:
    """What one host told. `samples`: name → (labels, value); None: it did not answer, and `why`."""

    samples: Mapping[str, Sequence[tuple[Mapping[str, str], float]]] | None
    why: str = ""

    def value(self, figure: str, /, **labels: str) -> float | None:
        """The value of the one sample with these labels; None where there is none."""
        return next((value for told, value in self.of(figure) if labels.items() <= told.items()), None)

    def of(self, name: str) -> Sequence[tuple[Mapping[str, str], float]]:
        return (self.samples or {}).get(name, ())

    def age_s(self, now: float) -> float | None:
        """How old its measures are; None where it tells none."""
        at = self.value("nospof_measured_at_seconds")
        return None if at is None else now - at

    def is_known(self, now: float) -> bool:
        """Whether what it tells is of now."""
        age_s = self.age_s(now)
        return age_s is not None and abs(age_s) < OLD_S


@dataclass(frozen=True)
class Page:
    """A site as a visitor sees it: the answer's status, or why there was none."""

    status: int | None
    took_s: float
    why: str = ""


@dataclass(frozen=True)
class Watched:
    """What there is to look at. `stack`: what Nagios calls the stack itself, as if it were a host."""

    stack: str
    tiers: Mapping[str, Sequence[str]]
    """Tier → hosts that it runs on."""
    hosts: Sequence[str]
    vips: Mapping[str, str]
    primaries: Sequence[str] = ()
    """Tiers one of whose servers takes writes."""
    promotable: Sequence[str] = ()
    """Tiers in which another server is to be ready to take over."""
    sites: Sequence[str] = ()
    """Services that stand for a site at one of its addresses."""
    has_firewall: bool = True
    quiet: Sequence[str] = field(default=())
    """Tiers that are only asked for figures: each is told of as its host."""


def parse(text: str) -> Figures:
    """Read Prometheus' text format; lines that are none are left out."""
    found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        name, labels, text_value = match.groups()
        try:
            value = float(text_value)
        except ValueError:
            continue
        found.setdefault(name, []).append((dict(_LABEL.findall(labels or "")), value))
    return Figures(found)


def results(watched: Watched, seen: Mapping[str, Figures], pages: Mapping[str, Page], now: float) -> list[Result]:
    """Everything that Nagios is told; `now` in seconds since the epoch. A host that is not in `seen` was not asked."""
    told = {host: seen.get(host, Figures(None, "was not asked")) for host in watched.hosts}
    found = [result for host in watched.hosts for result in _of_host(watched, host, told[host], now)]
    found.append(Result(watched.stack, "", State.OK, "looked at"))
    found += [
        _tier(watched, tier, hosts, told, now) for tier, hosts in sorted(watched.tiers.items()) if tier not in watched.quiet
    ]
    found += [_vip(watched, name, told, now) for name in sorted(watched.vips)]
    found += [_primary(watched, tier, told, now) for tier in watched.primaries]
    lacking = [_promotable(watched, tier, told, now) for tier in watched.promotable]
    lacking += [_site(watched, service, pages.get(service)) for service in watched.sites]
    return found + [_unless_being_set_up(result, told, now) for result in lacking]


# --- a host --------------------------------------------------------------------------------------------------------------
def _of_host(watched: Watched, host: str, told: Figures, now: float) -> Iterator[Result]:
    if told.samples is None:
        yield Result(host, "", State.CRITICAL, f"{host} does not answer: {told.why}")
    else:
        yield Result(host, "", State.OK, "answers")
    checks = {"figures": _age, "disks": _disks, "memory": _memory, "certificates": _certificates}
    if watched.has_firewall:
        checks["firewall"] = _firewall
    for service, check in sorted(checks.items()):
        state, says = check(told, now)
        yield Result(host, service, state, f"{host}: {says}")
    for tier in sorted(tier for tier, hosts in watched.tiers.items() if host in hosts and tier not in watched.quiet):
        is_up = _is_up(told, tier, now)
        words = {True: "is healthy", False: "is not healthy", None: "nobody knows how it is"}
        states = {True: State.OK, False: State.CRITICAL, None: State.UNKNOWN}
        yield Result(host, f"instance {tier}", states[is_up], f"{tier} on {host} {words[is_up]}")


def _is_up(told: Figures, tier: str, now: float) -> bool | None:
    value = told.value("nospof_instance_up", tier=tier) if told.is_known(now) else None
    return None if value is None else value == 1


def _age(told: Figures, now: float) -> tuple[State, str]:
    age_s = told.age_s(now)
    if told.samples is None:
        return State.UNKNOWN, "does not answer"
    if age_s is None:
        return State.CRITICAL, "nothing is known of what runs on it"
    if not told.is_known(now):
        return State.CRITICAL, f"what it says of itself is {abs(age_s):.0f} s {'old' if age_s > 0 else 'ahead of our clock'}"
    return State.OK, f"{max(0.0, age_s):.0f} s old"


def _disks(told: Figures, now: float) -> tuple[State, str]:
    sizes = {
        (labels.get("mountpoint", ""), labels.get("device", "")): value
        for labels, value in told.of("node_filesystem_size_bytes")
    }
    shares = [
        (value / size, labels.get("mountpoint", ""))
        for labels, value in told.of("node_filesystem_avail_bytes")
        if labels.get("fstype") not in NO_DISKS
        and (size := sizes.get((labels.get("mountpoint", ""), labels.get("device", "")))) is not None
        and size > 0
    ]
    if not shares:
        return State.UNKNOWN, "no disk is known"
    share, mountpoint = min(shares)
    state = State.CRITICAL if share < HARDLY_FREE else State.WARNING if share < FEW_FREE else State.OK
    return state, f"{mountpoint} has {share:.0%} free"


def _memory(told: Figures, now: float) -> tuple[State, str]:
    left, size = told.value("node_memory_MemAvailable_bytes"), told.value("node_memory_MemTotal_bytes")
    if left is None or not size:
        return State.UNKNOWN, "its memory is not known"
    share = left / size
    return (State.WARNING if share < LITTLE_MEMORY else State.OK), f"{share:.0%} of its memory is available"


def _certificates(told: Figures, now: float) -> tuple[State, str]:
    ends = sorted((value, labels.get("path", "")) for labels, value in told.of("nospof_certificate_ends_seconds"))
    if not ends:
        # Every host has the authority's, so that none at all is nobody's knowledge.
        return State.UNKNOWN, "no certificate is known"
    left_s, path = ends[0][0] - now, ends[0][1]
    state = State.CRITICAL if left_s < ENDS_NOW_S else State.WARNING if left_s < ENDS_SOON_S else State.OK
    return state, f"{path} ends in {left_s / DAY_S:.1f} days" if left_s > 0 else f"{path} has ended"


def _firewall(told: Figures, now: float) -> tuple[State, str]:
    value = told.value("nospof_firewall_in_force") if told.is_known(now) else None
    if value is None:
        return State.UNKNOWN, "of its firewall nothing is known"
    return (State.OK, "the firewall is in force") if value == 1 else (State.CRITICAL, "the firewall is not in force")


# --- the stack -----------------------------------------------------------------------------------------------------------
def _tier(watched: Watched, tier: str, hosts: Sequence[str], told: Mapping[str, Figures], now: float) -> Result:
    is_up = {host: _is_up(told[host], tier, now) for host in hosts}
    # Whoever answers and does not know has just begun to look, which is no loss; whoever does not answer is lost.
    unknown = [host for host in hosts if is_up[host] is None and told[host].samples is not None]
    lost = [host for host in hosts if not is_up[host] and host not in unknown]
    well = len(hosts) - len(lost) - len(unknown)
    service = f"tier {tier}"
    if len(lost) == len(hosts):
        return Result(watched.stack, service, State.CRITICAL, f"tier {tier} is down")
    if lost:
        says = f"tier {tier} has {well} of {len(hosts)} healthy, without {' '.join(lost)}"
        return Result(watched.stack, service, State.WARNING, says)
    if unknown:
        return Result(watched.stack, service, State.UNKNOWN, f"tier {tier}: nothing is known of {' '.join(unknown)}")
    return Result(watched.stack, service, State.OK, f"all {well} are healthy" if well > 1 else "it is healthy")


def _unless_being_set_up(result: Result, told: Mapping[str, Figures], now: float) -> Result:
    """As it is, or unknown while a host is being set up for the first time: what is lacking then was not lost."""
    is_being_set_up = any(one.is_known(now) and not one.of("nospof_instance_up") for one in told.values())
    if result.state is State.OK or not is_being_set_up:
        return result
    return replace(result, state=State.UNKNOWN, says=f"{result.says}; hosts are being set up")


def _vip(watched: Watched, name: str, told: Mapping[str, Figures], now: float) -> Result:
    holders = [
        host for host in watched.hosts if told[host].is_known(now) and told[host].value("nospof_vip_held", name=name) == 1
    ]
    state = State.OK if len(holders) == 1 else State.CRITICAL
    says = f"{watched.vips[name]} is held by {' and '.join(holders) or 'no host'}"
    result = Result(watched.stack, f"vip {name}", state, says)
    return result if holders else _unless_being_set_up(result, told, now)


def _primary(watched: Watched, tier: str, told: Mapping[str, Figures], now: float) -> Result:
    taking = _hosts_where(watched, tier, "nospof_takes_writes", told, now)
    state = State.OK if len(taking) == 1 else State.CRITICAL
    who = " and ".join(taking)
    says = f"tier {tier}: {who or 'no server'} {'take' if len(taking) > 1 else 'takes'} writes"
    result = Result(watched.stack, f"primary {tier}", state, says)
    return result if taking else _unless_being_set_up(result, told, now)


def _promotable(watched: Watched, tier: str, told: Mapping[str, Figures], now: float) -> Result:
    fit = _hosts_where(watched, tier, "nospof_database_fit_for_promotion", told, now)
    says = f"tier {tier}: {' and '.join(fit) or 'no replica'} could take over"
    return Result(watched.stack, f"copies {tier}", State.OK if fit else State.WARNING, says)


def _hosts_where(watched: Watched, tier: str, figure: str, told: Mapping[str, Figures], now: float) -> list[str]:
    hosts: Iterable[str] = watched.tiers.get(tier, ())
    return [host for host in hosts if told[host].is_known(now) and told[host].value(figure, tier=tier) == 1]


def _site(watched: Watched, service: str, page: Page | None) -> Result:
    if page is None:
        return Result(watched.stack, service, State.UNKNOWN, "was not asked")
    if page.status is None:
        return Result(watched.stack, service, State.CRITICAL, f"{service} gives no answer: {page.why}")
    state = State.CRITICAL if page.status >= WORST_STATUS else State.OK
    return Result(watched.stack, service, state, f"{service} answered {page.status} in {page.took_s * 1000:.0f} ms")
