"""A host's disk fails: what is read from it and written to it ends with an error, while the host itself goes on.

It stays so until the host boots anew, as after a file system has found an error; what was not synced before is lost.
"""

from nospof.drills.fault import Evidence, Fault, Ground, HostState, Target


class DiskError(Fault):
    name = "disk-error"
    about = "Every read and write of the host's disk ends with an input/output error; what runs from memory goes on."
    breaks = Target.HOST
    at_most = True
    comes_back_s = 60.0

    def inject(self, ground: Ground) -> None:
        ground.lab.fail_disk(self.target)

    def injected(self, ground: Ground) -> Evidence:
        has_failed = ground.lab.has_disk_failed(self.target)
        return Evidence(has_failed, f"the disk of {self.target} {'fails' if has_failed else 'works'}")

    def heal(self, ground: Ground) -> None:
        if ground.lab.has_disk_failed(self.target):
            ground.lab.power_off(self.target)
        if ground.lab.state(self.target) is HostState.OFF:
            ground.lab.power_on(self.target, wait=False)

    def healed(self, ground: Ground) -> Evidence:
        found, state = self.injected(ground), ground.lab.state(self.target)
        return Evidence(not found.is_so and state is HostState.RUNNING, f"{found.says}, and it is {state.value}")
