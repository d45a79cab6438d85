"""A drawing as SVG that needs nothing else: its style sheet is inside, dark where the reader's system is, light on paper.

Every colour has a shape, sign or word beside it. Contrasts are at least 4.5 : 1 for text and 3 : 1 for lines (WCAG 2.1 AA).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from xml.sax.saxutils import escape, quoteattr

from nospof.explain.layout import NO_SPOTS, layout
from nospof.explain.shapes import Area, Arrow, Box, Drawing, Group, HostBox, Pill, Text, Wire
from nospof.explain.weak import WeakSpots
from nospof.topology import Topology


def svg(topology: Topology, weak: WeakSpots = NO_SPOTS) -> str:
    """Draw `topology` as an SVG document, with the marks of `weak`. Pure; the same topology gives the same bytes."""
    return to_svg(layout(topology, weak))


def to_svg(drawing: Drawing) -> str:
    """`drawing` as one <svg> element, to stand alone or inside a page."""
    width, height = _n(drawing.width), _n(drawing.height)
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="nospof" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img" aria-label={quoteattr(_clean(f"{drawing.title}: {drawing.about}"))}>'
        ),
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{width}" height="{height}"/>',
        *_texts(drawing.head),
    ]
    for area in drawing.areas:
        lines += _area(area)
    for group in drawing.groups:
        lines += [_rect(group.box, "frame", 10)] if group.is_framed else []
    for wire in drawing.wires:
        lines += _wire(wire)
    for group in drawing.groups:
        lines += _group(group)
    for pill in drawing.pills:
        lines += _pill(pill)
    for wire in drawing.wires:
        if wire.chip is not None:
            lines += [_rect(wire.chip.box, "chip", 5), *_texts(wire.chip.texts)]
    for sign, box in drawing.signs:
        lines += _sign(sign, box)
    return "\n".join([*lines, *_texts(drawing.notes), "</svg>", ""])


# --- shapes ----------------------------------------------------------------------------------------------------------
def _area(area: Area) -> Iterator[str]:
    yield f"<g><title>{_x(f'zone {area.zone}')}</title>"
    yield _rect(area.box, "area weak-area" if area.goals else "area", 12)
    yield from _texts([area.label])
    yield "</g>"


def _group(group: Group) -> Iterator[str]:
    for host in group.hosts:
        yield from _host(host)


def _host(host: HostBox) -> Iterator[str]:
    yield f"<g><title>{_x(f'{host.host.name} {host.host.address}, zone {host.host.zone}')}</title>"
    yield _rect(host.box, "host weak-host" if host.goals else "host", 7)
    yield f'<path class="rule" d="M{_n(host.box.x)} {_n(host.rule_y)}H{_n(host.box.right)}"/>'
    yield from _texts(host.texts)
    yield "</g>"


def _pill(pill: Pill) -> Iterator[str]:
    box = pill.box
    if pill.is_visited:
        yield f'<path class="wire visit" d="M{_n(box.middle)} {_n(box.y - 20)}V{_n(box.y - 6)}"/>'
        yield _arrow(Arrow(box.middle, box.y, is_down=True), "visit")
    yield _rect(box, "pill", 13)
    yield from _texts(pill.texts)


def _wire(wire: Wire) -> Iterator[str]:
    kind = f"wire {wire.style.value}" + (" unencrypted" if wire.is_unencrypted else "")
    path = "".join("M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in line) for line in wire.lines)
    yield f"<g><title>{_x(wire.title)}</title>"
    yield f'<path class="{kind}" d="{path}"/>'
    heads = wire.style.value + (" unencrypted" if wire.is_unencrypted else "")
    yield from (_arrow(arrow, heads) for arrow in wire.arrows)
    yield "</g>"


def _arrow(arrow: Arrow, kind: str) -> str:
    back = arrow.y + (-9 if arrow.is_down else 9)
    x, y = _n(arrow.x), _n(arrow.y)
    return f'<path class="head {kind}" d="M{x} {y}L{_n(arrow.x - 4.5)} {_n(back)}H{_n(arrow.x + 4.5)}Z"/>'


def _sign(sign: str, box: Box) -> Iterator[str]:
    middle = box.y + box.height / 2
    if len(sign) == 1:
        style = {"◆": "vip", "▲": "weak"}.get(sign, "implied")
        yield from _texts([Text(sign, box.x + 6, box.bottom - 3, 12, style, is_bold=True)])
        return
    kind = "call unencrypted" if sign == "unencrypted" else sign
    yield f'<path class="wire {kind}" d="M{_n(box.x)} {_n(middle)}H{_n(box.right)}"/>'
    if sign != "peers":
        tip, back = _n(box.right), _n(box.right - 8)
        yield f'<path class="head {kind}" d="M{tip} {_n(middle)}L{back} {_n(middle - 4)}V{_n(middle + 4)}Z"/>'


def _rect(box: Box, kind: str, radius: float) -> str:
    place = f'x="{_n(box.x)}" y="{_n(box.y)}" width="{_n(box.width)}" height="{_n(box.height)}"'
    return f'<rect class="{kind}" {place} rx="{_n(radius)}"/>'


def _texts(texts: Iterable[Text]) -> Iterator[str]:
    for text in texts:
        anchor = "" if text.anchor.value == "start" else f' text-anchor="{text.anchor.value}"'
        weight = ' font-weight="600"' if text.is_bold else ""
        full = f"<title>{_x(text.full)}</title>" if text.full else ""
        place = f'x="{_n(text.x)}" y="{_n(text.y)}" font-size="{_n(text.size)}"'
        yield f'<text class="{text.style}" {place}{anchor}{weight}>{full}{_x(text.words)}</text>'


def _x(text: str) -> str:
    return escape(_clean(text))


def _clean(text: str) -> str:
    """Without characters that XML cannot have."""
    return "".join(char if char.isprintable() else "�" for char in text)


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


STYLE = """
svg.nospof{--paper:#fff;--area:#f4f6f9;--line:#76828f;--box:#fff;--edge:#64707d;--text:#16202b;--muted:#4a5663;
--call:#1b4f8a;--peers:#76828f;--visit:#16202b;--vip:#7a3b00;--pill:#fff4e5;--weak:#a3121f;--weakbox:#fdeeee;--implied:#3d5a3d;
font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"DejaVu Sans",sans-serif}
@media screen and (prefers-color-scheme:dark){svg.nospof{--paper:#12171d;--area:#1a212a;--line:#8793a0;--box:#232c36;
--edge:#8593a1;--text:#eef2f6;--muted:#b4bfca;--call:#8fc1ff;--peers:#8793a0;--visit:#eef2f6;--vip:#ffc27a;--pill:#3a2c17;
--weak:#ff9b9b;--weakbox:#40232a;--implied:#a5cfa5}}
.nospof .paper{fill:var(--paper)}
.nospof .area{fill:var(--area);stroke:var(--line);stroke-opacity:.45}
.nospof .weak-area{stroke:var(--weak);stroke-width:2;stroke-opacity:1}
.nospof .frame{fill:none;stroke:var(--line);stroke-opacity:.7}
.nospof .host{fill:var(--box);stroke:var(--edge)}
.nospof .weak-host{fill:var(--weakbox);stroke:var(--weak);stroke-width:2.5}
.nospof .rule{stroke:var(--edge);stroke-opacity:.5;fill:none}
.nospof .pill{fill:var(--pill);stroke:var(--vip);stroke-width:1.5}
.nospof .chip{fill:var(--paper);stroke:var(--line);stroke-opacity:.4}
.nospof text{fill:var(--text)}
.nospof text.muted,.nospof text.visitors{fill:var(--muted)}
.nospof text.vip{fill:var(--vip)}
.nospof text.weak{fill:var(--weak)}
.nospof text.implied{fill:var(--implied)}
.nospof text.rank{fill:var(--vip)}
.nospof .wire{fill:none;stroke:var(--call);stroke-width:1.8;stroke-linejoin:round}
.nospof .wire.visit{stroke:var(--visit)}
.nospof .wire.optional{stroke-dasharray:8 3}
.nospof .wire.peers{stroke:var(--peers);stroke-width:1.3;stroke-dasharray:2 4;stroke-linecap:round}
.nospof .wire.unencrypted{stroke:var(--weak)}
.nospof .head{fill:var(--call)}
.nospof .head.visit{fill:var(--visit)}
.nospof .head.unencrypted{fill:var(--weak)}
"""
