"""node_exporter: measures a host's kernel, and hands out what nospof's own program beside it finds out about the instances.

That program (nospof.onhost.measures) looks every second whether the processes of each instance are there, and every
`look_s` seconds whether they answer; who holds a VIP, whether the firewall is in force, when certificates end and
what the agents say of databases. It writes one file in memory; node_exporter serves it with its own figures.

Only what alerts and people use is collected: the other collectors cost more than all of nospof's. Reasons and figures:
docs/decisions/0017-monitoring.md. Source: https://github.com/prometheus/node_exporter (1.9.0 in Debian 13).
"""

from __future__ import annotations

import json

from nospof import component as c

EXPORTER, MEASURES = "prometheus-node-exporter.service", "nospof-measures.service"
CONFIG = "/etc/nospof/measures.json"
FOLDER = "/run/nospof-measures"
COLLECTORS = (
    *("conntrack", "cpu", "diskstats", "filefd", "filesystem", "loadavg", "meminfo", "netdev", "pressure", "stat", "textfile"),
    *("time", "timex", "uname", "vmstat"),
)
DAY_S = 86_400


class NodeExporterSettings(c.Settings):
    port: int = c.Field(9100, ge=1024, le=65535, description="Port where the figures are read.")
    look_s: int = c.Field(
        15, ge=2, le=300, description="Seconds between two looks whether instances answer; that they run is seen each second."
    )


class NodeExporter(c.Component[NodeExporterSettings]):
    name = "node-exporter"
    missed_s = 0.0
    about = "It measures the host: processor, memory, disks, and whether everything that should run on it is healthy."
    why = "What is about to fail shows in figures first: a disk that fills, a clock that drifts, a copy that falls behind."
    when_lost = "Its host counts as silent, and people are told; nothing else depends on it."
    packages = ("prometheus-node-exporter",)
    provides = (c.HostMetrics,)

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        return (c.Listen("metrics", c.Protocol.METRICS, self.settings.port),)

    def parts(self, here: c.Context) -> c.Parts:
        config = c.File(CONFIG, self._told(here), for_units=(MEASURES,))
        exporter = here.template(EXPORTER_UNIT, set=self.settings, collectors=COLLECTORS, folder=FOLDER)
        measures = here.template(MEASURES_UNIT, program=here.program("measures"), config=CONFIG, folder=FOLDER)
        url = f"http://{here.host.address}:{self.settings.port}/metrics"
        # Asked for one figure only: all of them are read every few seconds anyway.
        answers = f"curl -fsS --max-time 3 '{url}?collect[]=textfile' | grep -q ^nospof_measured_at_seconds"
        return c.Parts(
            files=(config,),
            units=(c.Unit(MEASURES, text=measures), c.Unit(EXPORTER, text=exporter)),
            healthy_when=(c.Probe("figures", ("/bin/sh", "-c", answers)),),
        )

    def _told(self, here: c.Context) -> str:
        """What the program must know beside what the host's receipt says: addresses, agents, who is itself not to be asked."""
        beside = here.topology.on_host(here.host.name)
        kinds = [c.Component.kinds[one.component](one) for one in beside]
        told = {
            "look_s": self.settings.look_s,
            "file": f"{FOLDER}/nospof.prom",
            "vips": {vip.name: vip.address for vip in here.topology.vips},
            "has_firewall": here.topology.has_firewall,
            "agents": {str(one.id): kind.asks_agent for one, kind in zip(beside, kinds, strict=True) if kind.asks_agent},
            "notes": {str(one.id): kind.role_note for one, kind in zip(beside, kinds, strict=True) if kind.role_note},
            "figures": {str(one.id): kind.tells_figures for one, kind in zip(beside, kinds, strict=True) if kind.tells_figures},
            # Its health is that the figures come; asking for them to make them would go round in circles.
            "not_asked": [str(self.id)],
        }
        return json.dumps(told, indent=1) + "\n"

    def alerts(self, topology: c.Topology) -> tuple[c.Alert, ...]:
        host = "{{ $labels.host }}"
        found = [
            c.Alert(
                c.NOT_MEASURED,
                f'(up{{component="{self.name}"}} == 1 unless on (host) (time() - nospof_measured_at_seconds < 60))',
                f"{host}: nothing is known of what runs on it",
                f"The host answers, but nospof's own program there has written no figures for a minute ({MEASURES}).",
                f"On {host}: systemctl status {MEASURES}; its log says why. Until then nospof status tells how the host is.",
                for_s=30,
                hides=(c.INSTANCE_UNKNOWN,),
                hides_by=("host",),
            ),
            c.Alert(
                "CertificateEnds",
                f"nospof_certificate_ends_seconds - time() < {30 * DAY_S}",
                f"{host}: a certificate ends in {{{{ $value | humanizeDuration }}}}",
                "The certificate of tier {{ $labels.tier }} at {{ $labels.path }} is near its end; then whoever asks for it "
                "refuses to speak with this instance.",
                "Run nospof up: it renews each certificate of which less than a third of its life is left.",
                for_s=60,
            ),
            c.Alert(
                "CertificateEnded",
                f"nospof_certificate_ends_seconds - time() < {2 * DAY_S}",
                f"{host}: a certificate ends within two days, or has ended",
                "The certificate of tier {{ $labels.tier }} at {{ $labels.path }} is at its end: callers refuse it.",
                "Run nospof up now: it makes a new one.",
                c.Urgency.CRITICAL,
                for_s=60,
                hides=("CertificateEnds",),
                hides_by=("host", "path"),
            ),
            c.Alert(
                "DiskFills",
                'node_filesystem_avail_bytes{fstype!~"tmpfs|ramfs|squashfs|iso9660"} / node_filesystem_size_bytes < 0.1',
                f"{host}: {{{{ $labels.mountpoint }}}} has {{{{ $value | humanizePercentage }}}} free",
                "Less than a tenth of the disk is free. A database that cannot write stops, and logs are lost.",
                f"On {host}: du -xh --max-depth=2 {{{{ $labels.mountpoint }}}} | sort -h | tail. Remove what is not needed.",
                for_s=60,
            ),
            c.Alert(
                "DiskFullSoon",
                'node_filesystem_avail_bytes{fstype!~"tmpfs|ramfs|squashfs|iso9660"} / node_filesystem_size_bytes < 0.4 '
                "and predict_linear(node_filesystem_avail_bytes[1h], 4 * 3600) < 0",
                f"{host}: {{{{ $labels.mountpoint }}}} will be full within four hours",
                "At the rate of the last hour the disk is full within four hours; then the database stops and logs are lost.",
                f"On {host}: find what grows: du -xh --max-depth=2 {{{{ $labels.mountpoint }}}} | sort -h | tail.",
                c.Urgency.CRITICAL,
                for_s=600,
                every_s=60,
            ),
            c.Alert(
                "FewFilesLeft",
                'node_filesystem_files_free{fstype!~"tmpfs|ramfs|squashfs|iso9660"} / node_filesystem_files < 0.05',
                f"{host}: {{{{ $labels.mountpoint }}}} has hardly any inodes left",
                "Fewer than one in twenty files can still be made: new files fail although there is room.",
                f"On {host}: find the folder with very many small files, e.g. sessions or mail that is not delivered.",
                for_s=60,
            ),
            c.Alert(
                "MemoryShort",
                "node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes < 0.05",
                f"{host}: hardly any memory is left",
                "Less than a twentieth of the memory is available. Next the kernel ends the largest process.",
                f"On {host}: systemd-cgtop -m shows which service has it; nospof_instance_memory_bytes shows since when.",
                for_s=60,
            ),
            c.Alert(
                "ProcessKilledForMemory",
                "increase(node_vmstat_oom_kill[10m]) > 0",
                f"{host}: the kernel has ended a process for want of memory",
                "What was ended started again by itself, if it is one of the stack's; without more memory it happens again.",
                f"On {host}: journalctl -k --grep 'Out of memory' names it. Give the host more memory, or the service less.",
                for_s=0,
            ),
            c.Alert(
                "ConnectionTableFills",
                "node_nf_conntrack_entries / node_nf_conntrack_entries_limit > 0.8",
                f"{host}: the firewall's table of connections is nearly full",
                "When it is full, new connections are dropped without an answer.",
                f"On {host}: conntrack -S, ss -s; raise net.netfilter.nf_conntrack_max, or find who opens so many.",
                for_s=30,
            ),
            c.Alert(
                "ClockNotSynchronised",
                "min_over_time(node_timex_sync_status[5m]) == 0 and node_timex_maxerror_seconds >= 16",
                f"{host}: its clock follows no time server",
                "Nothing has set the clock right for hours; sooner or later it is wrong.",
                f"On {host}: timedatectl timesync-status. Does it reach its time server?",
                for_s=600,
                every_s=60,
            ),
            c.Alert(
                "ClockWrong",
                "abs(node_time_seconds - timestamp(node_time_seconds)) > 2",
                f"{host}: its clock differs by {{{{ $value | humanizeDuration }}}}",
                "The clock of this host and that of the host that watches it differ. Certificates, sessions and the order "
                "of log lines depend on it.",
                f"On {host}: timedatectl timesync-status. Does it reach its time server?",
                for_s=60,
            ),
        ]
        if topology.has_firewall:
            found.append(FIREWALL_MISSING)
        return tuple(found)

    def panels(self, topology: c.Topology) -> tuple[c.Panel, ...]:
        window, disks = c.RATE_WINDOW, 'fstype!~"tmpfs|ramfs|squashfs|iso9660"'
        idle = f'avg by (host) (rate(node_cpu_seconds_total{{mode="idle"}}[{window}]))'
        waiting = "rate(node_pressure_{what}_waiting_seconds_total[{window}])"
        sent, received = (f"sum by (host) (rate(node_network_{way}_bytes_total[{window}]))" for way in ("transmit", "receive"))
        return (
            c.Panel("Processor", "Of all processors, the share that works.", ((f"1 - {idle}", "{{host}}"),), c.Scale.SHARE),
            c.Panel(
                "Waiting for a processor or the disk",
                "The share of time in which something that could work had to wait.",
                (
                    (waiting.format(what="cpu", window=window), "{{host}} processor"),
                    (waiting.format(what="io", window=window), "{{host}} disk"),
                ),
                c.Scale.SHARE,
                can_be_empty=True,  # a kernel may have been told not to count it
            ),
            c.Panel(
                "Memory",
                "Of all memory, the share that is not available to anybody else.",
                (("1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes", "{{host}}"),),
                c.Scale.SHARE,
                limit=0.95,
            ),
            c.Panel(
                "Disks",
                "Of each disk, the share that is used.",
                ((f"1 - node_filesystem_avail_bytes{{{disks}}} / node_filesystem_size_bytes", "{{host}} {{mountpoint}}"),),
                c.Scale.SHARE,
                limit=0.9,
            ),
            c.Panel(
                "Network",
                "Sent and received, over all interfaces.",
                ((sent, "{{host}} sent"), (received, "{{host}} received")),
                c.Scale.BYTES_PER_S,
            ),
            c.Panel(
                "Certificates",
                "Time until the first certificate of each host ends.",
                (("min by (host) (nospof_certificate_ends_seconds) - time()", "{{host}}"),),
                c.Scale.SECONDS,
            ),
        )


FIREWALL_MISSING = c.Alert(
    "FirewallMissing",
    "nospof_firewall_in_force == 0",
    "{{ $labels.host }}: the firewall is not in force",
    "The table inet nospof is missing or lets everything in: every port of the host is open to whoever reaches it.",
    "On {{ $labels.host }}: systemctl restart nospof-firewall.service. Then find out who took it away: a second firewall, "
    "nft flush ruleset.",
    c.Urgency.CRITICAL,
)

EXPORTER_UNIT = """\
# Written by nospof; in the place of Debian's.
[Unit]
Description=Figures of this host for those that watch the stack
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
User=prometheus
Group=prometheus
Environment=GOMAXPROCS=1 GOMEMLIMIT=32MiB
ExecStart=/usr/bin/prometheus-node-exporter \\
    --web.listen-address={{ here.host.address }}:{{ set.port }} \\
    --web.disable-exporter-metrics --web.max-requests=8 --log.level=warn \\
    --collector.disable-defaults{% for name in collectors %} --collector.{{ name }}{% endfor %} \\
    --collector.textfile.directory={{ folder }} \\
    --collector.vmstat.fields=^oom_kill$ \\
    --collector.netdev.device-exclude=^(lo|veth.*|docker.*)$ \\
    --collector.diskstats.device-exclude=^(ram|loop|fd|zram|dm-)[0-9]+$ \\
    --collector.filesystem.mount-points-exclude=^/(dev|proc|run|sys|tmp)($|/) \\
    --collector.filesystem.fs-types-exclude=^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|efivarfs|\
fusectl|hugetlbfs|mqueue|nsfs|proc|pstore|rpc_pipefs|securityfs|sysfs|tracefs|tmpfs|ramfs|squashfs|iso9660)$
Restart=always
RestartSec=1s
TimeoutStopSec=3
# What is watched comes first.
Nice=5
OOMScoreAdjust=200
CapabilityBoundingSet=
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=no
PrivateDevices=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectHostname=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
UMask=0077

[Install]
WantedBy=multi-user.target
"""

# As root: it runs the instances' own probes, which read keys, and looks at the firewall.
MEASURES_UNIT = """\
# Written by nospof.
[Unit]
Description=Looks whether everything on this host is healthy
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={{ program }} --config {{ config }}
Restart=always
RestartSec=1s
TimeoutStopSec=3
NotifyAccess=main
WatchdogSec=60
WatchdogSignal=SIGKILL
RuntimeDirectory={{ folder.removeprefix("/run/") }}
RuntimeDirectoryMode=0755
Nice=5
OOMScoreAdjust=200
CapabilityBoundingSet=CAP_DAC_READ_SEARCH CAP_DAC_OVERRIDE CAP_NET_ADMIN
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateDevices=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectClock=yes
ProtectHostname=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
UMask=0022

[Install]
WantedBy=multi-user.target
"""
