"""The page as HTML that needs nothing else, and the same as JSON. Pure.

Whatever comes from anywhere is text until it is escaped here. Without scripts the page loads itself again; with them its main
part is replaced in place, so that what one reads stays where it is, and a page that is not answered any more says so itself.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from html import escape
from typing import Any

from nospof.onhost.page.judge import Change, HostView, Level, Part, Picture, TierView, VipView, clock, number
from nospof.onhost.page.seen import Drill, Event
from nospof.onhost.page.style import SCRIPT, STYLE

NAMES = {Level.BAD: "bad", Level.WEAK: "weak", Level.OPEN: "open", Level.GOOD: "good"}
SIGNS = {"bad": "✗", "weak": "▲", "open": "?", "good": "✓"}
WORDS = {"bad": "failed", "weak": "redundancy lost", "open": "not known", "good": "well"}
MOST_SHOWN = 12


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


POLICY = (
    f"default-src 'none'; style-src 'sha256-{_hash(STYLE)}'; script-src 'sha256-{_hash(SCRIPT)}'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy: nothing from elsewhere, and no script or style but these."""
# A red, amber, violet or green square, as the sign of the tab.
ICONS = {"bad": "%23a3121f", "weak": "%23b36200", "open": "%234f3d8f", "good": "%232f5d2f"}


def to_html(picture: Picture) -> str:
    """The whole page."""
    config, name = picture.config, NAMES[picture.level]
    icon = f"data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'><rect width='1' height='1' fill='{ICONS[name]}'/></svg>"
    title = f"{SIGNS[name]} {config.stack}: {picture.verdict}"
    return "\n".join([
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        '<meta name="robots" content="noindex">',
        f"<noscript><meta http-equiv=\"refresh\" content=\"{max(2, round(config.every_s))}\"></noscript>",
        f"<title>{text(title)}</title>",
        f'<link rel="icon" href="{escape(icon)}">',
        f"<style>{STYLE}</style>",
        "</head>",
        f'<body data-every="{config.every_s:g}">',
        f"<header><h1>{text(config.stack)} <span class=\"muted\">{text(config.domain)}</span></h1></header>",
        f'<p id="said" class="quiet" role="status">{text(picture.verdict)}</p>',
        '<p id="stale" role="alert" hidden></p>',
        f"<main>{''.join(_main(picture))}</main>",
        f"<footer>{_foot(picture)}</footer>",
        f"<script>{SCRIPT}</script>",
        "</body>",
        "</html>",
        "",
    ])  # fmt: skip


# --- the main part -------------------------------------------------------------------------------------------------------
def _main(picture: Picture) -> Iterator[str]:
    name = NAMES[picture.level]
    yield f'<section class="banner {name}" aria-label="Verdict"><p class="verdict">{_sign(name)} {text(picture.verdict)}</p>'
    yield _list((f"{_sign(NAMES[one.level])} {text(one.says)}" for one in picture.sentences), "plain")
    if not picture.sentences:
        yield f"<p>{text(_well(picture))}</p>"
    yield "</section>"
    yield f'<section aria-label="At a glance"><ul class="cards">{"".join(_cards(picture))}</ul></section>'
    yield f'<section aria-labelledby="changes"><h2 id="changes">What changed</h2>{_changed(picture)}</section>'
    yield f'<section aria-labelledby="tiers"><h2 id="tiers">Tiers</h2>{_tiers(picture)}</section>'
    zones = "".join(_zones(picture))
    yield f'<section aria-labelledby="hosts"><h2 id="hosts">Hosts</h2><div class="zones">{zones}</div></section>'
    yield f'<section aria-labelledby="drills"><h2 id="drills">Last drills</h2>{_drills(picture)}</section>'


def _well(picture: Picture) -> str:
    count = sum(len(view.parts) for view in picture.tiers)
    return f"All {count} parts on {len(picture.hosts)} hosts are healthy, and each tier has all its members."


def _cards(picture: Picture) -> Iterator[str]:
    rate = picture.rate
    if picture.config.counting:
        failed = rate.failed_per_s if rate else 0.0
        name = "open" if rate is None else "bad" if failed else "good"
        said = "not known" if rate is None else f"{number(failed)} of them fail" if failed else "none of them fails"
        yield _card(name, "?" if rate is None else number(rate.per_s), "visitors' requests a second", said, _course(picture))
    yield from map(_vip_card, picture.vips)
    for tier in picture.tiers:
        leading = [part for part in tier.parts if "primary" in part.role.split(", ")]
        if leading:
            name = "good" if len(leading) == 1 and leading[0].level is Level.GOOD else "bad"
            name = "weak" if name == "good" and tier.level is Level.WEAK else name
            hosts = " AND ".join(part.host for part in leading)
            others = sum("could take over" in part.role for part in tier.parts)
            ready = {0: "nobody could take over", 1: "1 could take over"}.get(others, f"{others} could take over")
            yield _card(name, hosts, f"is the primary of {tier.tier.name}", ready)
    up = sum(view.age_s is not None and view.host.name not in _silent(picture) for view in picture.hosts)
    name = "good" if up == len(picture.hosts) else "weak"
    yield _card(name, f"{up} of {len(picture.hosts)}", "hosts answer", _and_silent(picture))


def _silent(picture: Picture) -> list[str]:
    return [view.host.name for view in picture.hosts if not picture.seen.hosts[view.host.name].answers(picture.seen.now)]


def _and_silent(picture: Picture) -> str:
    silent = _silent(picture)
    return f"not {', '.join(silent)}" if silent else "all of them"


def _vip_card(view: VipView) -> str:
    name = NAMES[view.level]
    holders = " AND ".join(view.holders) or "nobody"
    return _card(name, holders, f"holds the VIP of {view.vip.name}", view.vip.address)


def _card(name: str, figure: str, what: str, says: str, more: str = "") -> str:
    return (
        f'<li class="{name}"><strong>{_sign(name)} {text(figure)}</strong> {text(what)}'
        f'<span class="muted">{text(says)}</span>{more}</li>'
    )


def _course(picture: Picture) -> str:
    """The last minutes as a line; nothing while there are fewer than two points."""
    points = picture.seen.course
    if len(points) < 2:
        return ""
    top = max(max(per_s for _, per_s, _ in points), 1.0)
    first, last = points[0][0], points[-1][0]
    span = max(last - first, 1.0)
    line = " ".join(f"{100 * (at - first) / span:.1f},{24 - 22 * per_s / top:.1f}" for at, per_s, _ in points)
    bad = "".join(
        f'<path class="fail" d="M{100 * (at - first) / span:.1f} 25v-{max(2.0, 22 * failed / top):.1f}"/>'
        for at, _, failed in points
        if failed > 0
    )
    label = (
        f"The last {span / 60:.0f} minutes: at most {number(top)} a second" if span >= 90 else f"The last {span:.0f} seconds"
    )
    return (
        f'<svg class="course" viewBox="0 0 100 26" preserveAspectRatio="none" role="img" aria-label="{text(label)}">'
        f'<polyline points="{line}"/>{bad}</svg>'
    )


# --- tiers ---------------------------------------------------------------------------------------------------------------
def _tiers(picture: Picture) -> str:
    asked = [view for view in picture.tiers if not view.tier.is_implied]
    implied = [view for view in picture.tiers if view.tier.is_implied]
    said = _tier_table(asked, "What the stack file asks for")
    return said + (_tier_table(implied, "What that brings along") if implied else "")


def _tier_table(views: Iterable[TierView], title: str) -> str:
    rows = "".join(
        f'<tr><th scope="row">{_sign(NAMES[view.level])} {text(view.tier.name)}'
        f"{_muted(view.tier.component) if view.tier.component != view.tier.name else ''}</th>"
        f'<td data-heading="state">{text(view.says)}'
        f"{_muted(view.figure)}</td>"
        f'<td data-heading="members">{_list((_member(part) for part in view.parts), "members")}</td>'
        f"{_calls(view)}</tr>"
        for view in views
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("tier", "state", "members", "calls"))
    return f"<table><caption>{text(title)}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _calls(view: TierView) -> str:
    calls = ", ".join(view.tier.calls)
    return f'<td data-heading="calls">{text(calls)}</td>' if calls else '<td class="none"></td>'


def _member(part: Part) -> str:
    words = ", ".join(filter(None, (part.role, part.says)))
    return f"{_sign(NAMES[part.level])} {text(part.host)}{_muted(words)}"


# --- hosts ---------------------------------------------------------------------------------------------------------------
def _zones(picture: Picture) -> Iterator[str]:
    for zone in sorted({view.host.zone for view in picture.hosts}):
        here = [view for view in picture.hosts if view.host.zone == zone]
        yield f'<section class="zone" aria-label="zone {text(zone)}"><h3>zone {text(zone)}</h3>'
        yield from (_host(view, picture) for view in here)
        yield "</section>"


def _host(view: HostView, picture: Picture) -> str:
    name = NAMES[view.level]
    age = "never heard of" if view.age_s is None else f"heard {_age(view.age_s)} ago"
    said = f'<p class="says">{text(view.says)}</p>' if view.says else ""
    implied = {tier.tier.name for tier in picture.tiers if tier.tier.is_implied}
    parts = [part for part in view.parts if part.tier not in implied] + [part for part in view.parts if part.tier in implied]
    items = (f"{_sign(NAMES[part.level])} {text(part.tier)}{_beside(part)}" for part in parts)
    return (
        f'<article class="host {name}"><h4>{_sign(name)} {text(view.host.name)} '
        f'<span class="muted">{text(view.host.address)}</span></h4>{said}{_list(items, "plain")}'
        f'<p class="muted age">{text(age)}</p></article>'
    )


def _beside(part: Part) -> str:
    words = part.role if part.level is Level.GOOD else ", ".join(filter(None, (part.role, part.says)))
    return _muted(words)


def _age(age_s: float) -> str:
    """How old, as one reads it: 2 s, 14 min, 3 h."""
    for least, unit_s, unit in ((7200, 3600, "h"), (120, 60, "min")):
        if age_s >= least:
            return f"{age_s / unit_s:.0f} {unit}"
    return f"{age_s:.0f} s"


# --- what happened -------------------------------------------------------------------------------------------------------
CAUSES = {
    "crashed": "its server had ended",
    "silent": "nothing was heard of it",
    "handover": "as asked",
    "restarted": "after a restart",
    "accepted-loss": "by hand, a loss accepted",
}


def _changed(picture: Picture) -> str:
    found = sorted([*picture.seen.events, *map(_as_event, picture.changes)], key=lambda event: -event.at)
    if not found:
        return "<p>Nothing, since this page began to look.</p>"
    return _list((_event(event, picture) for event in found[:MOST_SHOWN]), "events")


def _as_event(change: Change) -> Event:
    why = f" ({CAUSES.get(change.cause, change.cause)})" if change.cause else ""
    loss = "" if change.loss in ("", "none") else f"; loss of writes: {change.loss}"
    level = "good" if change.cause == "handover" else "weak" if not loss else "bad"
    return Event(change.at, level, f"{change.to} took over as primary of {change.tier} from {change.origin}{why}{loss}")


def _event(event: Event, picture: Picture) -> str:
    name = event.level if event.level in SIGNS else "open"
    return f"{_sign(name)} <time>{text(clock(event.at, picture.seen.now.at))}</time> {text(event.what)}"


NO_DRILLS = "<p>None was told to this host. <code>nospof drill</code> and <code>nospof prove</code> tell it when they end.</p>"


def _drills(picture: Picture) -> str:
    drills: tuple[Drill, ...] = picture.seen.drills
    if not drills:
        return NO_DRILLS
    return _list((_drill(drill, picture) for drill in drills[:MOST_SHOWN]), "events")


def _drill(drill: Drill, picture: Picture) -> str:
    name = drill.level if drill.level in SIGNS else "open"
    at = clock(drill.at, picture.seen.now.at)
    return f"{_sign(name)} <time>{text(at)}</time> {text(drill.name)}: {text(drill.says)}"


def _foot(picture: Picture) -> str:
    config = picture.config
    others = [host for host in config.pages if host != config.me]
    twin = f" The same page is also made on {', '.join(others)}." if others else " No other host makes this page."
    at = clock(picture.seen.now.at, picture.seen.now.at)
    said = f"Made on {config.me} at {at}; every host is asked every {config.every_s:g} s."
    return f'<p>{text(said)}{text(twin)} The same as JSON: <a href="{escape(config.path)}status.json">status.json</a></p>'


# --- pieces --------------------------------------------------------------------------------------------------------------
def text(words: str) -> str:
    """Escaped, and without characters that a page cannot have."""
    return escape("".join(char if char.isprintable() else "\ufffd" for char in words))


def _sign(name: str) -> str:
    """A sign that is also told to those who do not see it."""
    return f'<span class="sign {name}" role="img" aria-label="{WORDS[name]}">{SIGNS[name]}</span>'


def _muted(words: str) -> str:
    return f' <span class="muted">{text(words)}</span>' if words else ""


def _list(items: Iterable[str], kind: str) -> str:
    """A list of markup; nothing where it is empty."""
    made = "".join(f"<li>{item}</li>" for item in items)
    return f'<ul class="{kind}">{made}</ul>' if made else ""


# --- JSON ----------------------------------------------------------------------------------------------------------------
def to_json(picture: Picture) -> dict[str, Any]:
    """The same for programs."""
    config, seen = picture.config, picture.seen
    return {
        "stack": config.stack,
        "made_on": config.me,
        "at": round(seen.now.at, 3),
        "level": NAMES[picture.level],
        "verdict": picture.verdict,
        "sentences": [{"level": NAMES[one.level], "says": one.says} for one in picture.sentences],
        "requests_per_s": None if picture.rate is None else round(picture.rate.per_s, 2),
        "failed_per_s": None if picture.rate is None else round(picture.rate.failed_per_s, 2),
        "vips": [{"name": one.vip.name, "address": one.vip.address, "holders": list(one.holders)} for one in picture.vips],
        "tiers": {view.tier.name: _tier_json(view) for view in picture.tiers},
        "hosts": {view.host.name: _host_json(view) for view in picture.hosts},
        "failovers": [
            {"tier": one.tier, "at": one.at, "from": one.origin, "to": one.to, "cause": one.cause, "loss": one.loss}
            for one in picture.changes
        ],
        "events": [{"at": one.at, "level": one.level, "what": one.what} for one in seen.events],
        "drills": [{"at": one.at, "level": one.level, "name": one.name, "says": one.says} for one in seen.drills],
    }


def _tier_json(view: TierView) -> dict[str, Any]:
    members = {
        part.host: {"level": NAMES[part.level], "role": part.role or None, "says": part.says or None} for part in view.parts
    }
    return {"component": view.tier.component, "level": NAMES[view.level], "says": view.says, "members": members}


def _host_json(view: HostView) -> dict[str, Any]:
    age_s = None if view.age_s is None else round(view.age_s, 1)
    where = {"zone": view.host.zone, "address": view.host.address}
    return {**where, "level": NAMES[view.level], "says": view.says or None, "age_s": age_s}
