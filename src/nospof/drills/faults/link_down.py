"""A host's cable is pulled: it sees that its carrier is gone; the others see nothing but silence."""

from nospof.drills.fault import Evidence, Fault, Ground, Target


class LinkDown(Fault):
    name = "link-down"
    about = "The host's cable is pulled: the host notices that its carrier is gone, the others hear nothing any more."
    breaks = Target.HOST

    def inject(self, ground: Ground) -> None:
        ground.lab.link(self.target, is_up=False)

    def injected(self, ground: Ground) -> Evidence:
        return self._carrier(ground, "0")

    def heal(self, ground: Ground) -> None:
        ground.lab.link(self.target, is_up=True)

    def healed(self, ground: Ground) -> Evidence:
        return self._carrier(ground, "1")

    def _carrier(self, ground: Ground, wanted: str) -> Evidence:
        found = ground.sh(self.target, "cat /sys/class/net/eth0/carrier 2>/dev/null || echo 0").strip()
        return Evidence(found == wanted, f"carrier of {self.target}: {found}")
