"""The units that give other hosts of the tier a copy: systemd holds the port, the program runs only while somebody calls.

The program reads a JSON file with the fields of agent.json that `onhost/database_donor.py` names, and `copy_port` and
`copy_limit_mib_s`. Reasons: it is needed once in months, and a resident Python would take 20 MiB on every database host.
"""

from __future__ import annotations

from nospof import component as c


def copy_units(here: c.Context, tier: str, port: int, config: str) -> tuple[c.Unit, ...]:
    """The socket, which is enabled and running, and the service that it starts; `config` is the path of the JSON file."""
    name = f"nospof-{tier}-copy"
    return (
        c.Unit(
            f"{name}.service",
            text=here.template(SERVICE, name=name, tier=tier, program=here.program("database_donor"), config=config),
            is_started=False,
        ),
        c.Unit(f"{name}.socket", text=here.template(SOCKET, tier=tier, address=here.host.address, port=port)),
    )


SOCKET = """\
# Written by nospof.
[Unit]
Description=Port for copies of the MariaDB server of tier {{ tier }}

[Socket]
ListenStream={{ address }}:{{ port }}
# The host may get its address later.
FreeBind=yes
Backlog=16
# Callers without a certificate start the program too; they must not close the port for the others.
TriggerLimitIntervalSec=0

[Install]
WantedBy=sockets.target
"""

SERVICE = """\
# Written by nospof.
[Unit]
Description=Copies of the MariaDB server of tier {{ tier }} for its other hosts
# systemd starts no socket whose service runs: so a changed socket restarts both.
PartOf={{ name }}.socket
After={{ name }}.socket
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={{ program }} --config {{ config }}
# The server's user: it may read the files, and the server knows it by its unix socket.
User=mysql
Group=mysql
TimeoutStopSec=5
# A copy must not be felt by those who are served.
Nice=10
IOSchedulingClass=best-effort
IOSchedulingPriority=7
CPUWeight=20
OOMScoreAdjust=500
CapabilityBoundingSet=
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_UNIX AF_INET
RestrictNamespaces=yes
RestrictRealtime=yes
LockPersonality=yes
SystemCallArchitectures=native
"""
