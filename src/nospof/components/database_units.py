"""The agent's unit, as a Jinja template: the agent owns the server."""

# As root: it starts and kills the server, makes rules of its own in nftables, and replaces the data when only a copy helps.
AGENT_UNIT = """\
# Written by nospof.
[Unit]
Description=Failover agent of the database tier {{ tier }}
# Stopped before these when the host goes down, so that it can hand over.
After=network-online.target {{ server }} etcd.service nospof-{{ tier }}-roles.service
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={{ agent_program }} --config /etc/nospof/{{ tier }}/agent.json --socket {{ socket }}
ExecReload=/bin/kill -HUP $MAINPID
# Only when the host itself goes down: then a primary passes its role on first.
ExecStop=/bin/sh -c '[ "$(systemctl is-system-running)" != stopping ] || \
exec /usr/bin/python3 {{ onhost }} database_agent --ask leave --socket {{ socket }}'
Restart=always
RestartSec=100ms
TimeoutStopSec=6
# An agent that hangs or is frozen is ended and starts again, before its note is too old for the routers.
WatchdogSec=3
WatchdogSignal=SIGKILL
NotifyAccess=main
RuntimeDirectory=nospof/{{ tier }}
RuntimeDirectoryPreserve=yes
StateDirectory=nospof/{{ tier }}
StateDirectoryMode=0700
# Late looks are taken for a dead primary, so these come first when the processor is busy.
Nice=-10
OOMScoreAdjust=-950
NoNewPrivileges=yes
ProtectHome=yes
PrivateTmp=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectClock=yes
ProtectHostname=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
UMask=0022

[Install]
WantedBy=multi-user.target
"""
