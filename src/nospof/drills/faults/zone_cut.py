"""A zone is cut off from all others; inside it all go on talking. The line between two sites is dug up."""

from nospof.drills.fault import Evidence, Fault, Ground, Target


class ZoneCut(Fault):
    name = "zone-cut"
    about = "The zone's line to the other zones and to visitors is cut; inside the zone all hear each other."
    breaks = Target.ZONE

    def inject(self, ground: Ground) -> None:
        ground.lab.zone_link(self.target, is_up=False)

    def injected(self, ground: Ground) -> Evidence:
        is_linked = ground.lab.zone_is_linked(self.target)
        return Evidence(not is_linked, f"zone {self.target} is {'joined to' if is_linked else 'cut off from'} the others")

    def heal(self, ground: Ground) -> None:
        ground.lab.zone_link(self.target, is_up=True)

    def healed(self, ground: Ground) -> Evidence:
        cut = self.injected(ground)
        return Evidence(not cut.is_so, cut.says)
