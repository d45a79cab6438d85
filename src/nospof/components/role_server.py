"""What tells the role of a server on its host, to routers and to whoever checks it: the same for all that have a primary."""

from __future__ import annotations

from nospof import component as c


def config(here: c.Context, role_port: int, tls: c.TlsFiles) -> str:
    """What nospof.onhost.database_roles reads: where it listens, and whose note it tells."""
    tier = here.me.id.tier
    return c.as_json(
        {
            "tier": tier,
            "host": here.host.name,
            "address": here.host.address,
            "role_port": role_port,
            "note_file": f"/run/nospof/{tier}/note.json",
            "certificate": tls.certificate,
            "key": tls.key,
        }
    )


def question(host: str, role_port: int, path: str) -> tuple[str, ...]:
    """A command that exits 0 where `path` is answered with 200. Asked often, so by a program that starts in no time."""
    return (
        "/usr/bin/curl",
        "-fsS",
        "--max-time",
        "2",
        "--cacert",
        "/etc/nospof/tls/ca.pem",
        f"https://{host}:{role_port}/{path}",
    )


UNIT = """\
# Written by nospof.
[Unit]
Description=Tells the role of the server of tier {{ tier }}
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
User={{ user }}
ExecStart={{ roles_program }} --config /etc/nospof/{{ tier }}/roles.json
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=100ms
TimeoutStopSec=2
Nice=-10
OOMScoreAdjust=-900
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
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
"""
