"""The section on capacity: what each tier carries, whole and with something gone, and where that is known from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nospof.explain.page import Block, Commands, Listing, Paragraph, Table, code, plain


@dataclass(frozen=True)
class TierCapacity:
    """One tier, in words: "2", "at least 340", "unknown"; `without`: what is left when the one is away that is missed most."""

    tier: str
    at_work: str
    per_instance: str
    source: str
    without_host: str
    without_zone: str


@dataclass(frozen=True)
class Capacity:
    """What is declared, what was measured, and what follows. `verdict`: sentences of what `check` found about it."""

    peak_qps: int | None
    measured: str
    tiers: tuple[TierCapacity, ...]
    verdict: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def section(capacity: Capacity | None) -> Iterator[Block]:
    """The blocks; None: nobody has looked, and it is said how one comes to know it."""
    if capacity is None:
        yield Paragraph(
            "How many queries per second (QPS) this stack answers is unknown: it was neither declared nor measured."
        )
        yield from _how()
        return
    yield Paragraph(_peak(capacity))
    yield from (Paragraph(plain(text)) for text in capacity.verdict)
    head = ("tier", "at work at a time", "QPS of each", "known from", "without one host", "without one zone")
    yield Table(head, tuple(_row(tier) for tier in capacity.tiers))
    if capacity.measured:
        yield Paragraph(plain(capacity.measured))
    if capacity.remarks:
        yield Listing(tuple(plain(text) for text in capacity.remarks))
    if not capacity.measured:
        yield from _how()


def _peak(capacity: Capacity) -> str:
    if capacity.peak_qps is None:
        return f"How many queries per second (QPS) visitors make at the busiest time is not declared ({code('peak_qps')})."
    return f"At the busiest time {capacity.peak_qps} queries per second (QPS) of visitors are to be answered."


def _row(tier: TierCapacity) -> tuple[str, ...]:
    return (code(tier.tier), tier.at_work, tier.per_instance, tier.source, tier.without_host, tier.without_zone)


def _how() -> Iterator[Block]:
    yield Commands((("nospof measure", "how many QPS the running stack and each of its instances answer in time"),))
