"""What MySQL's files on a host say, as Jinja templates. Reasons and figures: docs/decisions/0009-failover.md."""

CONFIG = """\
# Written by nospof. The same on all hosts of the tier but for number, name and address: roles are not in here.
[mysqld]
server_id = {{ me.number }}
report_host = {{ me.name }}
bind_address = {{ me.address }}
port = {{ set.port }}
report_port = {{ set.port }}
mysqlx = OFF
skip_name_resolve = ON
# More than all accounts together may have: the replicas and the agent need theirs.
max_connections = {{ connections }}
max_user_connections = {{ set.max_connections }}
local_infile = OFF
event_scheduler = OFF
log_error = stderr
plugin_load_add = mysql_clone.so
plugin_load_add = semisync_source.so
plugin_load_add = semisync_replica.so

# Encrypted, or over the unix socket
require_secure_transport = ON
ssl_ca = {{ tls.ca }}
ssl_cert = {{ tls.certificate }}
ssl_key = {{ tls.key }}
auto_generate_certs = OFF
caching_sha2_password_auto_generate_rsa_keys = OFF

# Boots as nobody: what it becomes is decided after it is up
super_read_only = ON
skip_replica_start = ON

# A write is on disk before it is acknowledged, and each server's history is that of the primary
log_bin = binlog
log_bin_index = binlog.index
relay_log = relay
relay_log_index = relay.index
sync_binlog = 1
# A transaction is two events instead of five: a voter syncs each event before it confirms.
binlog_transaction_compression = ON
innodb_flush_log_at_trx_commit = 1
binlog_row_image = FULL
binlog_expire_logs_seconds = {{ set.binlog_keep_days * 86400 }}
max_binlog_size = 128M
log_replica_updates = ON
log_bin_trust_function_creators = ON
gtid_mode = ON
enforce_gtid_consistency = ON
sync_relay_log = {{ 1 if set.durability == "disk" else 0 }}
# What a voter received and confirmed must be there after a crash.
relay_log_recovery = OFF
# A former primary gets its own writes back where a copy lacks them; their numbers keep them from coming twice.
replicate_same_server_id = ON
source_verify_checksum = ON
replica_sql_verify_checksum = ON
replica_net_timeout = 2
replica_parallel_workers = 4
# Without holes: what is applied is always the beginning of the primary's history.
replica_preserve_commit_order = ON

# Semi-synchronous: who does it is switched by role. A write waits for a voter for as long as it takes (a day): what goes on
# alone is decided by the agent, never by a clock.
rpl_semi_sync_source_wait_point = AFTER_SYNC
rpl_semi_sync_source_wait_for_replica_count = 1
rpl_semi_sync_source_timeout = 86400000
rpl_semi_sync_source_wait_no_replica = ON

# Tables that survive a crash, and any text
default_storage_engine = InnoDB
disabled_storage_engines = "MyISAM,MEMORY,CSV,ARCHIVE,BLACKHOLE,FEDERATED"
character_set_server = utf8mb4
max_allowed_packet = 64M

innodb_buffer_pool_size = {{ buffer_pool_mib }}M
innodb_redo_log_capacity = {{ 64 if me.is_lab else 1024 }}M
# Copies come from the tier's own hosts, over the port of the server.
clone_valid_donor_list = "{{ donors }}"
clone_ssl_ca = {{ tls.ca }}
clone_ssl_cert = {{ tls.certificate }}
clone_ssl_key = {{ tls.key }}
clone_autotune_concurrency = OFF
clone_max_concurrency = 2
"""

SERVER_DROP_IN = """\
# Written by nospof.
[Unit]
StartLimitIntervalSec=0
# Only the agent starts the server, once it knows in which role: whoever else tries finds no such file, and nothing happens.
ConditionPathExists=/run/nospof/{{ tier }}/server.env

[Service]
ExecStart=
ExecStart=/usr/sbin/mysqld
ExecStartPre=
Restart=no
# Reading back a log of a GiB after a crash takes its time, on a slow disk some minutes.
TimeoutStartSec=900
# A server that is asked to end tells waiting clients that their writes are safe, which is not known. A killed one tells
# nothing, and what it acknowledged is on disk.
KillSignal=SIGKILL
SendSIGKILL=yes
TimeoutStopSec=20
OOMScoreAdjust=-800
# RESTART and an update of the package must not bring it up again behind the agent's back.
UnsetEnvironment=MYSQLD_PARENT_PID
"""

# Rows of the users' databases: the server's own differ from host to host, and so do counters in table definitions; the agents'
# pulse changes while it is read.
DUMP = """\
names=$(mysql --skip-column-names --batch --execute 'SHOW DATABASES' |
  grep -Evx 'mysql|sys|nospof|information_schema|performance_schema' || true)
if [ -n "$names" ]; then
  mysqldump --compact --no-create-info --skip-extended-insert --order-by-primary --single-transaction \\
    --set-gtid-purged=OFF --databases $names
fi
"""
