"""What Nagios' files on a host say, as Jinja templates."""

MAIN_TEXT = """\
# Written by nospof for {{ here.me.id }}; changes made here are replaced.
cfg_file={{ objects }}
log_file=/var/log/nagios4/nagios.log
log_rotation_method=n
use_syslog=0
log_passive_checks=0
log_initial_states=0
nagios_user={{ user }}
nagios_group={{ user }}
lock_file={{ run }}/nagios.pid
status_file={{ run }}/status.dat
status_update_interval=10
object_cache_file={{ run }}/objects.cache
command_file={{ commands }}
query_socket={{ run }}/nagios.qh
temp_file={{ run }}/nagios.tmp
temp_path=/tmp
check_result_path={{ results }}
check_result_reaper_frequency=2
max_check_result_file_age=600
state_retention_file={{ state }}/retention.dat
retain_state_information=1
retention_update_interval=5
use_retained_program_state=1
use_retained_scheduling_info=0
# All times below are seconds.
interval_length=1
check_external_commands=1
execute_service_checks=1
execute_host_checks=0
accept_passive_service_checks=1
accept_passive_host_checks=1
# One look in which a host does not answer is no outage yet.
passive_host_checks_are_soft=1
check_service_freshness=1
service_freshness_check_interval=15
additional_freshness_latency=0
check_host_freshness=0
service_check_timeout=45
notification_timeout=30
enable_notifications=1
enable_event_handlers=0
enable_flap_detection=0
process_performance_data=0
check_for_updates=0
date_format=iso8601
illegal_object_name_chars=`~!$%^&*|'"<>?,()=
illegal_macro_output_chars=`~$&|'"<>
"""

OBJECTS_TEXT = """\
# Written by nospof from the stack's topology; changes made here are replaced.
define command {
    command_name look
    command_line {{ program }} look
}
define command {
    command_name old
    command_line /bin/sh -c 'echo "nobody has looked at it for a minute"; exit 3'
}
define command {
    command_name tell-of-host
    command_line {{ program }} told "$NOTIFICATIONTYPE$" "$HOSTNAME$" "$HOSTSTATE$"
}
define command {
    command_name tell-of-service
    command_line {{ program }} told "$NOTIFICATIONTYPE$" "$HOSTNAME$" "$SERVICESTATE$" "$SERVICEDESC$"
}
define timeperiod {
    timeperiod_name always
    alias           always
    monday          00:00-24:00
    tuesday         00:00-24:00
    wednesday       00:00-24:00
    thursday        00:00-24:00
    friday          00:00-24:00
    saturday        00:00-24:00
    sunday          00:00-24:00
}
define contact {
    contact_name                  people
    host_notification_period      always
    service_notification_period   always
    host_notification_options     d,r
    service_notification_options  w,c,r
    host_notification_commands    tell-of-host
    service_notification_commands tell-of-service
    host_notifications_enabled    {{ is_told | int }}
    service_notifications_enabled {{ is_told | int }}
}
define host {
    name                   nospof-host
    register               0
    active_checks_enabled  0
    passive_checks_enabled 1
    check_period           always
    max_check_attempts     {{ times }}
    contacts               people
    notification_period    always
    notification_options   d,r
    notification_interval  {{ set.again_after_h * 3600 }}
}
define service {
    name                   nospof-service
    register               0
    active_checks_enabled  0
    passive_checks_enabled 1
    check_command          old
    check_freshness        1
    freshness_threshold    {{ [60, 4 * set.every_s] | max }}
    check_period           always
    check_interval         {{ set.every_s }}
    retry_interval         {{ set.every_s }}
    max_check_attempts     {{ times }}
    contacts               people
    notification_period    always
    notification_options   w,c,r
    notification_interval  {{ set.again_after_h * 3600 }}
}
{% for host in here.topology.hosts %}
define host {
    use       nospof-host
    host_name {{ host.name }}
    alias     {{ host.name }} in zone {{ host.zone }}
    address   {{ host.address }}
}
{% endfor %}
# The stack as a whole.
define host {
    use       nospof-host
    host_name {{ stack }}
    alias     {{ here.topology.domain }}
    address   127.0.0.1
}
# What makes all results; it tells of itself where it cannot.
define service {
    use                    nospof-service
    host_name              {{ stack }}
    service_description    look
    active_checks_enabled  1
    check_freshness        0
    check_command          look
    max_check_attempts     1
    notifications_enabled  0
}
{% for service in services %}
define service {
    use                 nospof-service
    host_name           {{ service.host }}
    service_description {{ service.name }}
{% if not service.is_told %}
    notifications_enabled 0
{% endif %}
}
{% endfor %}
"""

UNIT = """\
# Written by nospof; in the place of Debian's.
[Unit]
Description=Looks at the whole stack and tells people
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
User={{ user }}
Group={{ user }}
StateDirectory={{ state }}
StateDirectoryMode=0750
LogsDirectory=nagios4
RuntimeDirectory={{ run }}
ExecStartPre=/bin/mkdir -p /var/lib/{{ state }}/spool/checkresults
ExecStartPre=/bin/rm -f {{ commands }}
ExecStart=/usr/sbin/nagios4 {{ config }}
# Started, it would wait for up to a whole interval before it looks for the first time.
ExecStartPost=-/usr/bin/timeout 5 /bin/sh -c 'until [ -p {{ commands }} ]; do sleep 0.1; done; \
    echo "[$$(date +%%s)] SCHEDULE_FORCED_SVC_CHECK;{{ stack }};look;$$(date +%%s)" > {{ commands }}'
ExecReload=/bin/kill -HUP $MAINPID
# What it says it also writes to its log.
StandardOutput=null
Restart=always
RestartSec=1s
TimeoutStopSec=10
KillMode=mixed
OOMScoreAdjust=-100
{{ hardening }}
UMask=0027

[Install]
WantedBy=multi-user.target
"""
