"""All processes of an instance die and stay dead until it is healed: the loss of the part itself."""

from collections.abc import Mapping

from nospof.drills.fault import Evidence, Fault, Ground, Target
from nospof.drills.unit_processes import kill, processes

# A condition that is never met: a start then does nothing, whoever asks for it. Masking would not do: a unit in /etc wins over
# a mask in /run, and one in /etc would outlive a reboot.
DROP_IN = "[Unit]\\nConditionPathExists=/run/nospof-drill-is-over\\n"
FILE = "nospof-drill.conf"


class ProcessStop(Fault):
    name = "process-stop"
    about = "All processes of the instance are killed, and nothing can start them until it is healed."
    is_loss = True
    breaks = Target.INSTANCE

    @property
    def _was_active(self) -> str:
        return f"/run/nospof-drill-stopped-{self.target.replace('/', '-')}"

    def unavailable(self, ground: Ground) -> str:
        return ""

    def inject(self, ground: Ground) -> None:
        units = ground.units(self.instance)
        services = [unit for unit in units if unit.endswith(".service")]
        others = [unit for unit in units if unit not in services]
        ground.sh(self.instance.host, f"""
            for unit in {" ".join(units)}; do
              if systemctl --quiet is-active "$unit"; then echo "$unit"; fi
            done >{self._was_active}
            for unit in {" ".join(units)}; do
              mkdir -p "/run/systemd/system/$unit.d"
              printf '{DROP_IN}' >"/run/systemd/system/$unit.d/{FILE}"
            done
            systemctl daemon-reload
            {f"systemctl stop {' '.join(others)}" if others else ""}
            {kill(services, "KILL")}
        """)  # fmt: skip

    def injected(self, ground: Ground) -> Evidence:
        left = ground.sh(self.instance.host, processes(ground.units(self.instance))).splitlines()
        return Evidence(not left, f"{len(left)} processes run")

    def undo(self, ground: Ground) -> Mapping[str, str]:
        units = ground.units(self.instance)
        drop_ins = " ".join(f"/run/systemd/system/{unit}.d/{FILE}" for unit in units)
        return {self.instance.host: f"""
            rm -f {drop_ins}
            systemctl daemon-reload
            if [ -e {self._was_active} ]; then
              systemctl reset-failed {" ".join(units)} 2>/dev/null || true
              xargs -r systemctl start --no-block <{self._was_active}
              rm -f {self._was_active}
            fi
        """}  # fmt: skip

    def healed(self, ground: Ground) -> Evidence:
        units = " ".join(ground.units(self.instance))
        said = ground.sh(self.instance.host, f"""
            for unit in {units}; do
              test ! -e "/run/systemd/system/$unit.d/{FILE}" || echo "$unit is held"
            done
            test ! -e {self._was_active} || echo "not started again"
        """).split("\n")  # fmt: skip
        wrong = [line for line in said if line]
        return Evidence(not wrong, ", ".join(wrong) or "may start again")
