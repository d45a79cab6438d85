"""What changed between two pictures, as events in words. Pure.

What is not known any more is no change: that its host went silent is one, and says it all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nospof.onhost.page.judge import Level, Picture
from nospof.onhost.page.seen import Event


@dataclass(frozen=True)
class State:
    """What one thing is now. `value` is compared; `level` and `says`: of the event when it came to be so."""

    value: str
    level: str
    says: str


def standing(picture: Picture) -> dict[str, State]:
    """Everything of which a change is worth a line, by a name of its own. What is not known is left out."""
    return dict([*_hosts(picture), *_parts(picture), *_vips(picture), *_primaries(picture)])


def events(before: Mapping[str, State], after: Mapping[str, State], at: float) -> list[Event]:
    """What became different. What was not known before is no change."""
    changed = [name for name in after if name in before and before[name].value != after[name].value]
    return [Event(at, after[name].level, after[name].says) for name in sorted(changed)]


def _hosts(picture: Picture) -> Iterator[tuple[str, State]]:
    for view in picture.hosts:
        name = view.host.name
        known = picture.seen.hosts[name]
        if known.answers(picture.seen.now):
            yield f"host {name}", State("answers", "good", f"host {name} answers again")
        elif known.answered is not None:
            yield f"host {name}", State("silent", "weak", f"host {name} does not answer any more ({known.why})")


def _parts(picture: Picture) -> Iterator[tuple[str, State]]:
    for view in picture.tiers:
        for part in view.parts:
            name = f"{part.tier} on {part.host}"
            if part.level is Level.GOOD:
                yield name, State("good", "good", f"{name} is healthy again")
            elif part.level is Level.BAD:
                yield name, State("bad", "weak", f"{name} is not healthy")


def _vips(picture: Picture) -> Iterator[tuple[str, State]]:
    for view in picture.vips:
        if len(view.holders) == 1:
            says = f"{view.holders[0]} holds the VIP of {view.vip.name}"
            yield f"vip {view.vip.name}", State(view.holders[0], "good", says)
        elif len(view.holders) > 1:
            says = f"{' AND '.join(view.holders)} hold the VIP of {view.vip.name}"
            yield f"vip {view.vip.name}", State(says, "bad", says)


def _primaries(picture: Picture) -> Iterator[tuple[str, State]]:
    """Of tiers whose agents keep no record of their changes; the others tell better what happened."""
    recorded = {change.tier for change in picture.changes}
    for view in picture.tiers:
        leading = [part.host for part in view.parts if "primary" in part.role.split(", ")]
        if len(leading) == 1 and view.tier.name not in recorded:
            name = view.tier.name
            yield f"primary {name}", State(leading[0], "weak", f"{leading[0]} is the primary of {name}")
