"""One tier, put together from a seed: hosts, servers, agents, etcd, routers and clients; run with a schedule of faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tests.simulation import faults
from tests.simulation.agent import Agent
from tests.simulation.clients import Client
from tests.simulation.faults import HEAL_S, Fault
from tests.simulation.invariants import Violation, Watchman
from tests.simulation.loop import Loop
from tests.simulation.mistakes import Mistake
from tests.simulation.network import Network

from nospof.onhost.agent.model import Decision, Handover, Member, Mode, Rules, Sync

# After everything is healed, all must be well within this.
CONVERGE_S = 60.0
# After a loss of power the last host is back so much later.
LAST_RETURN_S = 5.0
APPLICATIONS = ("app1", "app2")


@dataclass
class Result:
    """How one run ended. `rules`: how often each rule of the table decided."""

    seed: int
    faults: list[Fault]
    invariant: str = ""
    """The one that was violated; "" = none."""
    text: str = ""
    ended_s: float = 0.0
    events: int = 0
    writes: int = 0
    promotions: int = 0
    rules: Counter[str] = field(default_factory=Counter)
    moves: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often a host went from one state to another."""
    history: list[str] = field(default_factory=list)


def run(
    seed: int, mistake: Mistake, schedule: list[Fault] | None = None, *, heal_s: float = HEAL_S, tells: bool = False
) -> Result:
    """Run one world to its end or to its first violation. At `heal_s` all faults end."""
    chosen = faults.draw(seed) if schedule is None else schedule
    world = World(seed, mistake, heal_s=heal_s, tells=tells)
    result = Result(seed, chosen, rules=world.rules_fired, moves=world.moves, history=world.history)
    try:
        world.live(chosen)
    except Violation as violation:
        result.invariant, result.text = violation.invariant, str(violation)
    except AssertionError as error:
        if not _is_of_decide(error):
            raise
        result.invariant, result.text = "assertion", f"assertion: {error}"
    result.ended_s, result.events = world.loop.now_s, world.loop.events
    result.writes, result.promotions = len(world.watchman.acknowledged), len(world.watchman.primaries)
    return result


class World:
    """Everything there is."""

    def __init__(self, seed: int, mistake: Mistake, *, heal_s: float, tells: bool) -> None:
        self.heal_s = heal_s
        self.loop = Loop(seed)
        self.history: list[str] = []
        self.rules_fired: Counter[str] = Counter()
        self._tells = tells
        self._said: dict[str, str] = {}
        self._states: dict[str, str] = {}
        self.moves: Counter[tuple[str, str]] = Counter()
        random = self.loop.random("topology")
        count = random.choice((3, 3, 3, 3, 2, 4))
        nodes = tuple(f"db{number}" for number in range(1, count + 1))
        voters = (*nodes, "etcd1") if count == 2 else nodes[:3]
        self.hosts = tuple(dict.fromkeys(nodes + voters))
        self.everything = self.hosts + APPLICATIONS
        suspect_s = random.choice((1.0, 1.0, 0.5))
        witness = nodes[-1] if random.random() < 0.4 and count > 2 else ""
        plain = [node for node in nodes if node != witness]
        spare = plain[-1] if self.loop.random("spare").random() < 0.4 and count > 2 else ""
        self.rules = Rules(
            tuple(Member(node, node == witness, node == spare) for node in nodes),
            first_primary="db1",
            mode=random.choice((Mode.LOSSLESS, Mode.LOSSLESS, Mode.AVAILABLE)),
            suspect_s=suspect_s,
            agree_s=0.6 * suspect_s,
        )
        self.network = Network(self.loop, self.loop.random("network"))
        self.etcd = mistake.etcd(self.loop, self.network, voters)
        self.network.changed = self.etcd.look_at_members
        self.watchman = Watchman(self.etcd, self.rules, lambda: self.loop.now_s, self.note)
        self.servers = {node: mistake.server(node, self.loop, self.network, self.watchman) for node in nodes}
        self.watchman.servers = self.servers
        for server in self.servers.values():
            server.peers = self.servers
        self.agents = {
            node: Agent(server, self.etcd, self.loop, self.rules, mistake, self._decided)
            for node, server in self.servers.items()
        }
        self.routers = [mistake.router(host, self.agents, self.loop, self.network, self.watchman) for host in APPLICATIONS]
        self.clients = [
            Client(str(number), self.routers[number % 2], self.servers, self.loop, self.network, 0.3 if number == 4 else 0.0)
            for number in range(1, 5)
        ]
        self._power: dict[str, int] = {}
        self.note(
            "world",
            f"{count} database hosts, witness {witness or 'none'}, spare {spare or 'none'}, mode {self.rules.mode.value}, "
            f"etcd on {' '.join(voters)}",
        )

    # --- running -------------------------------------------------------------------------------------------------------
    def live(self, schedule: list[Fault]) -> None:
        """Faults until `heal_s`, then none, and all must be well."""
        for agent in self.agents.values():
            self.loop.after(0.5 * self.loop.random(f"boot/{agent.node}").random(), agent.start)
        for fault in schedule:
            self.loop.after(fault.at_s, faults.begin, self, fault)
        self.loop.run_until(self.heal_s + LAST_RETURN_S)
        self.note("world", "everything is healed")
        self._converge()
        self.watchman.ended()

    def _converge(self) -> None:
        well_s = 0.0
        end_s = self.loop.now_s + CONVERGE_S
        missing = ""
        while self.loop.now_s < end_s:
            self.loop.run_until(self.loop.now_s + 0.5)
            missing = self.watchman.is_well() or self._writes_missing()
            well_s = 0.0 if missing else well_s + 0.5
            if well_s >= 3.0:
                return
        raise Violation(
            "liveness", f"{CONVERGE_S:.0f} s after everything was healed: {missing or 'it is well for moments only'}"
        )

    def _writes_missing(self) -> str:
        late = [client for client in self.clients if self.loop.now_s - client.wrote_ok_s > 5.0]
        return f"{len(late)} clients did not write for 5 s" if late else ""

    # --- telling -------------------------------------------------------------------------------------------------------
    def note(self, node: str, text: str) -> None:
        if self._tells:
            self.history.append(f"{self.loop.now_s:9.4f} {node:5} {text}")

    def _decided(self, node: str, decision: Decision) -> None:
        self.rules_fired[decision.rule] += 1
        before, self._states[node] = self._states.get(node, ""), decision.state
        if before not in ("", decision.state):
            self.moves[before, decision.state] += 1
        if not self._tells:
            return
        acts = ", ".join(type(action).__name__ for action in decision.actions)
        said = f"{decision.state}: {decision.rule}: {decision.says}" + (f" → {acts}" if acts else "")
        if said != self._said.get(node) or acts not in ("", "WriteReport"):
            self._said[node] = said
            self.note(node, said)

    # --- what faults do ------------------------------------------------------------------------------------------------
    def host_playing(self, part: str) -> str:
        """Say which host plays the part now."""
        c, nodes = self.etcd.now.cluster, sorted(self.servers)
        if part == "primary":
            return c.primary or nodes[0]
        if part == "voter":
            return min(c.voters, default=nodes[1])
        if part == "other":
            return next((node for node in reversed(nodes) if node != c.primary), nodes[-1])
        return nodes[int(part) % len(nodes)]

    def another(self, host: str, number: int) -> str:
        others = [other for other in self.hosts if other != host]
        return others[number % len(others)]

    def start_agent(self, host: str) -> None:
        if host not in self.network.off:
            self.agents[host].start()

    def power_off(self, host: str) -> Callable[[], None]:
        """Take the power from a host; the answer gives it back."""
        self._power[host] = self._power.get(host, 0) + 1
        self.network.power_off(host)
        if host in self.servers:
            self.servers[host].lose_power()
            self.agents[host].crash()
            self.agents[host].note = None

        def power_on() -> None:
            self._power[host] -= 1
            if not self._power[host]:
                self.network.power_on(host)
                self.loop.after(0.2 + self.loop.random(f"boot/{host}/{self.loop.now_s}").random(), self._booted, host)

        return power_on

    def _booted(self, host: str) -> None:
        if host in self.agents:
            self.start_agent(host)

    def lose_disk(self, host: str) -> None:
        """Not the primary's, nor that of a host which may become it right now: of that loss nobody can promise anything."""
        c = self.etcd.now.cluster
        if c.primary and c.primary != host and c.election is None and c.handover is None:
            self.servers[host].lose_disk()

    def ask_for_handover(self, number: int) -> None:
        """What `nospof switchover` does."""
        c = self.etcd.now.cluster
        targets = [node for node in sorted(c.voters) if node in self.servers]
        if c.sync is Sync.OK and targets and c.election is None and c.handover is None:
            to = targets[number % len(targets)]
            self.etcd.swap(
                APPLICATIONS[0], replace(c, handover=Handover(to, f"handover {self.loop.now_s}")), lambda result: None
            )

    def pause(self, for_s: float) -> None:
        """What `nospof pause` does."""
        changed = replace(self.etcd.now.cluster, paused_until=self.loop.now_s + for_s, paused_by="a person")
        self.etcd.swap(APPLICATIONS[0], changed, lambda result: None)


def _is_of_decide(error: AssertionError) -> bool:
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and "onhost/agent" in frame.tb_frame.f_code.co_filename
