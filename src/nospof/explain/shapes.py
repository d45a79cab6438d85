"""What a drawing is made of, in pixels from the top left corner: boxes, texts, lines. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from nospof.explain.measure import cut, text_width
from nospof.explain.weak import Goals
from nospof.topology import Host, Link


@dataclass(frozen=True)
class Box:
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height

    @property
    def middle(self) -> float:
        return self.x + self.width / 2

    def overlaps(self, other: Box) -> bool:
        """Whether they share more than an edge."""
        return self.x < other.right and other.x < self.right and self.y < other.bottom and other.y < self.bottom

    def contains(self, other: Box) -> bool:
        """Whether `other` is wholly inside."""
        inside = self.x <= other.x and other.right <= self.right
        return inside and self.y <= other.y and other.bottom <= self.bottom

    def grown(self, by: float) -> Box:
        return Box(self.x - by, self.y - by, self.width + 2 * by, self.height + 2 * by)


class Anchor(Enum):
    """Which end of a text stands at its x."""

    START = "start"
    MIDDLE = "middle"
    END = "end"


@dataclass(frozen=True)
class Text:
    """One line of text; `y` is its baseline, `style` its class in the style sheet. `full`: what was cut off, told on hover."""

    words: str
    x: float
    y: float
    size: float = 12.0
    style: str = ""
    anchor: Anchor = Anchor.START
    is_bold: bool = False
    full: str = ""

    @property
    def box(self) -> Box:
        width = text_width(self.words, self.size, is_bold=self.is_bold)
        left = {Anchor.START: self.x, Anchor.MIDDLE: self.x - width / 2, Anchor.END: self.x - width}[self.anchor]
        return Box(left, self.y - self.size * 0.8, width, self.size)

    def fitted(self, width: float) -> Text:
        """The same, cut to `width`."""
        short = cut(self.words, self.size, width, is_bold=self.is_bold)
        full = self.words if short != self.words else self.full
        return Text(short, self.x, self.y, self.size, self.style, self.anchor, self.is_bold, full)


@dataclass(frozen=True)
class HostBox:
    """A host and what runs on it. `rule_y`: the line between its name and its instances."""

    host: Host
    box: Box
    texts: tuple[Text, ...]
    rule_y: float
    goals: Goals = ()


@dataclass(frozen=True)
class Group:
    """Hosts of one zone and row that are alike: what links are drawn to. Framed where they are several."""

    box: Box
    row: int
    hosts: tuple[HostBox, ...]

    @property
    def is_framed(self) -> bool:
        return len(self.hosts) > 1


@dataclass(frozen=True)
class Area:
    """A zone."""

    zone: str
    box: Box
    label: Text
    goals: Goals = ()


@dataclass(frozen=True)
class Pill:
    """Where visitors come in: a tier's entrance with its VIP, if it has one."""

    box: Box
    texts: tuple[Text, ...]
    tier: str
    is_visited: bool


class Style(Enum):
    """How a wire is drawn."""

    VISIT = "visit"
    CALL = "call"
    OPTIONAL = "optional"
    PEERS = "peers"


@dataclass(frozen=True)
class Arrow:
    """The head of an arrow, its tip at (x, y)."""

    x: float
    y: float
    is_down: bool


@dataclass(frozen=True)
class Chip:
    """The words that stand on a wire."""

    box: Box
    texts: tuple[Text, ...]


@dataclass(frozen=True)
class Wire:
    """All links of one tier to another, as lines along the gaps between the rows. `lines`: each a list of corners."""

    style: Style
    title: str
    lines: tuple[tuple[tuple[float, float], ...], ...]
    arrows: tuple[Arrow, ...]
    chip: Chip | None
    links: tuple[Link, ...]
    is_unencrypted: bool = False


@dataclass(frozen=True)
class Drawing:
    """The whole picture, from back to front."""

    width: float
    height: float
    title: str
    about: str
    head: tuple[Text, ...]
    areas: tuple[Area, ...]
    wires: tuple[Wire, ...]
    groups: tuple[Group, ...]
    pills: tuple[Pill, ...]
    notes: tuple[Text, ...]
    signs: tuple[tuple[str, Box], ...]
    """Samples in the legend, each by its name and place."""

    @property
    def hosts(self) -> tuple[HostBox, ...]:
        return tuple(host for group in self.groups for host in group.hosts)
