"""What a tier of shards is to be like, what one server of it sees, and what that server is to do next. Pure.

Each host has a server of its own, the home of one shard, and servers that hold copies of the shards of the hosts before it in a
ring whose neighbours are in different zones. Redis' or Valkey's own cluster promotes a copy when a home is lost. What it leaves
to people is decided here: who meets whom, who copies whom, who has which slots, who is forgotten, and that a home that is well
again takes its shard back, so that no host keeps two primaries: of three hosts the loss of that one would be a majority lost.
Reasons and figures: docs/decisions/0029-cache-cluster.md.
Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/, https://valkey.io/commands/cluster-nodes/.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

SLOTS = 16384
LOST = frozenset({"fail", "noaddr"})
Place = tuple[str, int]
"""A server: the address of its host, and its number there; 0 is the home."""


@dataclass(frozen=True)
class Plan:
    """`ring`: the hosts' addresses in the order in which they hold each other's copies, so many of each shard."""

    ring: tuple[str, ...]
    copies: int
    bus_port: int

    @cached_property
    def mark(self) -> str:
        """Stands for the plan: servers tell it each other as the name of their host."""
        return "plan-" + hashlib.sha256(repr(self).encode()).hexdigest()[:12]

    @cached_property
    def places(self) -> tuple[Place, ...]:
        return tuple((address, number) for address in self.ring for number in range(self.copies + 1))

    def home_of(self, place: Place) -> Place:
        """The home of the shard that is kept at `place`."""
        address, number = place
        return self.ring[(self.ring.index(address) - number) % len(self.ring)], 0

    def shard(self, home: Place) -> tuple[Place, ...]:
        """All places where the shard of `home` is kept, the home first."""
        return tuple(place for place in sorted(self.places, key=lambda place: place[1]) if self.home_of(place) == home)

    def first_slots(self, home: Place) -> range:
        """What the home gets when there is nothing yet."""
        index, count = self.ring.index(home[0]), len(self.ring)
        return range(-(-SLOTS * index // count), -(-SLOTS * (index + 1) // count))

    def share(self, home: Place) -> int:
        """How many slots are the home's in the end."""
        return len(self.first_slots(home))


@dataclass(frozen=True)
class Node:
    """One server as another one, or itself, sees it."""

    id: str
    address: str
    port: int
    """Where it is asked; 0 where whoever told does not know."""
    bus_port: int
    mark: str
    flags: frozenset[str]
    primary: str
    """The id of the server that it copies; "" = it is a primary."""
    is_linked: bool
    slots: frozenset[int]

    @property
    def is_lost(self) -> bool:
        return bool(self.flags & LOST)

    @property
    def is_well(self) -> bool:
        """Whether it is there for whoever sees it so."""
        return self.is_linked and not self.flags & (LOST | {"fail?", "handshake"})


def nodes_of(text: str) -> tuple[Node, ...]:
    """Read the answer to CLUSTER NODES, or the file in which a server keeps the same. Raises ValueError for what is neither."""
    return tuple(_node(line.split()) for line in text.splitlines() if line.strip() and not line.startswith("vars "))


def _node(words: list[str]) -> Node:
    if len(words) < 8:
        raise ValueError(f"no line of CLUSTER NODES: {' '.join(words):.60}")
    place, *more = words[1].split(",")
    at, _, bus_port = place.rpartition("@")
    address, _, port = at.rpartition(":")
    ports = [int(word.removeprefix("tls-port=")) for word in more if word.startswith("tls-port=")]
    flags = frozenset(words[2].split(",")) - {"noflags"}
    return Node(
        words[0],
        address,
        ports[0] if ports else int(port),
        int(bus_port),
        more[0] if more and "=" not in more[0] else "",
        flags,
        "" if words[3] == "-" else words[3],
        words[7] == "connected" or "myself" in flags,
        # In brackets: slots that are on their way.
        frozenset(slot for word in words[8:] if not word.startswith("[") for slot in _range(word)),
    )


def _range(word: str) -> range:
    first, _, last = word.partition("-")
    return range(int(first), int(last or first) + 1)


@dataclass(frozen=True)
class View:
    """What the server at `me` sees. `unmet`: places of the plan that it does not know, by whether somebody answers there."""

    me: Place
    plan: Plan
    nodes: tuple[Node, ...]
    is_ok: bool
    """Whether the cluster answers, as far as this server knows: most primaries are there."""
    is_in_step: bool = True
    """Whether this server, if it is a copy, has what its primary has."""
    unmet: Mapping[Place, bool] = field(default_factory=dict)
    marks: Mapping[Place, str] = field(default_factory=dict)
    """By place, which plan those of `behind` have said themselves that they have; "" = they do not answer."""

    @cached_property
    def own(self) -> Node:
        return next(node for node in self.nodes if "myself" in node.flags)

    @cached_property
    def by_id(self) -> dict[str, Node]:
        return {node.id: node for node in self.nodes}

    @cached_property
    def at(self) -> dict[Place, Node]:
        """By place of the plan who is there now; of two that were there the one that is well."""
        found: dict[Place, Node] = {}
        for node in sorted(self.nodes, key=lambda node: (node.is_well, not node.is_lost, node.id)):
            place = (node.address, node.bus_port - self.plan.bus_port)
            if place in self.plan.places and "handshake" not in node.flags:
                found[place] = node
        return found | {self.me: self.own}

    @cached_property
    def strangers(self) -> tuple[Node, ...]:
        """Who is in no place of the plan, or was there before another one."""
        known = {node.id for node in self.at.values()}
        return tuple(node for node in self.nodes if node.id not in known and "handshake" not in node.flags)

    @property
    def is_agreed(self) -> bool:
        """Whether most hosts are there, and all that are have this plan: while `up` is under way some have another."""
        hosts = {address for (address, _), node in self.at.items() if node.is_well}
        have_it = all(self.marks.get(place) == self.plan.mark for place in self.behind)
        return len(hosts) > len(self.plan.ring) // 2 and have_it and self.own.mark == self.plan.mark

    @cached_property
    def behind(self) -> dict[Place, Node]:
        """Who is there and, as far as this server has heard, has another plan: such news is a second or more on its way."""
        well = {place: node for place, node in self.at.items() if node.is_well and node is not self.own}
        return {place: node for place, node in well.items() if node.mark != self.plan.mark}

    @property
    def is_awaited(self) -> bool:
        """Whether nobody was ever seen at a place of the plan: `up` may be on its way there, with new ports or a new host."""
        return any(place not in self.at for place in self.plan.places)

    @property
    def is_complete(self) -> bool:
        """Whether that are all."""
        return self.is_agreed and all(place in self.at and self.at[place].is_well for place in self.plan.places)

    @cached_property
    def orphaned(self) -> frozenset[int]:
        """Slots of primaries that are not to have any: their host has left the plan, or their place holds another's copy.

        Also of one that is lost while it has a copy: that takes them over within a second or so.
        """
        return frozenset(
            slot
            for node in self.nodes
            if node.slots and not node.primary and node.id not in self._keepers
            if not node.is_lost or any(other.primary == node.id and not other.is_lost for other in self.nodes)
            for slot in node.slots
        )

    @cached_property
    def _keepers(self) -> set[str]:
        """The primary of each shard of the plan."""
        keepers = (self.keeper((address, 0)) for address in self.plan.ring)
        return {keeper.id for keeper in keepers if keeper is not None}

    def keeper(self, home: Place) -> Node | None:
        """The primary of that shard: the home, if it has slots, else the copy that has; a home that copies names it."""
        places = self.plan.shard(home)
        owner = self.at.get(home)
        if owner is not None and owner.slots:
            return owner
        if owner is not None and owner.primary and (named := self.by_id.get(owner.primary)) is not None and named.slots:
            return named
        others = (self.at.get(place) for place in places[1:])
        return next((node for node in others if node is not None and node.slots and not node.primary), None)


@dataclass(frozen=True)
class Command:
    """What to say to the own server, and why, in words without secrets."""

    words: tuple[str, ...]
    says: str


@dataclass(frozen=True)
class TakeSlots:
    """Take these slots, if nobody else knows an owner of theirs."""

    slots: frozenset[int]


@dataclass(frozen=True)
class Moves:
    """So many slots, from one server to another."""

    source: str
    target: str
    count: int


def next_command(view: View) -> Command | TakeSlots | None:
    """What the server at `view.me` is to do now to become what the plan says; None: nothing, or to wait."""
    if view.own.mark != view.plan.mark:
        return Command(("CONFIG", "SET", "cluster-announce-hostname", view.plan.mark), "tells the others which plan it has")
    if (parting := _forgets(view)) is not None:
        return Command(("CLUSTER", "FORGET", parting.id), f"forgets {parting.address}, which is no more part of it")
    return _role(view)


def _forgets(view: View) -> Node | None:
    """A stranger that is lost, has no copy, and has no slots or never comes back: another one has its place, or none is to.

    One that lives is not forgotten: until its host is taken away, it may have the only copy of something.
    """
    if not view.is_agreed or view.is_awaited:
        return None
    replaced = {(node.address, node.bus_port) for node in view.at.values() if node.is_well}
    for node in view.strangers:
        if not node.is_lost:
            continue
        is_followed = any(other.primary == node.id and not other.is_lost for other in view.nodes)
        is_gone = "noaddr" in node.flags or (node.address, node.bus_port) in replaced or node.address not in view.plan.ring
        if not is_followed and (is_gone or not node.slots):
            return node
    return None


def _role(view: View) -> Command | TakeSlots | None:
    if view.own.slots:
        return None  # a copy that took over goes on until its home has taken the shard back
    home = view.plan.home_of(view.me)
    keeper = view.keeper(home)
    if view.me == home and keeper is None:
        unowned = frozenset(view.plan.first_slots(home)).difference(*(node.slots for node in view.nodes))
        return TakeSlots(unowned) if unowned and view.is_complete and not view.own.primary else None
    if keeper is None or view.own.primary == keeper.id or not keeper.is_well:
        return None
    if not view.is_agreed or (view.own.primary and not _may_leave(view)):
        return None
    return Command(("CLUSTER", "REPLICATE", keeper.id), f"copies {keeper.address}")


def _may_leave(view: View) -> bool:
    """Whether nobody needs this copy any more: its primary has nothing, or another copy, or they change places one by one."""
    primary = view.by_id.get(view.own.primary)
    if primary is None or not primary.slots:
        return True
    if primary.is_lost or view.orphaned or not view.is_complete:
        return False
    if any(node.primary == primary.id and node.is_well and node is not view.own for node in view.nodes):
        return True
    return view.me == next(place for place in view.plan.places if _is_misplaced(view, place))


def _is_misplaced(view: View, place: Place) -> bool:
    keeper, node = view.keeper(view.plan.home_of(place)), view.at[place]
    return bool(node.primary) and keeper is not None and node.primary != keeper.id


def may_take_back(view: View) -> bool:
    """Whether this server is a home that copies the one that took over, and could take its shard back at once."""
    primary = view.by_id.get(view.own.primary)
    is_away = view.me == view.plan.home_of(view.me) and primary is not None and primary.is_well and bool(primary.slots)
    return is_away and view.is_ok and view.is_in_step


def moves(view: View) -> tuple[Moves, ...]:
    """What is to be moved for each home to have its share, and nobody else any; () while that cannot be said. Few move."""
    homes = [(address, 0) for address in view.plan.ring]
    at = [view.at.get(home) for home in homes]
    if not view.is_complete or not view.is_ok or any(node is None or node.primary for node in at):
        return ()
    share = {node.id: view.plan.share(home) for home, node in zip(homes, at, strict=True) if node is not None}
    has = {node.id: len(node.slots) for node in view.nodes if (node.slots and not node.is_lost) or node.id in share}
    lacking = {id_: share[id_] - has[id_] for id_ in share if has[id_] < share[id_]}
    found = []
    for source, count in sorted(has.items()):
        left = count - share.get(source, 0)
        for target in sorted(lacking):
            if (moved := min(left, lacking[target])) > 0:
                found.append(Moves(source, target, moved))
                left -= moved
                lacking[target] -= moved
    return tuple(found)


def leads_moves(view: View) -> bool:
    """Whether the moves are for this server's host to make: one of all, so that no two move at once."""
    return view.me == (view.plan.ring[0], 0)


def lacks(view: View) -> Iterator[str]:
    """Why this server is not yet as the plan wants it and as it could be, in words; what is lost is not waited for."""
    if view.own.mark != view.plan.mark:
        yield "has not told the others of its plan yet"
    for place, is_answering in sorted(view.unmet.items()):
        if is_answering:
            yield f"has not met {place[0]} yet"
    for place in sorted(view.behind):
        if not view.marks.get(place):
            yield f"does not know yet which plan {place[0]} has"
    for node in view.nodes:
        if not node.is_well and not node.is_lost and "handshake" not in node.flags:
            yield f"has no connection to {node.address}"
    if view.unmet and not any(node.slots for node in view.nodes):
        return  # there is no cluster yet, and cannot be
    if not view.is_ok:
        yield "the cluster does not answer: of some slots nobody is primary, or most primaries are lost"
    yield from _lacks_role(view)
    if view.is_complete:
        # What others lack, too: the last one that gets the plan is the last one that is asked.
        for place in view.plan.places:
            if place != view.me and _is_misplaced(view, place):
                yield f"{place[0]} does not copy the shard of {view.plan.home_of(place)[0]} yet"
    if view.is_agreed and not view.is_awaited and (to_move := sum(one.count for one in moves(view)) or len(view.orphaned)):
        yield f"{to_move} of {SLOTS} slots are still to be moved"


def _lacks_role(view: View) -> Iterator[str]:
    home = view.plan.home_of(view.me)
    keeper = view.keeper(home)
    primary = view.by_id.get(view.own.primary)
    if primary is not None and primary.is_well and not view.is_in_step:
        yield f"has not everything that {primary.address} has yet"
    if view.me == home:
        if view.own.primary:
            yield "is not primary of its own shard yet"
        elif view.is_complete and not view.own.slots:
            yield "has no slots yet"
        return
    if view.own.slots:
        # The home is away, or takes the shard back within a moment; one that has a shard does not: whose this server has was
        # that of a host that has left, and moves once all have the plan.
        if (node := view.at.get(home)) is not None and node.is_well and not node.slots:
            yield f"is primary in the place of {home[0]}"
        return
    # A copy of another shard stays that until all are there.
    may_follow = view.is_agreed and (view.is_complete or not view.own.primary)
    if may_follow and keeper is not None and not keeper.is_lost and view.own.primary != keeper.id:
        yield f"does not copy the shard of {home[0]} yet"


def served(view: View) -> frozenset[int]:
    """Slots for which somebody answers, as far as this server knows."""
    if not view.is_ok:
        return frozenset()
    return frozenset(slot for node in view.nodes if not node.is_lost and not node.primary for slot in node.slots)


def waits_for(nodes: Iterable[Node], own_id: str) -> bool:
    """Whether a server that was primary when it died is to wait for a copy to take its place, as another server sees it.

    It would come back empty, and its copies would throw away what they have.
    """
    nodes = list(nodes)
    own = next((node for node in nodes if node.id == own_id), None)
    if own is None or own.primary or not own.slots:
        return False
    primaries = [node for node in nodes if node.slots and not node.primary]
    living = [node for node in primaries if node.id != own_id and node.is_well]
    copies = [node for node in nodes if node.primary == own_id and node.is_well]
    return bool(copies) and len(living) > len(primaries) // 2


def is_forgotten(views: Iterable[tuple[Node, ...]], own_id: str, others: int) -> bool:
    """Whether most of so many others answer, have a cluster and know nothing of this server, and none does.

    Then it has left it, and whatever it kept is of a former life. One who is new there himself may not have heard of all yet.
    """
    views = list(views)
    formed = [nodes for nodes in views if any(node.slots for node in nodes)]
    return len(formed) > others // 2 and not any(node.id == own_id for nodes in views for node in nodes)


def is_replaced(nodes: Iterable[Node], own_id: str) -> bool:
    """Whether most primaries have agreed that this server is lost, and another one has its slots."""
    own = next((node for node in nodes if node.id == own_id), None)
    return own is not None and "fail" in own.flags and not own.slots


def ranges(slots: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """First and last of each run of numbers that follow each other."""
    found: list[tuple[int, int]] = []
    for slot in sorted(slots):
        if found and found[-1][1] == slot - 1:
            found[-1] = (found[-1][0], slot)
        else:
            found.append((slot, slot))
    return tuple(found)
