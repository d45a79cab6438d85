"""What a cache server's agent concludes from what it sees: its role, whether it takes writes, what is to be done. Pure.

Sentinel decides who is primary; the server itself does not know when it was replaced. So it takes writes only while a majority
of the watchers (the Sentinels) names it, or while every other server of its tier follows it: a server that was promoted follows
nobody. Whoever has neither for `trust_s` seconds refuses writes, which is shorter than the time after which it is replaced.

Limit: a Sentinel that agreed to a replacement a moment ago still names the old primary. What that one takes until it hears of
it is lost, as is what no copy had received when it died: replication is asynchronous.
Source: https://valkey.io/topics/sentinel/ ("Sentinel and replicas auto discovery", configuration epochs).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

# More than there are servers: with it as `min-replicas-to-write` a server refuses all writes, and answers reads.
NO_WRITES = 1000
# A server that is primary though a majority names another may have been promoted just now: they hear of it within a second.
PROMOTED_S = 5.0
NEVER = float("-inf")


class Role(Enum):
    """As the role server tells it."""

    PRIMARY = "primary"
    REPLICA = "replica"
    NONE = "none"


# --- what is seen ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class ServerSeen:
    """This host's server, as it answers itself. `min_replicas`: so many replicas it wants before it takes a write."""

    is_primary: bool
    min_replicas: int
    primary_address: str = ""
    """Whom it follows; "" for a primary."""
    is_linked: bool = False
    """Whether a replica receives from its primary now."""
    is_loading: bool = False
    silent_s: float = 0.0
    """Seconds since a replica heard something of its primary."""
    offset: int = 0


@dataclass(frozen=True)
class Watch:
    """What one watcher said, asked at `asked_s`. `epoch`: of its configuration; each replacement makes a higher one."""

    primary_address: str
    epoch: int
    is_down: bool
    is_replacing: bool
    asked_s: float
    other_watchers: int = 0
    copies: int = 0
    """How many of each it knows, those that are gone included."""


@dataclass(frozen=True)
class Seen:
    """All that is known at one moment. `followed_s`: when all other members were last known to follow this server."""

    server: ServerSeen | None
    watches: Sequence[Watch]
    followed_s: float
    now_s: float


@dataclass(frozen=True)
class Rules:
    """What never changes while the agent runs. `needs`: replicas that a write wants while it is allowed."""

    address: str
    members: int
    watchers: int
    trust_s: float
    needs: int
    read_lag_limit_s: float
    is_spare: bool = False

    @property
    def majority(self) -> int:
        return self.watchers // 2 + 1


@dataclass(frozen=True)
class Remembered:
    """What one look leaves to the next."""

    term: int = 0
    trusted_s: float = NEVER
    """When it was last known for certain that nobody was promoted in this server's place."""
    named_epoch: int | None = None
    """The epoch in which a majority named it, since it is primary."""
    primary_since_s: float | None = None


# --- what follows ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Concluded:
    """`follow`: the server is to follow this address from now on. `kill`: it is frozen and was replaced."""

    role: Role
    takes_writes: bool
    fit_for_reads: bool
    is_moving: bool
    is_healthy: bool
    says: str
    min_replicas: int = NO_WRITES
    follow: str = ""
    kill: bool = False
    details: Mapping[str, object] = field(default_factory=dict)


def named(watches: Sequence[Watch], majority: int) -> Watch | None:
    """The newest configuration that a majority has; None where it has none in common. Pure."""
    for watch in sorted(watches, key=lambda watch: watch.epoch, reverse=True):
        same = [other for other in watches if (other.primary_address, other.epoch) == (watch.primary_address, watch.epoch)]
        if len(same) >= majority:
            return watch
    return None


def conclude(seen: Seen, before: Remembered, rules: Rules, *, is_leaving: bool = False) -> tuple[Concluded, Remembered]:
    """Say what is so and what is to be done. `is_leaving`: the role is being handed over, so no write is taken. Pure."""
    fresh = [watch for watch in seen.watches if seen.now_s - watch.asked_s <= rules.trust_s]
    agreed = named(fresh, rules.majority)
    now = replace(before, term=max([before.term, *([agreed.epoch] if agreed else [])]))
    is_moving = is_leaving or any(watch.is_replacing for watch in fresh)
    if seen.server is None or seen.server.is_loading:
        is_replaced = agreed is not None and agreed.primary_address != rules.address and before.primary_since_s is not None
        says = "the server does not answer" if seen.server is None else "the server is loading its data"
        gone = replace(now, named_epoch=None)
        return Concluded(Role.NONE, False, False, is_moving, False, says, kill=is_replaced and seen.server is None), gone
    if not seen.server.is_primary:
        now = replace(now, trusted_s=NEVER, named_epoch=None, primary_since_s=None)
        return _replica(seen, seen.server, agreed, rules, is_moving=is_moving), now
    now = replace(now, primary_since_s=seen.now_s if before.primary_since_s is None else before.primary_since_s)
    return _primary(seen, fresh, agreed, now, rules, is_leaving=is_leaving, is_moving=is_moving)


def _replica(seen: Seen, server: ServerSeen, agreed: Watch | None, rules: Rules, *, is_moving: bool) -> Concluded:
    follows = server.primary_address
    is_current = server.is_linked or server.silent_s <= rules.read_lag_limit_s
    # A spare answers only while it does not hear the primary, to which reads fall back.
    is_current = is_current and not (rules.is_spare and server.is_linked)
    is_right = agreed is None or follows == agreed.primary_address
    # While watchers replace the primary they lead the replicas themselves.
    follow = agreed.primary_address if agreed and not is_right and not is_moving and not agreed.is_down else ""
    if follow == rules.address:
        follow = ""  # it is the one to be promoted: the watchers tell it
    says = f"follows {follows}" if server.is_linked else f"does not hear {follows}, which it follows"
    is_healthy = server.is_linked and agreed is not None and is_right
    if agreed is None:
        says += "; no majority of the watchers answers"
    elif not is_right:
        says += f", while {agreed.primary_address} is primary"
    details = {"silent_s": server.silent_s, "offset": server.offset}
    return Concluded(Role.REPLICA, False, is_current, is_moving, is_healthy, says, follow=follow, details=details)


def _primary(
    seen: Seen,
    fresh: Sequence[Watch],
    agreed: Watch | None,
    now: Remembered,
    rules: Rules,
    *,
    is_leaving: bool,
    is_moving: bool,
) -> tuple[Concluded, Remembered]:
    assert seen.server is not None  # noqa: S101 - `conclude` calls it with a server only
    says_me = sorted(
        (watch.asked_s for watch in fresh if watch.primary_address == rules.address and not watch.is_down), reverse=True
    )
    trusted_s = max(now.trusted_s, seen.followed_s)
    if not rules.watchers or rules.members == 1:
        trusted_s = seen.now_s
    elif len(says_me) >= rules.majority:
        # As old as the oldest of the answers that make the majority.
        trusted_s = max(trusted_s, says_me[rules.majority - 1])
    is_replaced = agreed is not None and agreed.primary_address != rules.address
    named_epoch = agreed.epoch if agreed and not is_replaced else now.named_epoch
    now = replace(now, trusted_s=trusted_s, named_epoch=named_epoch)
    is_trusted = seen.now_s - trusted_s <= rules.trust_s and not is_replaced
    takes_writes = is_trusted and not is_leaving
    says = "takes writes"
    if is_leaving:
        says = "hands its role over"
    elif is_replaced and agreed:
        says = f"takes no writes: {agreed.primary_address} is primary"
    elif not is_trusted:
        says = f"takes no writes: for {rules.trust_s:g} s neither a majority of the watchers nor all copies were heard"
    elif agreed is None and rules.watchers:
        says = "takes writes; no majority of the watchers answers: nobody can take over now"
    concluded = Concluded(
        Role.PRIMARY,
        takes_writes,
        False,
        is_leaving,
        is_trusted and (agreed is not None or not rules.watchers),
        says,
        min_replicas=rules.needs if takes_writes else NO_WRITES,
        follow=agreed.primary_address if agreed and _is_to_follow(seen, agreed, now, rules, is_moving=is_moving) else "",
        details={"offset": seen.server.offset},
    )
    return concluded, now


def _is_to_follow(seen: Seen, agreed: Watch, now: Remembered, rules: Rules, *, is_moving: bool) -> bool:
    """Whether this primary is the old one: it was named before, in an older epoch, or has not been named for long."""
    if agreed.primary_address == rules.address or agreed.is_down:
        return False
    if now.named_epoch is not None:
        return agreed.epoch > now.named_epoch
    return not is_moving and seen.now_s - (now.primary_since_s or seen.now_s) > PROMOTED_S


def knows_strangers(watch: Watch, rules: Rules) -> bool:
    """Whether a watcher counts with some that left the stack: it needs a majority of all that it ever met. Pure."""
    is_calm = not watch.is_down and not watch.is_replacing
    return is_calm and (watch.other_watchers >= rules.watchers or watch.copies >= rules.members)


# --- how a server begins --------------------------------------------------------------------------------------------------
class Beginning(Enum):
    """`WAIT`: not known yet, or its place is about to be taken."""

    PRIMARY = "primary"
    REPLICA = "replica"
    WAIT = "wait"


def beginning(
    watches: Sequence[Watch], rules: Rules, *, living_replicas: int, waited_s: float, replaced_s: float
) -> tuple[Beginning, str]:
    """How a server that was not running is to begin, and whom it follows then. Pure.

    A primary that died comes back with what is on its disk, which may be nothing, and its replicas would throw away what they
    have. So it waits until one of them, of which `living_replicas` are known, has its place, `replaced_s` seconds at most.
    """
    if not rules.watchers:
        return Beginning.PRIMARY, ""
    agreed = named(watches, rules.majority)
    if agreed is None:
        return Beginning.WAIT, ""
    if agreed.primary_address != rules.address:
        return Beginning.REPLICA, agreed.primary_address
    if living_replicas and waited_s < replaced_s:
        return Beginning.WAIT, ""
    return Beginning.PRIMARY, ""
