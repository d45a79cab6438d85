"""A host is told to boot again, and does so in good order: its services are stopped, and start again by themselves."""

from nospof.drills.fault import Evidence, Fault, Ground, HostState, Kind, Part, Target, Topology

BOOT_ID = "/proc/sys/kernel/random/boot_id"


class HostReboot(Fault):
    name = "host-reboot"
    about = "The host is told to boot again: its services are stopped in order, and start again with it."
    breaks = Target.HOST
    lasts = False
    at_most = True
    comes_back_s = 60.0

    def lost(self, topology: Topology) -> frozenset[Part]:
        """Some hosts boot within seconds, others need minutes."""
        return frozenset({Part(Kind.HOST, self.target)})

    @property
    def _before(self) -> str:
        """Where the host notes which boot it was; on its disk, since /run is new after it."""
        return f"/var/lib/nospof/{self.mark}"

    def inject(self, ground: Ground) -> None:
        ground.sh(self.target, f"cat {BOOT_ID} >{self._before}\nsystemctl --no-block reboot")

    def injected(self, ground: Ground) -> Evidence:
        if ground.lab.state(self.target) is not HostState.RUNNING:
            return Evidence(is_so=True, says=f"{self.target} is on its way down or up")
        is_new = ground.sh(self.target, f"cmp -s {BOOT_ID} {self._before} || test ! -e {self._before} || echo new")
        return Evidence(bool(is_new), f"{self.target} has {'' if is_new else 'not '}booted again")

    def heal(self, ground: Ground) -> None:
        if ground.lab.state(self.target) is HostState.OFF:
            ground.lab.power_on(self.target, wait=False)
        ground.sh(self.target, f"rm -f {self._before}")

    def healed(self, ground: Ground) -> Evidence:
        state = ground.lab.state(self.target)
        return Evidence(state is HostState.RUNNING, f"{self.target} is {state.value}")
