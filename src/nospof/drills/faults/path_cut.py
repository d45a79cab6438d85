"""Two hosts do not hear each other, while both live and everybody else hears both: a cable between switches, a wrong route."""

from nospof.analysis.paths import paths
from nospof.drills.cut_fault import LinksFault
from nospof.drills.fault import Evidence, Field, Ground, HostPath, Topology
from nospof.drills.reach import running


class PathCut(LinksFault):
    """Alone, what it does is foretold from what it `severs`; together with other faults nothing is."""

    name = "path-cut"
    about = "The host and one other do not hear each other any more; everybody else hears both."

    to: str = Field("", description="The other host; none: the first that it calls or is called by.")

    def __str__(self) -> str:
        return f"{self.name} {self.target}{' to ' if self.to else ''}{self.to}"

    def hosts(self, topology: Topology) -> tuple[str, ...]:
        path = self.severs(topology)
        return (path.one, path.other) if path else tuple(filter(None, (self.target, self.to)))

    def severs(self, topology: Topology) -> HostPath | None:
        if self.to:
            one, other = sorted((self.target, self.to))
            return HostPath(one, other) if one != other else None
        return next((path for path in paths(topology) if self.target in (path.one, path.other)), None)

    def unavailable(self, ground: Ground) -> str:
        why = "it has no link with another host" if self.severs(ground.topology) is None else ""
        return super().unavailable(ground) or why

    def inject(self, ground: Ground) -> None:
        one, other = self.hosts(ground.topology)
        ground.lab.cut([one], [other], name=self.mark)

    def injected(self, ground: Ground) -> Evidence:
        one, other = self.hosts(ground.topology)
        alive = running(ground)
        if one not in alive or other not in alive:
            return Evidence(ground.lab.has_cut(self.mark), f"one of {one} and {other} does not run, the cut is there")
        return self.silence(ground, (one,), (other,))
