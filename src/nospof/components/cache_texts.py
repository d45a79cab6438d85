"""Configuration and units of Valkey's and Redis' servers, as Jinja templates."""

FIGURES_USER = "nospof_figures"

_CALLERS = """\
unixsocketperm 700
tls-cert-file {{ tls.certificate }}
tls-key-file {{ tls.key }}
tls-ca-cert-file {{ tls.ca }}
tls-protocols "TLSv1.2 TLSv1.3"
# Applications have passwords and no certificates; copies and Sentinels show theirs.
tls-auth-clients optional
tls-replication yes
tcp-keepalive 10
tcp-backlog 511
maxclients {{ set.max_connections }}

# Who may do what. Passwords are loaded anew while it runs (nospof.onhost.cache_passwords); rules are those of {{ rules }}.
aclfile {{ folder }}/users.acl
include {{ folder }}/replication.conf
"""
_COPIES = """\
masteruser nospof_replication
replica-announce-ip {{ here.host.address }}
replica-serve-stale-data yes
repl-ping-replica-period 1
# Without a word for so long the link is dead.
repl-timeout 5
repl-diskless-sync yes
repl-diskless-sync-delay 0
repl-backlog-size 16mb

"""
_ENTRIES = """\
# Memory
maxmemory {{ set.memory_mib }}mb
maxmemory-policy {{ policy }}
lazyfree-lazy-eviction yes
lazyfree-lazy-user-del yes

# Disk
dir {{ data }}
save ""
appendonly {{ "yes" if set.keeps == "disk" else "no" }}
appendfsync everysec
# Somebody who is told to end waits no longer for its copies.
shutdown-timeout 2
logfile ""
loglevel notice
"""

# A server begins with no role of its own: the included file is written before each start, from what the Sentinels say.
CONFIG = (
    """\
# Written by nospof from the stack file: changes made here are overwritten.
include /run/nospof/{{ tier }}/start.conf

# Reached over TLS only; the socket is for the agent beside it
bind {{ here.host.address }}
port 0
tls-port {{ set.port }}
unixsocket /run/nospof/{{ tier }}/server.sock
"""
    + _CALLERS
    + """

# Copies. Writes are refused from the start; the agent allows them where it knows that this server is the primary.
replica-read-only yes
replica-priority {{ priority }}
min-replicas-to-write 1000
min-replicas-max-lag 3
"""
    + _COPIES
    + _ENTRIES
)

# The server wants no comments in it.
USERS = """\
user default off
user nospof_agent on {{ accepted.agent }} resetkeys resetchannels &nospof:* -@all +info +config|get +config|set \
+acl|load +acl|list +replicaof +publish +wait +ping
user nospof_replication on {{ accepted.replication }} resetkeys resetchannels -@all +psync +replconf +ping
user nospof_sentinel on {{ accepted.sentinel }} resetkeys allchannels -@all +multi +exec +replicaof +slaveof +ping +info \
+role +subscribe +publish +config|rewrite +client|setname +client|kill +script|kill
{% if figures_user %}
user {{ figures_user }} on {{ accepted.figures }} resetkeys resetchannels -@all +info +ping +slowlog|len +slowlog|get \
+latency|latest
{% endif %}
{% for name, accepted in applications %}
user {{ name }} on {{ accepted }} ~* allchannels +@all -@admin -migrate -restore -swapdb
{% endfor %}
"""

REPLICATION = """\
# Written by nospof: what this server says to the primary that it follows.
masterauth {{ password }}
"""

# Not `notify`: a copy would be ready only once it has a primary, and is to be up before.
SERVER_UNIT = """\
# Written by nospof; in the place of Debian's.
[Unit]
Description=Cache server of tier {{ tier }}{{ which }}
After=network-online.target nospof-{{ tier }}-agent.service
StartLimitIntervalSec=0

[Service]
Type=exec
User={{ product }}
Group={{ product }}
RuntimeDirectory=nospof/{{ tier }}
RuntimeDirectoryPreserve=yes
StateDirectory={{ data.removeprefix("/var/lib/") }}
StateDirectoryMode=0750
# Waits until it is known how to begin. Who was primary itself waits to be replaced: it would come back empty, and the
# copies would throw away what they have.
ExecStartPre={{ agent }} start{{ number }}
ExecStart=/usr/bin/{{ product }}-server {{ config }} --daemonize no
# Stopped on purpose, a primary hands over first.
ExecStop=-{{ agent }} leave{{ number }}
# It ended by itself with an error: the next start looks whether it could not read what it has.
ExecStopPost=/bin/sh -c '[ "$$SERVICE_RESULT" != exit-code ] || touch {{ refused }}'
Restart=always
RestartSec=100ms
TimeoutStartSec=90
TimeoutStopSec=12
LimitNOFILE=65536
Nice=-5
OOMScoreAdjust=-500
{{ hardening }}
UMask=0077

[Install]
WantedBy=multi-user.target
"""

AGENT_UNIT = """\
# Written by nospof.
[Unit]
Description=Agent of the cache servers of tier {{ tier }} on this host
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
User={{ product }}
Group={{ product }}
RuntimeDirectory=nospof/{{ tier }}
RuntimeDirectoryPreserve=yes
ExecStart={{ program }} --config {{ folder }}/agent.json run
Restart=always
RestartSec=100ms
TimeoutStopSec=2
NotifyAccess=main
WatchdogSec=3
WatchdogSignal=SIGKILL
# Late looks end the trust in a primary that is well, so these come first when the processor is busy.
Nice=-10
OOMScoreAdjust=-900
{{ hardening }}
# It must see whether the server's process is there, which has a user namespace of its own.
ProtectProc=default

[Install]
WantedBy=multi-user.target
"""

# --- shards --------------------------------------------------------------------------------------------------------------
CLUSTER_CONFIG = (
    """\
# Written by nospof from the stack file: changes made here are overwritten.
# Reached over TLS only; the socket is for the agent beside it
bind {{ here.host.address }}
port 0
tls-port {{ port }}
unixsocket /run/nospof/{{ tier }}/server-{{ server }}.sock
"""
    + _CALLERS
    + """
# The cluster. Who is part of it and who copies whom is told by the agent (nospof.onhost.cache_cluster).
cluster-enabled yes
cluster-config-file nodes.conf
cluster-port {{ bus_port }}
tls-cluster yes
cluster-announce-ip {{ here.host.address }}
cluster-node-timeout {{ timers.down_ms }}
# With some slots lost the others are answered.
cluster-require-full-coverage no
cluster-allow-replica-migration no
# After a power cut no copy knows how old it is: the one that has most takes over, whatever its age.
cluster-replica-validity-factor 0

# Copies
"""
    + _COPIES
    + _ENTRIES
)

CLUSTER_USERS = """\
user default off
user nospof_agent on {{ accepted.agent }} resetkeys ~* resetchannels -@all +info +config|get +config|set +cluster +ping \
+acl|load +acl|list +select +multi +exec +migrate +restore +restore-asking +dbsize
user nospof_replication on {{ accepted.replication }} resetkeys resetchannels -@all +psync +replconf +ping
{% for name, accepted in applications %}
user {{ name }} on {{ accepted }} ~* allchannels +@all -@admin -migrate -restore -swapdb
{% endfor %}
"""
