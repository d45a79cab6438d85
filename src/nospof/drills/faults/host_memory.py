"""A host has too little memory: its kernel ends a process, the largest first, or is only busy finding room."""

from nospof.drills.fault import Evidence, Fault, Field, Ground, Target


class HostMemory(Fault):
    name = "host-memory"
    about = "The host has less memory than it uses: the kernel ends processes until the rest fits."
    breaks = Target.HOST
    at_most = True

    percent: int = Field(50, ge=5, le=95, description="So much of what it uses at the beginning is all that it gets.")

    def unavailable(self, ground: Ground) -> str:
        if why := super().unavailable(ground):
            return why
        can = ground.lab.memory(self.target).can_limit_memory()
        return "" if can else "this machine does not let version 2 of cgroup limit memory"

    def inject(self, ground: Ground) -> None:
        group = ground.lab.memory(self.target)
        group.limit_memory(group.memory_used() * self.percent // 100)

    def injected(self, ground: Ground) -> Evidence:
        group = ground.lab.memory(self.target)
        limit, failures = group.memory_limit(), group.memory_failures()
        return Evidence(limit is not None and failures > 0, f"limit {limit}, met {failures} times")

    def heal(self, ground: Ground) -> None:
        ground.lab.memory(self.target).limit_memory(None)

    def healed(self, ground: Ground) -> Evidence:
        limit = ground.lab.memory(self.target).memory_limit()
        return Evidence(limit is None, "no limit" if limit is None else f"limit {limit}")
