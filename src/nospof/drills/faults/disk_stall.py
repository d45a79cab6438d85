"""A host's disk does not complete its writes any more, and says nothing: a controller that hangs, storage that is far away."""

from nospof.drills.fault import Evidence, Fault, Ground, HostState, Target


class DiskStall(Fault):
    name = "disk-stall"
    about = "Every write to the host's disk waits, and so does whoever wrote; reading goes on."
    breaks = Target.HOST
    at_most = True

    def inject(self, ground: Ground) -> None:
        ground.lab.stall_disk(self.target, is_stalled=True)

    def injected(self, ground: Ground) -> Evidence:
        is_stalled = ground.lab.is_disk_stalled(self.target)
        return Evidence(is_stalled, f"the disk of {self.target} {'stalls' if is_stalled else 'goes on'}")

    def heal(self, ground: Ground) -> None:
        # What loses its power stalls no more.
        if ground.lab.state(self.target) is not HostState.OFF:
            ground.lab.stall_disk(self.target, is_stalled=False)

    def healed(self, ground: Ground) -> Evidence:
        found = self.injected(ground)
        return Evidence(not found.is_so, found.says)
