"""The sections on each tier: what it is and why, where it runs, what its loss means, how it is set; and on the data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from nospof.component import Component, OnePrimary, Place
from nospof.explain.layers import Layers
from nospof.explain.page import Block, Listing, Paragraph, Section, Table, code, plain
from nospof.resolve import component_of
from nospof.stack.marks import AmongSeveral, Secret
from nospof.stack.problems import Problem
from nospof.stack.words import listed, show
from nospof.topology import Instance, Rank


def sections(layers: Layers, findings: Iterable[Problem]) -> Iterator[Section]:
    """One section for the tiers, one below it for each that was declared and for each that came along."""
    yield Section("tiers", "The tiers", (Paragraph("From the visitors down; then what comes along because a tier needs it."),))
    found = list(findings)
    for tier in layers.tiers:
        yield Section(f"tier-{tier}", f"{tier}: {_software(layers, tier)}", tuple(_tier(layers, tier, found)), level=3)
    for provider in layers.providers:
        yield Section(f"tier-{provider}", f"{provider}: comes along", tuple(_provider(layers, provider)), level=3)


def data(layers: Layers) -> Iterator[Block]:
    """Who has copies of the data and what they may become, who agrees, and that a copy is no backup."""
    stores = [tier for tier in layers.tiers if layers.topology.keeps_data(tier)]
    for tier in stores:
        members = layers.topology.of_tier(tier)
        able = [one for one in members if one.rank is Rank.NORMAL]
        rows = [(code(one.id.host), code(_zone(layers, one)), _role(one, able)) for one in members]
        yield Paragraph(f"Tier {code(tier)}:")
        yield Table(("host", "zone", "role"), tuple(rows))
        voters = _voters(layers, tier)
        if voters:
            hosts = [f"{code(one.id.host)} (zone {code(_zone(layers, one))})" for one in voters]
            yield Paragraph(
                f"Who is primary is agreed on by {code(voters[0].component)} on {listed(hosts)}: a majority of these "
                f"{len(voters)} must hear each other."
            )
    if stores:
        yield Paragraph(
            "Copies are no backup: what is deleted or spoilt by mistake is deleted or spoilt in all of them at once. "
            "This stack has no tier that keeps backups. Keep some elsewhere, and restore one now and then, to be sure that "
            "it can be done."
        )
    else:
        yield Paragraph(
            "No tier keeps data, as far as this file tells; what applications write to their own disks is not copied."
        )


# --- a tier ----------------------------------------------------------------------------------------------------------
def _tier(layers: Layers, tier: str, findings: Sequence[Problem]) -> Iterator[Block]:
    members = layers.topology.of_tier(tier)
    component = component_of(members[0])
    about = " ".join(filter(None, [component.about, component.why]))
    if about:
        yield Paragraph(about)
    yield Paragraph(_where(layers, members))
    yield from (Paragraph(plain(text)) for text in component.remarks(layers.topology))
    yield Listing(tuple(_losses(layers, members, component)))
    mine = [problem for problem in findings if problem.path.startswith(f"tiers.{tier}.") or problem.path == f"tiers.{tier}"]
    if mine:
        yield Listing(tuple(f"{code(one.code)} {plain(one.what)}: {plain(one.why)}." for one in mine))
    rows = list(_settings(component.settings, is_alone=len(members) == 1))
    if rows:
        yield Table(("setting", "value", "what it does"), tuple(rows))


def _provider(layers: Layers, provider: str) -> Iterator[Block]:
    members = layers.topology.of_tier(provider)
    component = component_of(members[0])
    wanting = layers.wanted_by(provider)
    yield Paragraph(" ".join(filter(None, [component.about, component.why])) or f"The component {code(provider)}.")
    yield Paragraph(f"Nobody named it: {listed([code(tier) for tier in wanting])} cannot do without. {_where(layers, members)}")
    if len(members) == 1:
        yield Paragraph("It is the only one: when it is lost, nobody does its work until it is back.")
    elif component.when_lost:
        yield Paragraph(f"When one of them is lost: {component.when_lost[:1].lower()}{component.when_lost[1:]}")
    rows = list(_settings(component.settings, is_alone=len(members) == 1))
    if rows:
        yield Table(("setting", "value", "what it does"), tuple(rows))


def _where(layers: Layers, members: Sequence[Instance]) -> str:
    said = []
    for rank, before in ((Rank.NORMAL, "on"), (Rank.WITNESS, "as witness on"), (Rank.SPARE, "as last resort on")):
        hosts = [f"{code(one.id.host)} (zone {code(_zone(layers, one))})" for one in members if one.rank is rank]
        said += [f"{before} {listed(hosts)}"] if hosts else []
    return f"It runs {'; '.join(said)}."


def _losses(layers: Layers, members: Sequence[Instance], component: Component[Any]) -> Iterator[str]:
    normal = [one for one in members if one.rank is Rank.NORMAL]
    spare = [one for one in members if one.rank is Rank.SPARE]
    if len(normal) > 1:
        yield f"One instance of {len(normal)} lost. {component.when_lost or 'The others are left.'}{_missed(component)}"
    elif spare:
        yield f"Its only instance lost: all of its work falls on {listed([code(one.id.host) for one in spare])}."
    else:
        yield "Its only instance lost: nobody does its work until it is back. It is not redundant."
    if len(normal) > 1 and spare:
        yield _stood_in_for(spare, component)
    yield from _host_losses(layers, normal)
    zones = sorted({_zone(layers, one) for one in normal})
    for zone in zones:
        left = [one.id.host for one in normal if _zone(layers, one) != zone]
        rest = (
            f"{listed([code(host) for host in left])} {'are' if len(left) > 1 else 'is'} left"
            if left
            else "none of its normal hosts is left"
        )
        yield f"Zone {code(zone)} lost: {rest}."


def _stood_in_for(spare: Sequence[Instance], component: Component[Any]) -> str:
    hosts = listed([code(one.id.host) for one in spare], "or")
    told = f"All of these instances lost: {hosts} does their work, until one of them is back."
    how = component.redundancy
    if not isinstance(how, OnePrimary) or not how.takes_over or not how.hears_all:
        return told
    return (
        f"{told} That is so when they are lost one after the other. Lost at the same instant, the last write may be where "
        "nobody hears of it: nobody is promoted, and writes wait until one of them is back."
    )


def _missed(component: Component[Any]) -> str:
    """How long, where it was measured."""
    if component.missed_s is None:
        return ""
    missed_s = component.missed_s
    told = f"good answers were missing for {missed_s:g} s" if missed_s else "every request that began after it was answered"
    return f" Measured in the lab, with its host gone dark and settings as they are by default: {told}."


def _host_losses(layers: Layers, normal: Sequence[Instance]) -> Iterator[str]:
    """What else goes with a host of the tier, hosts that are alike told together."""
    beside: dict[tuple[str, ...], list[str]] = {}
    for one in normal:
        others = tuple(sorted({other.id.tier for other in layers.topology.on_host(one.id.host)} - {one.id.tier}))
        beside.setdefault(others, []).append(one.id.host)
    for others, hosts in beside.items():
        with_it = f"with it goes its {listed([code(other) for other in others])}" if others else "nothing else runs there"
        yield f"Host {listed([code(host) for host in hosts], 'or')} lost: {with_it}."


# --- data ------------------------------------------------------------------------------------------------------------
def _role(one: Instance, able: Sequence[Instance]) -> str:
    if one.rank is Rank.WITNESS:
        return "witness: keeps a copy and has a vote, is never primary by choice"
    if one.rank is Rank.SPARE:
        return "spare: keeps a copy, is primary only while no other host can be"
    return "primary or replica: who is what is decided on the hosts" if len(able) > 1 else "the only server"


def _voters(layers: Layers, tier: str) -> list[Instance]:
    """Those that the tier's instances wanted for agreeing: providers that are not led to, and not beside each caller."""
    wants = [want for one in layers.topology.of_tier(tier) for want in component_of(one).wants]
    needs = {want.need for want in wants if want.place is Place.THREE_ZONES}
    return [one for one in layers.topology.instances if any(demand.need in needs for demand in one.demands)]


# --- settings --------------------------------------------------------------------------------------------------------
def _settings(settings: BaseModel, *, is_alone: bool) -> Iterator[tuple[str, str, str]]:
    """What the file sets, and the choices it leaves as they are; other keys have their defaults.

    `is_alone`: a tier with one instance, which has no choice between several.
    """
    for name, info in sorted(type(settings).model_fields.items()):
        value = getattr(settings, name)
        is_idle = is_alone and any(isinstance(mark, AmongSeveral) for mark in info.metadata)
        is_choice = "Literal" in str(info.annotation) and value is not None and not is_idle
        if name not in settings.model_fields_set and not is_choice:
            continue
        if isinstance(value, BaseModel):
            yield code(name), "as below", plain(info.description or "")
            inside = _settings(value, is_alone=is_alone)
            yield from ((code(f"{name}.{key.strip('`')}"), said, about) for key, said, about in inside)
            continue
        is_secret = any(isinstance(mark, Secret) for mark in info.metadata)
        yield code(name), _hidden(value) if is_secret else code(_shown(value)), plain(info.description or "")


def _hidden(value: object) -> str:
    if isinstance(value, Mapping):
        return f"{listed(code(key) for key in value)} (not shown)" if value else "none"
    return "none" if value is None else "set (not shown)"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return value if isinstance(value, str) and value else show(value)


def _software(layers: Layers, tier: str) -> str:
    return listed(sorted({one.component for one in layers.topology.of_tier(tier)}))


def _zone(layers: Layers, one: Instance) -> str:
    return layers.topology.host(one.id.host).zone
