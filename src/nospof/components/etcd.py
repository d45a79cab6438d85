"""etcd: the few facts that a majority of three hosts must agree on, first of all who is the database's primary.

Three voters in three zones; whichever host or zone is lost, two are left. For a tier with a spare they are five, of which three
are left when both of its normal hosts are lost. Certificates on both sides, between voters and from clients; a voter's peers
must be voters. It comes in where somebody needs Consensus, nobody names it in a stack file.

Reasons and figures: docs/decisions/0008-etcd.md. What a voter does before its first start, and when it counts as healthy:
nospof/onhost/etcd_member.py. Programs on hosts ask it through nospof/onhost/etcd.py.
Source: https://etcd.io/docs/v3.5/op-guide/configuration/, …/tuning/, …/security/ (Debian 13 has 3.5.16).
"""

from __future__ import annotations

import json

from nospof import component as c

UNIT_NAME = "etcd.service"
FOLDER = "/etc/nospof/etcd"
START_FILE = "/run/nospof-etcd/start.env"


class EtcdSettings(c.Settings):
    port: int = c.Field(2379, ge=1024, le=65535, description="Port for those who ask and write.")
    peer_port: int = c.Field(2380, ge=1024, le=65535, description="Port for the other voters.")
    metrics_port: int = c.Field(2381, ge=1024, le=65535, description="Port for those who watch the stack; shut if nobody does.")
    heartbeat_ms: int = c.Field(50, ge=10, le=1000, description="Milliseconds between two signs of life of the leader.")
    election_ms: int = c.Field(
        500, ge=100, le=50_000, description="Milliseconds without a sign of life until another leader is elected."
    )
    quota_mib: int = c.Field(64, ge=16, le=2048, description="Largest database; when it is full, nothing can be written.")
    keep_revisions: int = c.Field(
        10_000, ge=1000, description="So many changes are kept for readers that were away; older ones are forgotten."
    )


class Etcd(c.Component[EtcdSettings]):
    name = "etcd"
    missed_s = 0.0
    about = "It keeps the few facts that hosts must agree on, first of all who is the database's primary."
    why = (
        "Two hosts that cannot hear each other cannot tell who of them is cut off. A majority of three voters or five can, "
        "so that there are never two primaries that acknowledge writes."
    )
    when_lost = "The other voters go on as long as they are a majority: of three voters one may be lost, of five two."
    packages = ("curl", "etcd-client", "etcd-server")
    stores = ("/var/lib/etcd/nospof",)
    provides = (c.Consensus,)
    redundancy = c.Majority()
    # Not required: each goes on without one of the others. The second is for a voter that must be taken in by the others.
    connects = (
        c.Connect(c.Who.PEERS, c.Protocol.PEER, "peers", is_required=False),
        c.Connect(c.Who.PEERS, c.Protocol.CONTROL, "membership", is_required=False),
    )

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        return (
            c.Listen("client", c.Protocol.CONTROL, self.settings.port, tls=c.Tls.MUTUAL),
            c.Listen("peer", c.Protocol.PEER, self.settings.peer_port, tls=c.Tls.MUTUAL),
            # A port of its own, since no port of its tells figures to those without a certificate and nothing else to them.
            c.Listen("metrics", c.Protocol.METRICS, self.settings.metrics_port),
        )

    @property
    def touch_last_if(self) -> tuple[str, ...]:
        """The leader last: one election, not two. The answer has the member's own number first, the leader's after it."""
        asked = f"{self._curl('/v3/maintenance/status')} -d '{{}}'"
        return ("/bin/sh", "-c", f"""{asked} | grep -Eq '"member_id":"([0-9]+)".*"leader":"\\1"'""")

    def alerts(self, topology: c.Topology) -> tuple[c.Alert, ...]:
        voters = len(topology.of_tier(self.id.tier))
        at = f'{{tier="{self.id.tier}"}}'
        log = "journalctl -u etcd on the voters tells what they miss"
        return (
            c.Alert(
                "NoMajority",
                f"(count(etcd_server_has_leader{at} == 1) or vector(0)) <= {voters // 2} and on () count(up{at}) == {voters}",
                f"{self.id.tier}: {{{{ $value }}}} of {voters} voters agree, no majority",
                "Nothing can be agreed on: a database whose primary is lost now gets no other one.",
                f"nospof status tells which hosts are away; bring one of them back. {log}.",
                c.Urgency.CRITICAL,
                labels=(("tier", self.id.tier),),
            ),
            c.Alert(
                "LeaderChangesOften",
                f"max by (tier) (increase(etcd_server_leader_changes_seen_total{at}[15m])) > 4",
                f"{self.id.tier}: its leader changes again and again",
                "The voters lose each other for moments: a slow disk, a busy host or a bad network. Each time nothing can be "
                "agreed on for half a second.",
                f"{log}; look for pressure on processor and disk there (node_pressure_*).",
                for_s=60,
            ),
            c.Alert(
                "AgreementSlow",
                f"histogram_quantile(0.99, rate(etcd_disk_wal_fsync_duration_seconds_bucket{at}[5m])) > 0.25",
                "{{ $labels.host }}: its disk takes {{ $value | humanizeDuration }} to write",
                "A voter must write to disk before it agrees. As slow as this it is soon taken for dead.",
                "On {{ $labels.host }}: who writes so much? iostat -x 1, or node_disk_io_time_seconds_total.",
                for_s=300,
            ),
            c.Alert(
                "AgreementFull",
                f"etcd_mvcc_db_total_size_in_bytes{at} / etcd_server_quota_backend_bytes > 0.8",
                "{{ $labels.host }}: etcd's database is nearly full",
                "When it is full nothing can be written there any more, and nobody can become primary.",
                "It compacts itself: who writes so many keys? In the stack file options: {etcd: {quota_mib: 128}} is more.",
                for_s=60,
            ),
        )

    def panels(self, topology: c.Topology) -> tuple[c.Panel, ...]:
        at = f'{{tier="{self.id.tier}"}}'
        synced = f"histogram_quantile(0.99, rate(etcd_disk_wal_fsync_duration_seconds_bucket{at}[{c.RATE_WINDOW}]))"
        return (
            c.Panel(
                "Who sees a leader",
                "Without a leader nothing can be agreed on, so that nobody takes over.",
                ((f"etcd_server_has_leader{at}", "{{host}}"),),
                c.Scale.YES_OR_NO,
            ),
            c.Panel(
                "Time to disk",
                "What one of a hundred changes waits at least until it is on the disk; a slow disk makes elections.",
                ((synced, "{{host}}"),),
                c.Scale.SECONDS,
                limit=0.25,
                can_be_empty=True,
            ),
            c.Panel(
                "Size",
                "Of the space that it may take, the share that is used.",
                ((f"etcd_mvcc_db_total_size_in_bytes{at} / etcd_server_quota_backend_bytes", "{{host}}"),),
                c.Scale.SHARE,
                limit=0.8,
            ),
        )

    def parts(self, here: c.Context) -> c.Parts:
        # Certificates and keys are read at each connection; only the CA's is read once.
        tls = here.tls(user="etcd", for_units=())
        files = [file for file in tls.files if file.path != tls.ca]
        ca = next(file for file in here.tls().files if file.path == tls.ca)
        settings = c.File(f"{FOLDER}/etcd.env", here.template(SETTINGS, tls=tls, set=self.settings))
        member = c.File(f"{FOLDER}/member.json", self._member(here, tls), for_units=())
        program = f"/usr/bin/python3 {c.ONHOST} etcd_member --config {member.path}"
        unit = here.template(UNIT, program=program, folder=FOLDER, start_file=START_FILE)
        health = f"{self._curl('/health')} || exec {program} health"
        return c.Parts(
            files=(ca, *files, settings, member),
            units=(c.Unit(UNIT_NAME, text=unit),),
            healthy_when=(c.Probe("majority", ("/bin/sh", "-c", health), timeout_s=40.0),),
        )

    def _curl(self, path: str) -> str:
        """Ask this voter; the answer to /health comes from the majority. Over HTTP/1.1, as the gateway's own clients do."""
        stem = f"/etc/nospof/tls/{self.id.tier}"
        return (
            f"curl -fsS --http1.1 --max-time 1 --cacert /etc/nospof/tls/ca.pem --cert {stem}.crt --key {stem}.key "
            f"https://{self.id.host}:{self.settings.port}{path}"
        )

    def _member(self, here: c.Context, tls: c.TlsFiles) -> str:
        hosts = sorted({here.me.id.host, *(target.owner.host for target in here.targets("peers"))})
        told = {
            "host": here.me.id.host,
            "members": {host: here.address(host) for host in hosts},
            "client_port": self.settings.port,
            "peer_port": self.settings.peer_port,
            "ca": tls.ca,
            "certificate": tls.certificate,
            "key": tls.key,
            "start_file": START_FILE,
        }
        return json.dumps(told, indent=1) + "\n"


# "existing": without data, and without the start file that says otherwise, it must not begin a cluster of its own.
SETTINGS = """\
# Written by nospof from the stack file: changes made here are overwritten.
ETCD_NAME={{ here.host.name }}
ETCD_DATA_DIR=/var/lib/etcd/nospof
ETCD_INITIAL_CLUSTER_TOKEN={{ here.topology.stack }}
ETCD_INITIAL_CLUSTER_STATE=existing

ETCD_LISTEN_CLIENT_URLS=https://{{ here.host.address }}:{{ set.port }}
ETCD_ADVERTISE_CLIENT_URLS=https://{{ here.host.address }}:{{ set.port }}
ETCD_TRUSTED_CA_FILE={{ tls.ca }}
ETCD_CERT_FILE={{ tls.certificate }}
ETCD_KEY_FILE={{ tls.key }}
ETCD_CLIENT_CERT_AUTH=true
ETCD_TLS_MIN_VERSION=TLS1.2
{% if here.is_called("metrics") %}
# Figures, and whether it is well: read-only, for those whom the firewall lets in.
ETCD_LISTEN_METRICS_URLS=http://{{ here.host.address }}:{{ set.metrics_port }}
{% endif %}

ETCD_LISTEN_PEER_URLS=https://{{ here.host.address }}:{{ set.peer_port }}
ETCD_INITIAL_ADVERTISE_PEER_URLS=https://{{ here.host.address }}:{{ set.peer_port }}
ETCD_PEER_TRUSTED_CA_FILE={{ tls.ca }}
ETCD_PEER_CERT_FILE={{ tls.certificate }}
ETCD_PEER_KEY_FILE={{ tls.key }}
ETCD_PEER_CLIENT_CERT_AUTH=true
ETCD_PEER_CERT_ALLOWED_HOSTNAME={{ here.me.id.tier }}

ETCD_HEARTBEAT_INTERVAL={{ set.heartbeat_ms }}
ETCD_ELECTION_TIMEOUT={{ set.election_ms }}
# By this, clients notice a dead voter although nothing changes.
ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL=500ms

# Small and kept small
ETCD_QUOTA_BACKEND_BYTES={{ set.quota_mib * 1024 * 1024 }}
ETCD_AUTO_COMPACTION_MODE=revision
ETCD_AUTO_COMPACTION_RETENTION={{ set.keep_revisions }}
ETCD_SNAPSHOT_COUNT=2000
ETCD_EXPERIMENTAL_SNAPSHOT_CATCHUP_ENTRIES=1000
ETCD_MAX_SNAPSHOTS=2
ETCD_MAX_WALS=2
# Voters compare their databases when they forget old changes.
ETCD_EXPERIMENTAL_COMPACT_HASH_CHECK_ENABLED=true
ETCD_LOG_LEVEL=warn
GOMEMLIMIT=96MiB
"""

# Whether there is data is asked as etcd itself asks: a write-ahead log appears whole or not at all.
UNIT = """\
# Written by nospof; in the place of Debian's.
[Unit]
Description=etcd: agrees with its peers on a few facts
After=network-online.target
StartLimitIntervalSec=0

[Service]
# Not notify: that would wait for a majority, and the first voter of three has none.
Type=exec
User=etcd
Group=etcd
StateDirectory=etcd
StateDirectoryMode=0700
RuntimeDirectory=nospof-etcd
RuntimeDirectoryPreserve=yes
EnvironmentFile={{ folder }}/etcd.env
EnvironmentFile=-{{ start_file }}
ExecStartPre=/bin/sh -c 'ls /var/lib/etcd/nospof/member/wal/*.wal >/dev/null 2>&1 || exec {{ program }} start'
ExecStart=/usr/bin/etcd
Restart=always
RestartSec=100ms
TimeoutStartSec=90
TimeoutStopSec=5
LimitNOFILE=65536
# Late signs of life are taken for death: these come first when processor and disk are busy.
Nice=-10
CPUWeight=1000
IOWeight=1000
OOMScoreAdjust=-900
{{ hardening }}
UMask=0077

[Install]
WantedBy=multi-user.target
"""
