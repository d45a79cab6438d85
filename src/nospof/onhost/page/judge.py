"""What the figures mean: is each part well, who leads, and what of the stack's redundancy is lost, in words. Pure.

Nothing is called well that was not heard of: a part of a host that does not answer counts as lost, and what nobody measured is
unknown. What a tier outlives is told to the page by the stack file's own rules (nospof.component.Redundancy).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from nospof.onhost.page.config import Config, Host, How, Member, Tier, Vip
from nospof.onhost.page.seen import LATE_S, HostSeen, Rate, Seen

CERTIFICATE_S = 30 * 86_400


class Level(IntEnum):
    """How something stands, the worst first."""

    BAD = 0
    """It does not work."""
    WEAK = 1
    """It works, and the next failure may stop it."""
    OPEN = 2
    """Nobody knows."""
    GOOD = 3


@dataclass(frozen=True)
class Sentence:
    """Something that is not as it should be."""

    level: Level
    says: str
    is_told_together: bool = False
    """Whether it is only how a tier stands, since one sentence tells it of all tiers that lack the same."""


@dataclass(frozen=True)
class Part:
    """One instance. `role`: primary, replica, witness, holds the VIP …; "" where there is none. `says`: what is wrong."""

    tier: str
    component: str
    host: str
    level: Level
    role: str = ""
    says: str = ""


@dataclass(frozen=True)
class TierView:
    """`says`: how many are healthy, in words. `figure`: what it does a second, "" where nobody counts."""

    tier: Tier
    level: Level
    says: str
    figure: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class HostView:
    """`age_s`: of the last answer; None: it never answered. `says`: what is wrong with it."""

    host: Host
    level: Level
    says: str
    age_s: float | None
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class VipView:
    """`holders`: the hosts that say so."""

    vip: Vip
    level: Level
    holders: tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """A database's primary was replaced, as its agents say."""

    tier: str
    at: float
    origin: str
    to: str
    cause: str
    loss: str


@dataclass(frozen=True)
class Picture:
    """All that stands on the page. `rate`: of the whole stack, None where it is not known."""

    config: Config
    seen: Seen
    level: Level
    verdict: str
    sentences: tuple[Sentence, ...]
    tiers: tuple[TierView, ...]
    hosts: tuple[HostView, ...]
    vips: tuple[VipView, ...]
    rate: Rate | None
    changes: tuple[Change, ...]


VERDICTS = {
    Level.BAD: "Something does not work",
    Level.WEAK: "It works, but redundancy is lost",
    Level.OPEN: "Not everything is known",
    Level.GOOD: "All is well",
}


def picture(config: Config, seen: Seen) -> Picture:
    """Judge everything that was seen."""
    return _Judge(config, seen).picture()


@dataclass(frozen=True)
class _Judge:
    config: Config
    seen: Seen

    def picture(self) -> Picture:
        vips = tuple(self._vip(vip) for vip in self.config.vips)
        parts = {tier.name: tuple(self._part(tier, member) for member in tier.members) for tier in self.config.tiers}
        said = {tier.name: list(self._of_tier(tier, parts[tier.name])) for tier in self.config.tiers}
        sentences = [
            *self._hosts_missing(),
            *(one for vip in vips for one in self._of_vip(vip)),
            *(one for tier in self.config.tiers for one in said[tier.name] if not one.is_told_together),
            *self._lacking_together(parts),
            *self._of_hosts(),
        ]
        alone = list(self._alone())
        # Whoever hears nobody cannot say that something does not work: only that he does not know.
        sentences = alone or sorted(sentences, key=lambda one: one.level)
        level = min((one.level for one in sentences), default=Level.GOOD)
        least = Level.OPEN if alone else Level.BAD
        return Picture(
            self.config,
            self.seen,
            level,
            VERDICTS[level],
            tuple(sentences),
            tuple(self._tier_view(tier, parts[tier.name], said[tier.name], least) for tier in self.config.tiers),
            tuple(self._host_view(host, parts, least) for host in self.config.hosts),
            vips,
            _sum(self.seen.rates.values()),
            self._changes(),
        )

    # --- hosts -------------------------------------------------------------------------------------------------------
    def _host(self, name: str) -> HostSeen:
        return self.seen.hosts[name]

    def _answers(self, name: str) -> bool:
        return self._host(name).answers(self.seen.now)

    def _is_new(self) -> bool:
        """Whether the page has only just begun to ask."""
        return self.seen.now.mono_s - self.seen.started.mono_s < LATE_S

    def _silent(self) -> list[str]:
        return [host.name for host in self.config.hosts if not self._answers(host.name)]

    def _alone(self) -> Iterator[Sentence]:
        others = [host.name for host in self.config.hosts if host.name != self.config.me]
        if others and not self._is_new() and not any(self._answers(name) for name in others):
            more = [name for name in self.config.pages if name != self.config.me]
            look = f" The page on {_or(more)} may know more." if more else ""
            yield Sentence(
                Level.OPEN,
                f"This page, on {self.config.me}, hears no other host: it may be {self.config.me} that is cut off.{look}",
            )

    def _hosts_missing(self) -> Iterator[Sentence]:
        for name in self._silent():
            known = self._host(name)
            if known.answered is not None:
                yield Sentence(Level.WEAK, f"Host {name} does not answer since {self._clock(known.answered.at)} ({known.why}).")
            elif self._is_new():
                yield Sentence(Level.OPEN, f"Host {name} has not answered yet; this page began to ask at {self._began()}.")
            else:
                why = known.why or "no answer"
                yield Sentence(Level.WEAK, f"Host {name} has not answered since this page began, at {self._began()} ({why}).")

    def _began(self) -> str:
        return self._clock(self.seen.started.at)

    def _clock(self, at: float) -> str:
        return clock(at, self.seen.now.at)

    def _of_hosts(self) -> Iterator[Sentence]:
        """What hosts that answer say of themselves."""
        for host in self.config.hosts:
            known = self._host(host.name)
            if not self._answers(host.name):
                continue
            if not known.is_measured(self.seen.now):
                yield Sentence(Level.OPEN, f"Host {host.name} answers, but what runs on it is not measured any more.")
            if known.figures.one("nospof_firewall_in_force") == 0:
                yield Sentence(
                    Level.WEAK, f"The firewall of {host.name} is not in force: every port is open to whoever reaches it."
                )
            ends = [one.value for one in known.figures.all("nospof_certificate_ends_seconds")]
            if ends and min(ends) - self.seen.now.at < CERTIFICATE_S:
                left = max(0, (min(ends) - self.seen.now.at) / 86_400)
                yield Sentence(Level.WEAK, f"A certificate on {host.name} ends in {left:.0f} days: nospof up makes a new one.")

    def _host_view(self, host: Host, parts: dict[str, tuple[Part, ...]], least: Level) -> HostView:
        known = self._host(host.name)
        here = tuple(part for one in parts.values() for part in one if part.host == host.name)
        age_s = None if known.answered is None else max(0.0, self.seen.now.mono_s - known.answered.mono_s)
        if not self._answers(host.name):
            since = f"does not answer since {self._clock(known.answered.at)}" if known.answered else "has not answered yet"
            return HostView(host, max(least, Level.OPEN if self._is_new() else Level.BAD), since, age_s, here)
        if not known.is_measured(self.seen.now):
            return HostView(host, Level.OPEN, "is not measured any more", age_s, here)
        return HostView(host, min((part.level for part in here), default=Level.GOOD), "", age_s, here)

    # --- parts -------------------------------------------------------------------------------------------------------
    def _part(self, tier: Tier, member: Member) -> Part:
        known = self._host(member.host)
        if not self._answers(member.host):
            says = "not heard of yet" if self._is_new() else "host does not answer"
            return Part(tier.name, tier.component, member.host, Level.OPEN, member.rank_word, says)
        is_up = known.figures.one("nospof_instance_up", tier=tier.name)
        if is_up is None or not known.is_measured(self.seen.now):
            return Part(tier.name, tier.component, member.host, Level.OPEN, member.rank_word, "not measured")
        role = self._role(tier, member, known)
        if not is_up:
            # Of one that is not well it matters only whether it leads.
            role = role if role.endswith(("primary", "VIP", "VIPs")) else member.rank_word
            return Part(tier.name, tier.component, member.host, Level.BAD, role, "not healthy")
        return Part(tier.name, tier.component, member.host, Level.GOOD, role)

    def _role(self, tier: Tier, member: Member, known: HostSeen) -> str:
        words = [member.rank_word] if member.rank_word else []
        held = sum(vip.tier == tier.name and self._holds(vip, member.host) for vip in self.config.vips)
        words += ["holds the VIP" if held == 1 else f"holds {held} VIPs"] if held else []
        if tier.how is How.PRIMARY and len(tier.members) > 1:
            words += _database_words(tier, member, known)
        return ", ".join(words)

    # --- tiers -------------------------------------------------------------------------------------------------------
    def _tier_view(self, tier: Tier, parts: tuple[Part, ...], said: list[Sentence], least: Level) -> TierView:
        healthy = sum(part.level is Level.GOOD for part in parts)
        level = max(least, min((one.level for one in said), default=Level.GOOD))
        says = f"{healthy} of {len(parts)} healthy" if len(parts) > 1 else ("healthy" if healthy else parts[0].says)
        return TierView(tier, level, says, self._figure(tier), parts)

    def _figure(self, tier: Tier) -> str:
        rate = _sum(rate for (name, _), rate in self.seen.rates.items() if name == tier.name)
        if rate is not None:
            return f"{number(rate.per_s)} requests/s"
        asked = [
            value
            for host in tier.hosts
            if self._answers(host)
            and (value := self._host(host).figures.one("nospof_database_queries_per_second", tier=tier.name)) is not None
        ]
        return f"{number(sum(asked))} queries/s" if asked else ""

    def _of_tier(self, tier: Tier, parts: tuple[Part, ...]) -> Iterator[Sentence]:
        ways = {How.EACH: self._each, How.MAJORITY: self._majority, How.PRIMARY: self._primary}
        yield from ways[tier.how](tier, *_split(parts))

    def _each(self, tier: Tier, well: list[str], lost: list[Part]) -> Iterator[Sentence]:
        if not lost:
            return
        if not well:
            yield self._none_left(tier, lost)
        else:
            yield Sentence(Level.WEAK, _lacks([tier], well, lost), is_told_together=True)

    def _lacking_together(self, parts: dict[str, tuple[Part, ...]]) -> Iterator[Sentence]:
        """One sentence for all tiers of which the same is lost and the same is left: one dark host is one sentence."""
        groups: dict[tuple[object, ...], list[Tier]] = {}
        for tier in self.config.tiers:
            well, lost = _split(parts[tier.name])
            if well and lost and any(one.is_told_together for one in self._of_tier(tier, parts[tier.name])):
                groups.setdefault((tuple(well), _lost(lost)), []).append(tier)
        for tiers in groups.values():
            yield Sentence(Level.WEAK, _lacks(tiers, *_split(parts[tiers[0].name])))

    def _majority(self, tier: Tier, well: list[str], lost: list[Part]) -> Iterator[Sentence]:
        if not lost:
            return
        needed, says = len(tier.members) // 2 + 1, f"Tier {tier.name} has {len(well)} of {len(tier.members)} voters left"
        if len(well) < needed:
            level = Level.OPEN if self._is_new() else Level.BAD
            yield Sentence(level, f"{says}, without {_lost(lost)}: no majority, so that nobody can take over anything.")
        else:
            spare = len(well) - needed
            more = f"{spare} more may be lost" if spare else "if one more is lost, nobody can take over anything"
            yield Sentence(Level.WEAK, f"{says}, without {_lost(lost)}; {more}.")

    def _primary(self, tier: Tier, well: list[str], lost: list[Part]) -> Iterator[Sentence]:
        told = {host: self._takes_writes(tier, host) for host in tier.hosts}
        leading = [host for host, takes in told.items() if takes]
        if not any(takes is not None for takes in told.values()):
            # Whoever leads it tells no roles: then only health is known.
            yield from self._each(tier, well, lost)
            return
        if len(leading) > 1:
            yield Sentence(
                Level.BAD, f"In tier {tier.name} {' AND '.join(leading)} say that they take writes: it must be one alone."
            )
        elif not leading:
            silent = [host for host in tier.hosts if not self._answers(host)]
            who = (
                f"Nobody that answers takes writes in tier {tier.name}; {_and(silent)} does not answer."
                if silent
                else (f"Nobody takes writes in tier {tier.name}.")
            )
            yield Sentence(Level.OPEN if self._is_new() else Level.BAD, who)
        fit = [self._tells(tier, host, "fit_for_promotion") for host in tier.hosts]
        without = f", without {_lost(lost)}" if lost else ""
        if lost:
            yield Sentence(Level.WEAK, f"Tier {tier.name} has {len(well)} of {len(tier.members)} left{without}.")
        # Where nobody tells whether he is fit, as caches, only health is known.
        if tier.takes_over and leading and any(one is not None for one in fit) and not any(fit):
            yield Sentence(
                Level.WEAK, f"In tier {tier.name} nobody could take over from {leading[0]}: if it is lost now, writes stop."
            )

    def _none_left(self, tier: Tier, lost: list[Part]) -> Sentence:
        if all(part.level is Level.OPEN for part in lost) and self._is_new():
            return Sentence(Level.OPEN, f"Of tier {tier.name} nothing is known yet.")
        one = "its only instance" if len(lost) == 1 else f"none of its {len(lost)} instances"
        is_not = "is not known to be healthy" if len(lost) == 1 else "is known to be healthy"
        return Sentence(Level.BAD, f"Tier {tier.name} is down: {one} {is_not}: {_lost(lost)}.")

    # --- who leads ---------------------------------------------------------------------------------------------------
    def _tells(self, tier: Tier, host: str, figure: str) -> float | None:
        """What `host` says of its server; None where it does not answer, or says nothing."""
        known = self._host(host)
        if not self._answers(host) or not known.is_measured(self.seen.now):
            return None
        return known.figures.one(f"nospof_database_{figure}", tier=tier.name)

    def _takes_writes(self, tier: Tier, host: str) -> float | None:
        known = self._host(host)
        if not self._answers(host) or not known.is_measured(self.seen.now):
            return None
        return _is_primary(tier, known)

    def _holds(self, vip: Vip, host: str) -> bool:
        return self._answers(host) and self._host(host).figures.one("nospof_vip_held", name=vip.name) == 1

    def _vip(self, vip: Vip) -> VipView:
        holders = tuple(host.name for host in self.config.hosts if self._holds(vip, host.name))
        unknown = Level.OPEN if self._is_new() else Level.BAD
        return VipView(vip, Level.GOOD if len(holders) == 1 else Level.BAD if holders else unknown, holders)

    def _of_vip(self, view: VipView) -> Iterator[Sentence]:
        vip = view.vip
        if len(view.holders) > 1:
            yield Sentence(
                Level.BAD, f"VIP {vip.address} ({vip.name}) is held by {' AND '.join(view.holders)}: it must be one alone."
            )
        elif not view.holders:
            silent = [host for host in vip.hosts if not self._answers(host)]
            but = f" that answers; {_and(silent)} does not" if silent else ""
            yield Sentence(view.level, f"VIP {vip.address} ({vip.name}) is held by nobody{but}: visitors come in there.")

    def _changes(self) -> tuple[Change, ...]:
        """Each change of a primary once, however many hosts tell of it; the newest first."""
        found: dict[tuple[str, str], Change] = {}
        for host in self.config.hosts:
            for one in self._host(host.name).figures.all("nospof_database_replaced_at_seconds"):
                tier, term = one.labels.get("tier", ""), one.labels.get("term", "")
                words = (one.labels.get(name, "") for name in ("from", "to", "cause", "loss"))
                found[(tier, term)] = Change(tier, one.value, *words)
        return tuple(sorted(found.values(), key=lambda change: -change.at))


def _database_words(tier: Tier, member: Member, known: HostSeen) -> Iterator[str]:
    def told(name: str) -> float | None:
        return known.figures.one(f"nospof_database_{name}", tier=tier.name)

    if _is_primary(tier, known):
        yield "primary"
        return
    if _is_primary(tier, known) is None:
        return
    if not member.rank_word:
        yield "replica"
    lag_s = told("lag_seconds")
    if told("fit_for_promotion"):
        yield "could take over"
    elif lag_s is None and told("takes_writes") is not None:
        yield "follows nobody"
    if lag_s:
        yield f"{number(lag_s)} s behind"


def _is_primary(tier: Tier, known: HostSeen) -> float | None:
    """Whether the server takes writes, as a database's agent says, or any other's note; None where neither is told."""
    told = known.figures.one("nospof_database_takes_writes", tier=tier.name)
    return known.figures.one("nospof_takes_writes", tier=tier.name) if told is None else told


def _sum(rates: Iterable[Rate]) -> Rate | None:
    found = list(rates)
    return Rate(sum(one.per_s for one in found), sum(one.failed_per_s for one in found)) if found else None


# --- words ---------------------------------------------------------------------------------------------------------------
def clock(at: float, now_at: float) -> str:
    """A moment as it is shown: "14:03:02 UTC", with the day where that is not obvious."""
    return time.strftime("%H:%M:%S UTC" if abs(now_at - at) < 43_200 else "%d %b %H:%M:%S UTC", time.gmtime(at))


def number(value: float) -> str:
    """As many digits as one reads: 0.4, 7.2, 41, 1 250."""
    return f"{value:.1f}".removesuffix(".0") if value < 10 else f"{value:,.0f}".replace(",", "\u202f")


def _split(parts: Iterable[Part]) -> tuple[list[str], list[Part]]:
    """The hosts where it is well, and what is lost of it."""
    parts = list(parts)
    return [part.host for part in parts if part.level is Level.GOOD], [part for part in parts if part.level is not Level.GOOD]


def _lacks(tiers: list[Tier], well: list[str], lost: list[Part]) -> str:
    """That these tiers, which have the same members, have some of them left."""
    names = [tier.name for tier in tiers]
    which, has, whose = ("Tier", "has", "its") if len(tiers) == 1 else ("Tiers", "have", "their")
    said = f"{which} {_and(names)} {has} {len(well)} of {len(well) + len(lost)} left, without {_lost(lost)}."
    return f"{said} If {well[0]} is lost too, nobody does {whose} work." if len(well) == 1 else said


def _lost(parts: list[Part]) -> str:
    return ", ".join(f"{part.host} ({part.says})" for part in parts)


def _and(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _or(names: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
