"""All of a host stops where it is, as a virtual machine does whose hypervisor hangs."""

from nospof.drills.fault import Evidence, Fault, Ground, HostState, Target


class HostFreeze(Fault):
    name = "host-freeze"
    about = "All processes of the host stop where they are; its kernel still completes handshakes, and nothing answers."
    breaks = Target.HOST

    def inject(self, ground: Ground) -> None:
        ground.lab.freeze(self.target)

    def injected(self, ground: Ground) -> Evidence:
        state = ground.lab.state(self.target)
        return Evidence(state is HostState.FROZEN, f"{self.target} is {state.value}")

    def heal(self, ground: Ground) -> None:
        ground.lab.thaw(self.target)

    def healed(self, ground: Ground) -> Evidence:
        state = ground.lab.state(self.target)
        return Evidence(state is HostState.RUNNING, f"{self.target} is {state.value}")
