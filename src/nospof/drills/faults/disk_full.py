"""A host's own disk is full: what wants to write is told so, what only reads goes on."""

from collections.abc import Mapping

from nospof.drills.fault import Evidence, Fault, Ground, Target

# Without writing anything: blocks are only promised, in ever smaller pieces until there are none. Only on a disk as small as
# that of a lab's host: never the machine's.
FILL = """
[ $(df --block-size=G --output=size / | tail -1 | tr -dc 0-9) -le 16 ]
mkdir -p {folder}
number=0
for size in 1G 64M 4M 256K 16K 4K; do
  while fallocate -l $size {folder}/$number 2>/dev/null; do number=$((number + 1)); done
done
"""
# What a log that is cut short sets free is soon used again.
FULL_KIB = 16 * 1024


class DiskFull(Fault):
    name = "disk-full"
    about = "The host's disk is full: every write that needs more room fails."
    breaks = Target.HOST
    at_most = True

    @property
    def _folder(self) -> str:
        return f"/var/nospof-{self.mark}"

    def inject(self, ground: Ground) -> None:
        ground.sh(self.target, FILL.format(folder=self._folder))

    def injected(self, ground: Ground) -> Evidence:
        free = int(ground.sh(self.target, "df --block-size=K --output=avail / | tail -1 | tr -dc 0-9"))
        return Evidence(free <= FULL_KIB, f"{free} KiB are free")

    def undo(self, ground: Ground) -> Mapping[str, str]:
        return {self.target: f"rm -rf {self._folder}"}

    def healed(self, ground: Ground) -> Evidence:
        found = ground.sh(self.target, f"ls -d {self._folder} 2>/dev/null || true").strip()
        return Evidence(not found, f"{found} is there" if found else "there is room again")
