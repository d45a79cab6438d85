# ruff: noqa: E501 - a line of these texts is a line of the file it makes
"""What the files of Varnish and of the HAProxy at both its ends say, as Jinja templates."""

# What is asked of Varnish's own socket, and what Varnish asks for, has the site in a header, so that who means what is decided
# once. Time limits grow towards the caller, idle ones towards the server.
LINKS_CONFIG = """\
{% macro servers(backend, more="") %}
    default-server ssl verify required ca-file {{ tls.ca }} crt {{ tls.certificate }} maxconn {{ set.max_connections_per_server }}
{% for server in backend.servers %}
{% set host = server.owner.host %}
    server {{ host }} {{ here.address(host) }}:{{ server.listen.port }} {{ server_options(server) }} tcp-ut {{ set.connect_ms }}ms{{ more | replace("HOST", host) }}
{% endfor %}
{%- endmacro %}
# Written by nospof.
global
    log stdout format short daemon
    maxconn {{ open_files // 4 }}
    ssl-load-extra-files key
    ssl-load-extra-del-ext
    ssl-default-bind-options ssl-min-ver TLSv1.3
    ssl-default-server-options ssl-min-ver TLSv1.3
    hard-stop-after {{ set.drain_s }}s

defaults
    mode http
    log global
    option dontlognull
    option dontlog-normal
    option idle-close-on-response
    timeout connect {{ set.connect_ms }}ms
    timeout queue 5s
    timeout server {{ set.answer_s }}s
    timeout client {{ set.answer_s + 35 }}s
    timeout http-request 10s
    timeout http-keep-alive 75s
    timeout tunnel 1h
    timeout check 1s
{% if here.is_called("http") %}

frontend callers
    bind {{ here.host.address }}:{{ set.port }} ssl crt {{ tls.certificate }} ca-file {{ tls.ca }} verify required
    http-request del-header X-Nospof- -m beg
{% for backend in backends %}
    http-request set-var(txn.site) str({{ backend.name }}){{ " if" if backend.conditions }}{% for condition in backend.conditions %} { {{ condition }} }{% endfor %}

{% endfor %}
    http-request return status 404 content-type text/plain string "There is no such site here." unless { var(txn.site) -m found }
    http-request set-header X-Nospof-Site %[var(txn.site)]
{% for backend in backends %}
    http-request set-header X-Nospof-Health 1 if METH_GET { var(txn.site) -m str {{ backend.name }} } { path {{ backend.site.health }} }
{% endfor %}
    acl may_be_kept method GET HEAD
    acl purges method PURGE
    acl upgrades req.hdr(Upgrade) -m found
    http-request return status 403 content-type text/plain string "Only hosts of the stack may purge." if purges !{ req.hdr_ip(X-Forwarded-For,-1) {{ own | join(" ") }} }
    use_backend kept.here if purges
    use_backend kept.here if may_be_kept !upgrades
    use_backend %[var(txn.site)].any if { var(txn.site),nbsrv eq 0 }
    use_backend %[var(txn.site)].once
{% endif %}

# What Varnish asks for, and what is asked around it while it is away.
frontend misses
    bind unix@/run/nospof-varnish-links/misses.sock mode 600
    # Varnish answers these: without it this host is not well, since others have the pages in memory.
    http-request return status 503 if { req.hdr(X-Nospof-Health) -m found }
    http-request return status 503 if { method PURGE } !{ req.hdr(X-Nospof-Tell) -m found }
    http-request set-var(txn.site) req.hdr(X-Nospof-Site)
    http-request set-var(txn.left) req.hdr(X-Nospof-Left)
    http-request set-var(txn.tell) req.hdr(X-Nospof-Tell)
    http-request del-header X-Nospof- -m beg
    http-request del-header X-Varnish
    http-request return status 503 if { var(txn.left) -m found } { var(txn.left),nbsrv eq 0 }
    http-request return status 200 if { var(txn.left) -m found }
    use_backend peer.%[var(txn.tell)] if { var(txn.tell) -m found }
    use_backend %[var(txn.site)].any if { var(txn.site),nbsrv eq 0 }
    use_backend %[var(txn.site)]

backend kept.here
    timeout server {{ set.answer_s + 30 }}s
    retries 3
    option redispatch 1
    retry-on conn-failure empty-response
    # A connection costs microseconds, and so no request is sent to a process that has just ended.
    http-reuse never
    option httpchk
    http-check send meth GET uri / ver HTTP/1.1 hdr Host varnish hdr X-Nospof-Alive 1
    http-check expect status 200
    server varnish unix@/run/nospof-varnish/kept.sock check inter 250ms fastinter 100ms fall 2 rise 1 observe layer4 error-limit 1 on-error mark-down
    server around unix@/run/nospof-varnish-links/misses.sock backup
{% if peers %}

frontend peers
    bind {{ here.host.address }}:{{ set.port + 1 }} ssl crt {{ tls.certificate }} ca-file {{ tls.ca }} verify required
    http-request return status 403 unless { method PURGE }
    http-request del-header X-Nospof- -m beg
    http-request set-header X-Nospof-Told 1
    use_backend kept.here
{% for host, port in peers %}

backend peer.{{ host }}
    timeout connect 1s
    timeout server 5s
    server {{ host }} {{ here.address(host) }}:{{ port }} ssl verify required ca-file {{ tls.ca }} crt {{ tls.certificate }} sni str({{ host }}) verifyhost {{ host }}
{% endfor %}
{% endif %}
{% for backend in backends %}

# {{ backend.site.domain or "any name" }}{{ backend.site.path }}: GET and HEAD, which may be asked twice.
backend {{ backend.name }}
    retries {{ backend.retries }}
    option redispatch 1
    retry-on conn-failure empty-response 0rtt-rejected 502
    http-reuse always
    option httpchk
    http-check send meth GET uri {{ backend.site.health }} ver HTTP/1.1 hdr Host {{ backend.site.domain or here.topology.domain }} hdr User-Agent {{ health_agent }}
    http-check expect status 200
    default-server {{ checked }}
    default-server observe layer4 error-limit 2 on-error sudden-death
    default-server pool-purge-delay 5s
{{ servers(backend, " check") }}

# What must not be done twice.
backend {{ backend.name }}.once
    timeout connect {{ 3 * set.connect_ms }}ms
    retries {{ backend.retries }}
    option redispatch 1
    option http-server-close
{{ servers(backend, " track " ~ backend.name ~ "/HOST") }}

# When none passes its check, which may be wrong.
backend {{ backend.name }}.any
    timeout connect 1s
    retries 3
    option redispatch 1
    retry-on conn-failure empty-response 502
    http-request disable-l7-retry unless METH_GET
{{ servers(backend) }}
{% endfor %}
"""

VCL = """\
# Written by nospof. The built-in VCL goes on where a subroutine of these ends: it decides what may be kept.
vcl 4.1;

import std;

backend default none;

# Whoever is there is asked, well or not; also the way to the other hosts' caches.
backend unchecked {
    .path = "/run/nospof-varnish-links/misses.sock";
    .first_byte_timeout = {{ set.answer_s + 15 }}s;
    .between_bytes_timeout = {{ set.answer_s + 15 }}s;
}
{% for backend in backends %}

# Well as long as HAProxy finds a server well.
backend site_{{ backend.name | replace("-", "_") }} {
    .path = "/run/nospof-varnish-links/misses.sock";
    .first_byte_timeout = {{ set.answer_s + 15 }}s;
    .between_bytes_timeout = {{ set.answer_s + 15 }}s;
    .probe = {
        .request = "GET / HTTP/1.1" "Host: varnish" "X-Nospof-Left: {{ backend.name }}" "Connection: close";
        .interval = 250ms;
        .timeout = 1s;
        .window = 1;
        .threshold = 1;
        .initial = 1;
    }
}
{% endfor %}

sub vcl_recv {
    # Varnish adds its caller, who has no address.
    set req.http.X-Forwarded-For = regsub(req.http.X-Forwarded-For, "(, )?0\\.0\\.0\\.0$", "");
    if (req.http.X-Nospof-Alive) {
        return (synth(200, "OK"));
    }
    if (req.method == "PURGE") {
        if (req.restarts == 0) {
            return (purge);
        }
{% for host, port in peers %}
        if (req.restarts == {{ loop.index }}) {
            set req.http.X-Nospof-Tell = "{{ host }}";
        }
{% endfor %}
        set req.backend_hint = unchecked;
        return (pass);
    }
{% for backend in backends %}
    if (req.http.X-Nospof-Site == "{{ backend.name }}") {
        set req.backend_hint = site_{{ backend.name | replace("-", "_") }};
    }
{% endfor %}
    if (req.http.X-Nospof-Health) {
        if (std.healthy(req.backend_hint)) {
            return (synth(200, "OK"));
        }
        return (synth(503, "No application is well"));
    }
{% if never %}
    if (req.url ~ "{{ never }}") {
        set req.http.X-Nospof-Never = "1";
        return (pass);
    }
{% endif %}
    if (req.http.X-Nospof-Stale) {
        # No application answered. What is kept was for everybody.
        unset req.http.Cookie;
        set req.grace = {{ set.grace_s }}s;
    } else if (std.healthy(req.backend_hint)) {
        set req.grace = {{ refresh_s }}s;
    } else {
        set req.grace = {{ set.grace_s }}s;
    }
{% if plain %}
    if (req.url ~ "{{ plain }}") {
        unset req.http.Cookie;
    }
{% endif %}
{% if set.unread_cookies %}
    set req.http.X-Nospof-Cookie = regsuball(req.http.Cookie, "(^|; *)({{ set.unread_cookies | map("replace", ".", "[.]") | join("|") }})[^=;]*=[^;]*", "");
    if (req.http.X-Nospof-Cookie ~ "^[; ]*$") {
        unset req.http.Cookie;
    }
{% endif %}
}

sub vcl_purge {
{% if peers %}
    if (!req.http.X-Nospof-Told) {
        return (restart);
    }
{% endif %}
}

sub vcl_miss {
    if (req.http.X-Nospof-Stale) {
        return (synth(std.integer(req.http.X-Nospof-Stale, 503), "No application answers, and no page is kept"));
    }
    set req.http.X-Nospof-Looked = "1";
}

sub vcl_backend_fetch {
    if (!std.healthy(bereq.backend)) {
        set bereq.backend = unchecked;
    }
}

sub vcl_backend_response {
    if (beresp.status >= 500 && !bereq.uncacheable) {
        # An error must not take the place of a page.
        return (error(beresp.status, beresp.reason));
    }
    if (!beresp.http.Cache-Control && !beresp.http.Expires && beresp.ttl > 0s) {
        set beresp.ttl = {{ set.ttl_s }}s;
    }
    set beresp.grace = {{ [set.grace_s, refresh_s] | max }}s;
    set beresp.keep = 0s;
    if (std.integer(beresp.http.Content-Length, 0) > {{ set.max_page_mib * 1048576 }}) {
        call vcl_beresp_hitmiss;
    }
}

sub vcl_backend_error {
    if (bereq.is_bgfetch) {
        return (abandon);
    }
    set beresp.ttl = 0s;
    set beresp.grace = 0s;
    set beresp.keep = 0s;
    set beresp.http.Content-Type = "text/plain; charset=utf-8";
    set beresp.http.Cache-Control = "no-store";
    set beresp.body = "Error " + beresp.status + " " + beresp.reason + {"
"};
    return (deliver);
}

sub vcl_deliver {
    if (req.method == "PURGE") {
        if (resp.status != 200) {
            set req.http.X-Nospof-Missed = req.http.X-Nospof-Missed + " " + req.http.X-Nospof-Tell;
        }
        if (req.restarts < {{ peers | length }}) {
            return (restart);
        }
        if (req.http.X-Nospof-Missed) {
            return (synth(502, "Purged, but not on " + req.http.X-Nospof-Missed));
        }
        return (synth(200, "Purged"));
    }
    # Is there an old page? What an application says to somebody with a cookie is shown, unless it comes from between.
    if (resp.status >= 500 && req.restarts == 0 && !req.http.X-Nospof-Never && !req.http.Authorization) {
        if (req.http.X-Nospof-Looked || (resp.status >= 502 && resp.status <= 504)) {
            set req.http.X-Nospof-Stale = resp.status;
            return (restart);
        }
    }
    unset resp.http.Via;
    unset resp.http.X-Varnish;
    if (obj.hits == 0) {
        set resp.http.X-Cache = "miss";
    } else if (obj.ttl > 0s) {
        set resp.http.X-Cache = "hit";
    } else {
        set resp.http.X-Cache = "stale";
    }
}

sub vcl_synth {
    unset resp.http.Via;
    unset resp.http.X-Varnish;
    set resp.http.Content-Type = "text/plain; charset=utf-8";
    set resp.http.Cache-Control = "no-store";
    set resp.body = "" + resp.status + " " + resp.reason + {"
"};
    return (deliver);
}
"""

# Restarts of a request: one for an old page, or one per host that is told of a purge.
# The unit forbids memory that is both written and run, which just-in-time compiled expressions are.
VARNISH_UNIT = """\
# Written by nospof; in the place of Debian's.
[Unit]
Description=Varnish, which keeps pages in memory
After=network.target
StartLimitIntervalSec=0

[Service]
Type=exec
User={{ user }}
Group=varnish
RuntimeDirectory=nospof-varnish
RuntimeDirectoryMode=0700
StateDirectory=varnish
ExecStart=/usr/sbin/varnishd -F -j none -a kept=/run/nospof-varnish/kept.sock -f {{ vcl_file }} \\
  -s malloc,{{ set.memory_mib }}m -p max_restarts={{ peers | length + 1 }} -p timeout_idle=65 \\
  -p pcre2_jit_compilation=off -p vsl_space=16m
ExecReload=/usr/share/varnish/varnishreload -t 60 -m 2 {{ vcl_file }}
KillMode=mixed
TimeoutStopSec=5
Restart=always
RestartSec=100ms
OOMPolicy=continue
LimitNOFILE={{ open_files }}
LimitMEMLOCK=64M
{{ hardening }}
# Its socket is its own.
UMask=0077

[Install]
WantedBy=multi-user.target
"""

LINKS_UNIT = """\
# Written by nospof.
[Unit]
Description=HAProxy at both ends of Varnish
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
User={{ user }}
Group=varnish
RuntimeDirectory=nospof-varnish-links
RuntimeDirectoryMode=0700
ExecStart=/usr/sbin/haproxy -Ws -p /run/nospof-varnish-links/pid -f {{ links_file }}
ExecReload=/usr/sbin/haproxy -c -q -f {{ links_file }}
ExecReload=/bin/kill -USR2 $MAINPID
# Requests that are being worked on may end.
KillSignal=SIGUSR1
KillMode=mixed
SuccessExitStatus=143
TimeoutStopSec={{ set.drain_s + 5 }}
Restart=always
RestartSec=100ms
LimitNOFILE={{ open_files }}
{{ hardening }}

[Install]
WantedBy=multi-user.target
"""

EXPORTER_UNIT = """\
# Written by nospof; in the place of Debian's.
[Unit]
Description=Figures of Varnish
After=varnish.service
StartLimitIntervalSec=0

[Service]
Type=exec
User={{ user }}
Group=varnish
ExecStart=/usr/bin/prometheus-varnish-exporter -web.listen-address {{ here.host.address }}:{{ port }}
Restart=always
RestartSec=1s
{{ hardening }}

[Install]
WantedBy=multi-user.target
"""
