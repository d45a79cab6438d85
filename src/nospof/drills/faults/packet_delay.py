"""Packets to a host come late: a long way, or a queue that is too long."""

from nospof.drills.fault import Evidence, Fault, Field, Ground, HostState, Part, Target, Topology


class PacketDelay(Fault):
    name = "packet-delay"
    about = "What is sent to the host arrives later, so that each answer from it takes so much longer too."
    breaks = Target.HOST

    ms: int = Field(50, ge=1, le=10_000, description="Milliseconds.")

    def lost(self, topology: Topology) -> frozenset[Part] | None:
        """Nobody can tell: it depends on who waits how long."""
        return None

    def unavailable(self, ground: Ground) -> str:
        if why := super().unavailable(ground):
            return why
        return "" if ground.lab.can_delay() else "this machine's kernel cannot delay packets (sch_netem)"

    def inject(self, ground: Ground) -> None:
        ground.lab.delay(self.target, self.ms)

    def injected(self, ground: Ground) -> Evidence:
        return Evidence(f"delay {self.ms}" in (found := ground.lab.delay_of(self.target)), found or "no delay")

    def heal(self, ground: Ground) -> None:
        if ground.lab.state(self.target) is not HostState.OFF:  # it gets a new cable when it boots
            ground.lab.delay(self.target, 0)

    def healed(self, ground: Ground) -> Evidence:
        found = ground.lab.delay_of(self.target)
        return Evidence(not found, found or "no delay")
