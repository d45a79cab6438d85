"""PHP-FPM's unit, its configuration, PHP's own, and what makes the health honest, as templates."""

# The shell finds the program, whose name has PHP's version in it: Debian's suites have different ones.
SERVICE = """[Unit]
Description=Application {{ tier }}
Requires=nospof-{{ tier }}.socket
After=network.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
User={{ user }}
Group={{ user }}
# The release under a path that is the same for all: which one it is changes with this unit only.
BindReadOnlyPaths={{ release }}/app:{{ code }}
WorkingDirectory={{ code }}
{% for folder in set.writes %}
# Beside the releases, which come and go; the web server sends what is there.
StateDirectory={{ kept }}/{{ folder }}
BindPaths=/var/lib/{{ kept }}/{{ folder }}:{{ code }}/{{ folder }}
{% endfor %}
CacheDirectory=nospof/{{ tier }}
CacheDirectoryMode=0700
RuntimeDirectory={{ status_folder }}
RuntimeDirectoryMode=0700
EnvironmentFile=/etc/nospof/{{ tier }}.env
Environment=NOSPOF_HEALTH={{ health }}
Environment=NOSPOF_BESIDE={{ beside | join(":") }}
Environment=NOSPOF_NAMES={{ here.names_needed() | join(":") }}
# systemd's third file descriptor is the socket.
Environment=FPM_SOCKETS={{ socket }}=3
ExecStart=/bin/sh -c 'exec "$$(ls /usr/sbin/php-fpm[0-9]* | sort -V | tail -n 1)" --nodaemonize --force-stderr \\
  --fpm-config /etc/nospof/{{ tier }}.fpm.conf -c /etc/nospof/{{ tier }}.php.ini'
SyslogIdentifier={{ tier }}
# Requests that are being worked on may end.
KillSignal=SIGQUIT
KillMode=mixed
TimeoutStopSec={{ set.timeout_s + 5 }}
Restart=always
RestartSec=100ms
# A process that the kernel kills for its memory is replaced; the others go on.
OOMPolicy=continue
LimitNOFILE={{ open_files }}

{{ hardening }}
UMask={{ "0022" if set.writes else "0077" }}

[Install]
WantedBy=multi-user.target
"""

POOL = """; Written by nospof from the stack file: changes made here are overwritten.
[global]
daemonize = no
error_log = syslog
syslog.ident = {{ tier }}
log_level = warning
; Requests that are being worked on may end.
process_control_timeout = {{ set.timeout_s }}s
rlimit_files = {{ open_files }}

[{{ tier }}]
listen = {{ socket }}
; All are there from the start: a host that takes another one's work over has no time to make them.
pm = static
pm.max_children = {{ processes }}
request_terminate_timeout = {{ set.timeout_s }}s
; How busy they are is told by one more, which is there while it is asked.
pm.status_path = /status
pm.status_listen = {{ status_socket }}
; The unit's environment is the application's.
clear_env = no
catch_workers_output = yes
decorate_workers_output = no
security.limit_extensions = .php
"""

INI = """; Written by nospof from the stack file: changes made here are overwritten.
[PHP]
expose_php = Off
display_errors = Off
log_errors = On
html_errors = Off
error_reporting = E_ALL & ~E_DEPRECATED
variables_order = "GPCS"
request_order = "GP"
output_buffering = 4096
implicit_flush = Off
default_charset = "UTF-8"
date.timezone = "UTC"
memory_limit = 128M
max_execution_time = {{ set.timeout_s }}
post_max_size = {{ set.max_body_mib }}M
upload_max_filesize = {{ set.max_body_mib }}M
; A path names one script and nothing else.
cgi.fix_pathinfo = 0
; What is set is set here, not by files in the release.
user_ini.filename =
allow_url_include = Off
zend.exception_ignore_args = On
{% if guard %}
auto_prepend_file = {{ guard }}
{% endif %}
; A database whose host goes dark must not hold a process for a day, which is the default.
default_socket_timeout = 10
mysqlnd.net_read_timeout = 10
mysqli.allow_persistent = Off
mysqli.allow_local_infile = Off
session.save_path = "/var/cache/nospof/{{ tier }}"
session.use_strict_mode = On
session.use_only_cookies = On
session.cookie_httponly = On
session.cookie_samesite = "Lax"
; A release never changes: its files are looked at once.
opcache.enable = On
opcache.validate_timestamps = Off
opcache.memory_consumption = 128
opcache.interned_strings_buffer = 16
opcache.max_accelerated_files = 20000
opcache.jit = disable
opcache.jit_buffer_size = 0
realpath_cache_size = 4096K
; The unit forbids memory that is both written and run.
pcre.jit = Off
{% for name, value in more %}
{{ name }} = "{{ value }}"
{% endfor %}
"""

GUARD = """<?php
/*
 * Run before every script. An application that has lost what it needs on its own host, the way to its database, fails requests
 * that another host would answer: its health says so, and the load balancer asks the other.
 */
(static function (): void {
    if (strtok($_SERVER['REQUEST_URI'] ?? '', '?') !== getenv('NOSPOF_HEALTH')) {
        return;
    }
    $beside = explode(':', (string) getenv('NOSPOF_BESIDE'));
    $gone = array_filter($beside, static fn ($path) => $path !== '' && !file_exists($path));
    $gone = array_map(static fn ($path) => "$path is not there", $gone);
    foreach (explode(':', (string) getenv('NOSPOF_NAMES')) as $name) {
        if ($name !== '' && gethostbyname($name) === $name) {
            $gone[] = "the name $name is not found";
        }
    }
    if ($gone) {
        http_response_code(503);
        header('Content-Type: text/plain');
        exit('this host lacks what it needs: ' . implode('; ', $gone) . "\\n");
    }
})();
"""
