"""What breaks: a schedule drawn from a seed. Each fault begins, lasts and ends by itself: any of them can be left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.world import World

HEAL_S = 45.0
# Who "primary", "voter" and "other" are is found when the fault begins: they hit where it matters.
TARGETS = ("primary", "primary", "primary", "voter", "voter", "other", "1", "2", "3")


@dataclass(frozen=True)
class Fault:
    """`target` names a host, or the part that one plays then; `number` is for what a fault must choose besides."""

    at_s: float
    kind: str
    target: str
    for_s: float
    number: int = 0

    def __str__(self) -> str:
        return f"{self.at_s:.3f} {self.kind} {self.target} for {self.for_s:.2f} s ({self.number})"


def draw(seed: int) -> list[Fault]:
    """Draw a schedule: some faults alone, most in a hurry after another, and some as known bad chains."""
    random = Random(f"{seed}/faults")
    faults: list[Fault] = []
    at_s = random.choice((random.uniform(0.0, 3.0), random.uniform(2.0, 8.0)))
    for _ in range(random.randint(2, 12)):
        faults += _one_or_chain(random, at_s)
        at_s += random.choice((random.uniform(0.0, 0.5), random.uniform(0.2, 3.0), random.uniform(3.0, 10.0)))
    return [fault for fault in faults if fault.at_s < HEAL_S - 3.0]


def _one_or_chain(random: Random, at_s: float) -> list[Fault]:
    if random.random() >= 0.25:
        return [_fault(random, at_s, random.choice(KINDS_DRAWN), random.choice(TARGETS))]
    faults = []
    for kind, target in random.choice(CHAINS):
        faults.append(_fault(random, at_s, kind, target))
        at_s += random.choice((0.0, random.uniform(0.0, 0.3), random.uniform(0.3, 3.0)))
    return faults


def _fault(random: Random, at_s: float, kind: str, target: str) -> Fault:
    _, longest_s, _ = KINDS[kind]
    for_s = random.choice((random.uniform(0.05, 1.0), random.uniform(0.5, longest_s)))
    return Fault(round(at_s, 3), kind, target, round(min(for_s, longest_s), 3), random.randrange(1000))


def begin(world: World, fault: Fault) -> None:
    """Do it, and see to its end."""
    host = world.host_playing(fault.target)
    ends = KINDS[fault.kind][2](world, host, fault)
    world.note("fault", f"{fault.kind} {host} for {fault.for_s} s")
    left_s = min(fault.for_s, max(0.0, world.heal_s - world.loop.now_s))
    world.loop.after(left_s, _end, world, fault, host, ends)


def _end(world: World, fault: Fault, host: str, ends: Ends) -> None:
    if ends is not None:
        world.note("fault", f"{fault.kind} {host} ends")
        ends()


Ends = Callable[[], None] | None
Begins = Callable[["World", str, Fault], Ends]


# --- servers and agents ------------------------------------------------------------------------------------------------
def _server_crash(world: World, host: str, fault: Fault) -> Ends:
    world.servers[host].crash()
    return None


def _server_hang(world: World, host: str, fault: Fault) -> Ends:
    world.servers[host].hang()
    return world.servers[host].go_on


def _apply_stall(world: World, host: str, fault: Fault) -> Ends:
    world.servers[host].is_applying_slowly += 1
    return world.servers[host].apply_again


def _apply_stops(world: World, host: str, fault: Fault) -> Ends:
    """The applying thread ends with an error; nobody but the agent starts it again."""
    world.servers[host].stop_applying()
    return None


def _disk_lost(world: World, host: str, fault: Fault) -> Ends:
    """A replica's disk is replaced by an empty one."""
    world.lose_disk(host)
    return None


def _disk_stall(world: World, host: str, fault: Fault) -> Ends:
    world.servers[host].stall()
    world.etcd.stop(host) if host in world.etcd.members else None

    def ends() -> None:
        world.servers[host].unstall()
        world.etcd.go_on(host) if host in world.etcd.members else None

    return ends


def _agent_crash(world: World, host: str, fault: Fault) -> Ends:
    world.agents[host].crash()
    return lambda: world.start_agent(host)


def _agent_freeze(world: World, host: str, fault: Fault) -> Ends:
    world.agents[host].freeze()
    return world.agents[host].thaw


def _agent_slow(world: World, host: str, fault: Fault) -> Ends:
    world.agents[host].slow_down(0.1 + fault.number / 1000)
    return lambda: world.agents[host].slow_down(0.0)


# --- power -------------------------------------------------------------------------------------------------------------
def _host_power(world: World, host: str, fault: Fault) -> Ends:
    return world.power_off(host)


def _site_power(world: World, host: str, fault: Fault) -> Ends:
    """Everything goes dark, and comes back in any order."""
    random = Random(fault.number)
    ends = [world.power_off(node) for node in world.hosts]
    random.shuffle(ends)

    def begin_again() -> None:
        for end in ends:
            world.loop.after(random.uniform(0.0, 3.0), end)

    return begin_again


# --- network -----------------------------------------------------------------------------------------------------------
def _cut(world: World, ways: list[tuple[str, str]]) -> Ends:
    world.network.cut(ways)
    return lambda: world.network.heal(ways)


def _isolated(world: World, host: str, fault: Fault) -> Ends:
    """From all hosts, or from all but the applications."""
    others = [other for other in (world.hosts if fault.number % 2 else world.everything) if other != host]
    return _cut(world, [(host, other) for other in others] + [(other, host) for other in others])


def _cut_one_way(world: World, host: str, fault: Fault) -> Ends:
    other = world.another(host, fault.number)
    return _cut(world, [(host, other) if fault.number % 2 else (other, host)])


def _cut_pair(world: World, host: str, fault: Fault) -> Ends:
    other = world.another(host, fault.number)
    return _cut(world, [(host, other), (other, host)])


def _halves(world: World, host: str, fault: Fault) -> Ends:
    random = Random(fault.number)
    here = {name for name in world.everything if random.random() < 0.5} | {host}
    there = [name for name in world.everything if name not in here]
    return _cut(world, [way for one in sorted(here) for other in there for way in ((one, other), (other, one))])


def _no_etcd_for(world: World, host: str, fault: Fault) -> Ends:
    """It reaches its peers' databases, and no etcd but a member of its own."""
    world.etcd.cut_off[host] = world.etcd.cut_off.get(host, 0) + 1

    def ends() -> None:
        world.etcd.cut_off[host] -= 1

    return ends


def _loss(world: World, host: str, fault: Fault) -> Ends:
    world.network.loss = 0.2

    def ends() -> None:
        world.network.loss = 0.0

    return ends


def _delay(world: World, host: str, fault: Fault) -> Ends:
    world.network.delay_s = 0.3

    def ends() -> None:
        world.network.delay_s = 0.0

    return ends


# --- etcd --------------------------------------------------------------------------------------------------------------
def _etcd_member(world: World, host: str, fault: Fault) -> Ends:
    member = world.etcd.members[fault.number % len(world.etcd.members)]
    world.etcd.stop(member)
    return lambda: world.etcd.go_on(member)


def _etcd_outage(world: World, host: str, fault: Fault) -> Ends:
    for member in world.etcd.members:
        world.etcd.stop(member)

    def ends() -> None:
        for member in world.etcd.members:
            world.etcd.go_on(member)

    return ends


def _etcd_vague(world: World, host: str, fault: Fault) -> Ends:
    """Answers are lost, requests and watches are late."""
    world.etcd.loss, world.etcd.delays = 0.3, 0.3

    def ends() -> None:
        world.etcd.loss, world.etcd.delays = 0.002, 0.01

    return ends


# --- people and routers ------------------------------------------------------------------------------------------------
def _switchover(world: World, host: str, fault: Fault) -> Ends:
    world.ask_for_handover(fault.number)
    return None


def _pause(world: World, host: str, fault: Fault) -> Ends:
    world.pause(fault.for_s)
    return None


def _router_stale(world: World, host: str, fault: Fault) -> Ends:
    router = world.routers[fault.number % len(world.routers)]
    router.is_stale += 1

    def ends() -> None:
        router.is_stale -= 1

    return ends


# kind → how often, relative to the others; how long at most; what it does
KINDS: dict[str, tuple[int, float, Begins]] = {
    "server crash": (6, 1.0, _server_crash),
    "server hang": (3, 10.0, _server_hang),
    "slow apply": (4, 8.0, _apply_stall),
    "apply stops": (1, 1.0, _apply_stops),
    "disk lost": (1, 1.0, _disk_lost),
    "disk stall": (2, 10.0, _disk_stall),
    "agent crash": (3, 3.0, _agent_crash),
    "agent freeze": (5, 15.0, _agent_freeze),
    "agent slow": (2, 10.0, _agent_slow),
    "power loss": (4, 15.0, _host_power),
    "site power loss": (1, 5.0, _site_power),
    "isolated": (4, 15.0, _isolated),
    "cut one way": (4, 15.0, _cut_one_way),
    "cut pair": (4, 15.0, _cut_pair),
    "halves": (2, 10.0, _halves),
    "no etcd": (3, 12.0, _no_etcd_for),
    "loss": (1, 10.0, _loss),
    "delay": (1, 10.0, _delay),
    "etcd member": (2, 15.0, _etcd_member),
    "etcd outage": (2, 10.0, _etcd_outage),
    "etcd vague": (3, 10.0, _etcd_vague),
    "switchover": (5, 1.0, _switchover),
    "pause": (1, 10.0, _pause),
    "router stale": (2, 30.0, _router_stale),
}
KINDS_DRAWN = tuple(kind for kind, (weight, _, _) in KINDS.items() for _ in range(weight))

# What is known to be bad in this order: each fault soon after the one before.
CHAINS = (
    (("slow apply", "voter"), ("server crash", "voter")),
    (("slow apply", "voter"), ("server crash", "primary")),
    (("server crash", "voter"), ("server crash", "primary")),
    (("server crash", "primary"), ("server crash", "primary")),
    (("cut pair", "voter"), ("server crash", "primary")),
    (("cut one way", "primary"), ("power loss", "primary")),
    (("agent freeze", "primary"), ("isolated", "primary")),
    (("agent freeze", "voter"), ("server crash", "primary")),
    (("agent freeze", "primary"), ("power loss", "voter")),
    (("power loss", "voter"), ("power loss", "primary")),
    (("switchover", "primary"), ("server crash", "primary")),
    (("switchover", "primary"), ("agent freeze", "voter")),
    (("switchover", "primary"), ("server hang", "voter")),
    (("switchover", "primary"), ("server hang", "voter"), ("server hang", "other")),
    (("switchover", "primary"), ("agent freeze", "primary")),
    (("etcd vague", "primary"), ("server crash", "primary")),
    (("power loss", "primary"), ("server crash", "primary")),
    (("isolated", "primary"), ("server crash", "primary")),
    (("etcd vague", "primary"), ("server crash", "primary"), ("server crash", "primary")),
    (("etcd vague", "primary"), ("switchover", "primary"), ("server crash", "primary")),
    (("cut pair", "voter"), ("server crash", "primary"), ("power loss", "primary")),
    (("server crash", "voter"), ("server crash", "other"), ("disk stall", "primary")),
    (("agent freeze", "voter"), ("switchover", "primary"), ("server crash", "primary")),
)
