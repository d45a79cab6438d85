"""A host loses its power: it falls silent at once, and what was not synced to its disk is gone."""

from nospof.drills.fault import Evidence, Fault, Ground, HostState, Target


class HostOff(Fault):
    name = "host-off"
    about = "The host loses its power: no answer, not even a refusal, and what was not yet synced to its disk is gone."
    is_loss = True
    breaks = Target.HOST
    comes_back_s = 60.0

    def inject(self, ground: Ground) -> None:
        ground.lab.power_off(self.target)

    def injected(self, ground: Ground) -> Evidence:
        state = ground.lab.state(self.target)
        return Evidence(state is HostState.OFF, f"{self.target} is {state.value}")

    def heal(self, ground: Ground) -> None:
        ground.lab.power_on(self.target, wait=False)

    def healed(self, ground: Ground) -> Evidence:
        state = ground.lab.state(self.target)
        return Evidence(state is HostState.RUNNING, f"{self.target} is {state.value}")
