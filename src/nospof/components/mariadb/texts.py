"""What MariaDB's files on a host say, as Jinja templates. Reasons and figures: docs/decisions/0006-database.md."""

CONFIG = """\
# Written by nospof. The same on all hosts of the tier but for number, name and address: roles are not in here.
[mariadbd]
server_id = {{ me.number }}
report_host = {{ me.name }}
bind_address = {{ me.address }}
port = {{ set.port }}
report_port = {{ set.port }}
skip_name_resolve = ON
# Room that no account alone can take: without a connection of its own the agent can neither see nor move the server.
max_connections = {{ connections }}
max_user_connections = {{ set.max_connections }}
local_infile = OFF
event_scheduler = OFF

# Encrypted, or over the unix socket
require_secure_transport = ON
ssl_ca = {{ tls.ca }}
ssl_cert = {{ tls.certificate }}
ssl_key = {{ tls.key }}

# Boots as nobody: what it becomes is decided after it is up
read_only = ON
skip_slave_start = ON

# A write is on disk before it is acknowledged, and each server's history is that of the primary
log_bin = binlog
log_bin_index = binlog.index
relay_log = relay
relay_log_index = relay.index
sync_binlog = 1
innodb_flush_log_at_trx_commit = 1
binlog_format = ROW
binlog_row_image = FULL
binlog_expire_logs_seconds = {{ set.binlog_keep_days * 86400 }}
max_binlog_size = 128M
log_slave_updates = ON
log_bin_trust_function_creators = ON
gtid_domain_id = 0
gtid_strict_mode = ON
sync_relay_log = {{ 1 if set.durability == "disk" else 0 }}
relay_log_recovery = OFF
master_verify_checksum = ON
slave_sql_verify_checksum = ON
slave_net_timeout = 2
slave_parallel_mode = optimistic
slave_parallel_threads = 4

# Semi-synchronous: who does it is switched by role. A write waits for a voter for as long as it takes (a day): whether to go on
# alone is decided by the agent, never by a clock.
rpl_semi_sync_master_wait_point = AFTER_SYNC
rpl_semi_sync_master_timeout = 86400000
rpl_semi_sync_master_wait_no_slave = ON
rpl_semi_sync_slave_kill_conn_timeout = 1

# Tables that survive a crash, and any text
default_storage_engine = InnoDB
enforce_storage_engine = InnoDB
character_set_server = utf8mb4
max_allowed_packet = 64M

innodb_buffer_pool_size = {{ buffer_pool_mib }}M
innodb_log_file_size = {{ 48 if me.is_lab else 512 }}M
performance_schema = OFF
"""

SERVER_DROP_IN = """\
# Written by nospof.
[Unit]
StartLimitIntervalSec=0
# Only the agent starts the server, once it knows in which role: whoever else tries finds no such file, and nothing happens.
ConditionPathExists=/run/nospof/{{ tier }}/server.env

[Service]
EnvironmentFile=-/run/nospof/{{ tier }}/server.env
ExecStart=
ExecStart=/usr/sbin/mariadbd $NOSPOF_ROLE
Restart=no
# Reading back a log of half a GiB after a crash takes its time, on a slow disk some minutes.
TimeoutStartSec=900
# A server that is asked to end tells waiting clients that their writes are safe, which is not known. A killed one tells them
# nothing, and what it acknowledged is on disk.
KillSignal=SIGKILL
SendSIGKILL=yes
TimeoutStopSec=20
OOMScoreAdjust=-800
# Debian's own start takes a third of a second more (for Galera, not used here) and then reads every system table. Of it remains
# what is needed after an upgrade of the package; each server does it for itself, it is not replicated.
ExecStartPre=
ExecStartPost=
ExecStartPost=-!/usr/bin/mariadb-upgrade --version-check --silent
"""

# Rows of the users' databases: the server's own differ from host to host, and so do counters in table definitions; the agents'
# pulse changes while it is read.
DUMP = """\
names=$(mariadb --skip-column-names --batch --execute 'SHOW DATABASES' |
  grep -Evx 'mysql|sys|nospof|information_schema|performance_schema' || true)
if [ -n "$names" ]; then
  mariadb-dump --compact --no-create-info --skip-extended-insert --order-by-primary --single-transaction --databases $names
fi
"""
