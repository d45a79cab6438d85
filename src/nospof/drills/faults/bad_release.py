"""A deployment went wrong on one host: the release folder lacks the application, which was restarted from it."""

from collections.abc import Mapping

from nospof.drills.fault import Evidence, Fault, Ground, Target
from nospof.drills.unit_processes import services


class BadRelease(Fault):
    name = "bad-release"
    about = "The application's release on this host is empty, and the application was restarted from it."
    breaks = Target.INSTANCE
    # What Python says of a module that is not there, each time it is started.
    makes_say = (r"Traceback \(most recent call last\)",)

    @property
    def _current(self) -> str:
        return f"/srv/nospof/{self.instance.tier}/current"

    def unavailable(self, ground: Ground) -> str:
        if why := super().unavailable(ground):
            return why
        has = ground.sh(self.instance.host, f"if [ -e {self._current} ]; then echo yes; fi")
        return "" if has else f"{self.target} runs no release of ours"

    def inject(self, ground: Ground) -> None:
        ground.sh(self.instance.host, f"""
            release=$(readlink -f {self._current})
            if [ ! -e $release.before-drill ]; then mv $release $release.before-drill; fi
            for folder in $(ls $release.before-drill); do mkdir -p $release/$folder; done
            systemctl restart --no-block {self._services(ground)}
        """)  # fmt: skip

    def injected(self, ground: Ground) -> Evidence:
        is_healthy = self.healed(ground).is_so or ground.is_healthy(self.instance)
        return Evidence(not is_healthy, f"{self.target} {'answers' if is_healthy else 'does not answer'}")

    def undo(self, ground: Ground) -> Mapping[str, str]:
        return {self.instance.host: f"""
            release=$(readlink -m {self._current})
            if [ -e $release.before-drill ]; then
              rm -rf $release
              mv $release.before-drill $release
              systemctl reset-failed {self._services(ground)} 2>/dev/null || true
              systemctl restart --no-block {self._services(ground)}
            fi
        """}  # fmt: skip

    def healed(self, ground: Ground) -> Evidence:
        kept = ground.sh(self.instance.host, f"ls -d $(readlink -m {self._current}).before-drill 2>/dev/null || true").strip()
        return Evidence(not kept, f"{kept} is there" if kept else "the release is as it was")

    def _services(self, ground: Ground) -> str:
        return " ".join(services(ground.units(self.instance)))
