"""A host's cable is pulled: it sees that its carrier is gone; the others see nothing but silence."""

from nospof.drills.fault import Evidence, Fault, Ground, HostState, Target


class LinkDown(Fault):
    name = "link-down"
    about = "The host's cable is pulled: the host notices that its carrier is gone, the others hear nothing any more."
    breaks = Target.HOST

    def inject(self, ground: Ground) -> None:
        ground.lab.link(self.target, is_up=False)

    def injected(self, ground: Ground) -> Evidence:
        found = ground.sh(self.target, "ip -oneline link show dev eth0")
        return Evidence("NO-CARRIER" in found, f"{self.target} has {'no' if 'NO-CARRIER' in found else 'a'} carrier")

    def heal(self, ground: Ground) -> None:
        # Without power its cable is out too, and is put in when it boots; before, its network would answer that nobody listens.
        if ground.lab.state(self.target) is not HostState.OFF:
            ground.lab.link(self.target, is_up=True)

    def healed(self, ground: Ground) -> Evidence:
        has_link, is_off = ground.lab.has_link(self.target), ground.lab.state(self.target) is HostState.OFF
        return Evidence(has_link or is_off, f"the cable of {self.target} is {'in' if has_link else 'out'}")
