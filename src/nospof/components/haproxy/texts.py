# ruff: noqa: E501 - a line of these texts is a line of the file it makes
"""What HAProxy's files on a host say, as Jinja templates. The reason for each number: docs/decisions/0004-edge-settings.md."""

CURVES = "X25519MLKEM768:X25519:prime256v1:secp384r1"
CIPHERS = ":".join(
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
    )
)
SUITES = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

CONFIG = """\
# Written by nospof for {{ here.me.id }}; changes made here are replaced.
global
    user haproxy
    group haproxy
    chroot /var/lib/haproxy
    stats socket /run/haproxy/admin.sock mode 660 level admin
    server-state-file /run/haproxy/server-state
{% if peers %}
    localpeer {{ here.me.id.host }}
{% endif %}
    log stdout format short local0
    maxconn {{ max_connections + reserved }}
    hard-stop-after {{ settings.drain_s }}s
    lua-load {{ lua }}
{% if tls %}
    # Certificate and key are two files: NAME.crt and NAME.key.
    ssl-load-extra-files key
    ssl-load-extra-del-ext
    # Mozilla's "intermediate" of April 2026 (version 6.0).
    ssl-default-bind-curves {{ curves }}
    ssl-default-bind-ciphers {{ ciphers }}
    ssl-default-bind-ciphersuites {{ suites }}
    ssl-default-bind-options prefer-client-ciphers ssl-min-ver TLSv1.2 no-tls-tickets
    ssl-default-server-curves {{ curves }}
    ssl-default-server-ciphers {{ ciphers }}
    ssl-default-server-ciphersuites {{ suites }}
    ssl-default-server-options ssl-min-ver TLSv1.2
{% endif %}

defaults
    mode http
    log global
    log-format "${HAPROXY_HTTP_LOG_FMT} %ID"
    option dontlognull
{% if not settings.access_log %}
    option dontlog-normal
{% endif %}
    load-server-state-from-file global
    # Old connections end with an answer, not instead of one: a reload fails nobody.
    option idle-close-on-response
    # How long a server gets to accept, and the pause before the only server left is asked again.
    timeout connect {{ settings.connect_ms }}ms
    timeout queue {{ settings.queue_s }}s
    timeout server {{ settings.answer_s }}s
    timeout client 30s
    timeout http-request 10s
    timeout http-keep-alive 15s
    timeout tunnel 1h
    timeout check {{ settings.check_answer_ms }}ms
{% if tls %}
    # A server proves by the stack's own authority that it is the host it is called; so do we to it.
    default-server ssl verify required ca-file {{ tls.ca }} crt {{ tls.certificate }}
{% endif %}
{% for status in (502, 503, 504) %}
    http-error status {{ status }} content-type "text/html; charset=utf-8" file {{ error_page }} hdr Cache-Control no-store hdr Retry-After 5
{% endfor %}
{% if peers %}

# Which visitor has which server, told to each other at once: whoever takes an address over goes on with the same.
peers balancers
    default-bind ssl crt {{ tls.certificate }} ca-file {{ tls.ca }} verify required
    default-server ssl verify required ca-file {{ tls.ca }} crt {{ tls.certificate }}
{% for host in peers %}
    peer {{ host }} {{ here.address(host) }}:{{ peers_port }} sni str({{ host }}) verifyhost {{ host }}
{% endfor %}
{% endif %}

# Whether this process answers at all; asked by who moves the VIP.
frontend alive
    bind unix@{{ alive_socket }} mode 666
    monitor-uri /alive
{% if here.is_called("metrics") %}

frontend metrics
    bind {{ here.host.address }}:8405
    option dontlog-normal
    http-request use-service prometheus-exporter if { path /metrics }
    http-request return status 404
{% endif %}
{% if settings.https %}

frontend to-https
    bind *:80
    maxconn {{ max_connections // 10 }}
    http-request return status 400 unless { req.hdr(host) -m found }
    http-request redirect prefix https://%[req.hdr(host),host_only] code 308
{% endif %}

frontend visitors
{% if settings.https %}
    bind *:443 ssl crt {{ tls.certificate }} alpn h2,http/1.1
    maxconn {{ max_connections - max_connections // 10 }}
{% else %}
    bind *:80
    maxconn {{ max_connections }}
{% endif %}
    # What a visitor says of himself is not believed.
    http-request del-header Forwarded
    http-request del-header X-Request-ID
    http-request set-header X-Forwarded-For %[src]
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Forwarded-Port %[dst_port]
    http-request set-header X-Forwarded-Proto {{ "https" if settings.https else "http" }}
    http-request set-header X-Load-Balancer {{ here.me.id.host }}
    unique-id-format %[uuid()]
    unique-id-header X-Request-ID
    http-after-response set-header X-Request-ID %[unique-id]
{% if settings.https %}
    # Browsers remember this for the name; a *.localhost name is shared by everything on a machine.
    http-request set-var(txn.is_lab) bool(true) if { req.hdr(host),host_only -m end .localhost }
    http-after-response set-header Strict-Transport-Security "max-age=63072000{{ "; includeSubDomains" if settings.hsts_subdomains }}" unless { var(txn.is_lab) -m bool }
{% endif %}
{% if settings.security_headers %}
    http-after-response set-header X-Content-Type-Options nosniff unless { res.hdr(X-Content-Type-Options) -m found }
    http-after-response set-header X-Frame-Options SAMEORIGIN unless { res.hdr(X-Frame-Options) -m found }
    http-after-response set-header Referrer-Policy strict-origin-when-cross-origin unless { res.hdr(Referrer-Policy) -m found }
{% endif %}
    # Which application is asked for: the last line that fits.
{% for backend in backends %}
    http-request set-var(txn.site) str({{ backend.name }}){{ " if" if backend.conditions }}{% for condition in backend.conditions %} { {{ condition }} }{% endfor %}

{% endfor %}
    http-request return status 404 content-type text/plain string "There is no such site here." unless { var(txn.site) -m found }
    # When no server passes its check, ask them all the same: the check may be wrong, and a page is better than none.
    use_backend %[var(txn.site)].any if { var(txn.site),nbsrv eq 0 }
    use_backend %[var(txn.site)] if METH_GET
    use_backend %[var(txn.site)].once
{% for backend in backends %}

# {{ backend.site.domain or "any name" }}{{ backend.site.path }}: GET and HEAD, which may be asked twice.
backend {{ backend.name }}
{{ balance }}
{% if settings.sticky == "source" %}
    # Some 100 bytes for each address. Who is not in it gets the server that his address leads to.
    stick-table type ip size 200k expire {{ settings.sticky_s }}s srvkey name{{ " peers balancers" if peers }}
{% endif %}
{% if stays %}
    {{ stays(backend) }}
{% endif %}
    retries {{ backend.retries }}
    option redispatch 1
    retry-on conn-failure empty-response 0rtt-rejected 502 503
    # tcp-ut ends a connection to a dark host some 0.6 s after something was sent; it works on server lines only.
    # New connections cost a busy server most; on one that has died meanwhile the request is asked again.
    http-reuse always
    option httpchk
    http-check send meth GET uri {{ backend.site.health }} ver HTTP/1.1 hdr Host {{ backend.site.domain or here.topology.domain }} hdr User-Agent {{ health_agent }}
    http-check expect status 200
    default-server {{ checked }}
    # Visitors notice first: after two of them could not connect, one failed check is enough.
    default-server observe layer4 error-limit 2 on-error sudden-death
    default-server pool-purge-delay 5s maxconn {{ settings.max_connections_per_server }}
{% for server in backend.servers %}
    server {{ server.owner.host }} {{ where(server) }} check {{ server_options(server) }} tcp-ut {{ settings.connect_ms }}ms
{% endfor %}

# What must not be done twice: on a connection of its own, so that a server that is gone is noticed before it was told.
backend {{ backend.name }}.once
{{ balance }}
{% if stays %}
    {{ stays(backend) }}
{% endif %}
    timeout connect {{ 3 * settings.connect_ms }}ms
    retries {{ backend.retries }}
    option redispatch 1
    option http-server-close
    default-server maxconn {{ settings.max_connections_per_server }}
{% for server in backend.servers %}
    server {{ server.owner.host }} {{ where(server) }} track {{ backend.name }}/{{ server.owner.host }} {{ server_options(server) }} tcp-ut {{ settings.connect_ms }}ms
{% endfor %}

# When none passes its check. Here a server is down only if its host does not accept at all; see {{ lua }}.
backend {{ backend.name }}.any
    balance roundrobin
{% if stays %}
    {{ stays(backend) }}
{% endif %}
    timeout connect 1s
    retries 3
    option redispatch 1
    retry-on conn-failure empty-response 502 503
    http-request disable-l7-retry unless METH_GET
    http-reuse always
    option tcp-check
    default-server inter {{ [settings.check_every_ms, 150] | min }}ms fall 2 rise 1 no-check-ssl
    default-server maxconn {{ settings.max_connections_per_server }}
{% for server in backend.servers %}
    server {{ server.owner.host }} {{ where(server) }} check {{ server_options(server) }} tcp-ut {{ settings.connect_ms }}ms
{% endfor %}
{% endfor %}
"""

LUA = """\
-- Written by nospof. Ends what still waits for a host that went dark: no answer will come, and HAProxy alone would wait for
-- `timeout server`. `on-marked-down shutdown-sessions` would do so at once and also end requests that are just failing to
-- connect and on their way to another server, or that the kernel is about to report as lost (`tcp-ut`) and that are then
-- asked again: they get time for it first.
local ROUND_MS, ROUNDS = 50, 100

local function is_down(server)
    return string.find(server:get_stats()["status"], "^DOWN")
end

local function end_sessions(site, host)
    local accepts = core.backends[site .. ".any"].servers[host]
    local answers = core.backends[site].servers[host]
    for _ = 1, ROUNDS do
        if is_down(answers) then break end
        core.msleep(ROUND_MS)
    end
    core.msleep({{ 3 * settings.connect_ms + 50 }})
    -- A cable that is in again: the old connections are as good as before.
    if not (is_down(accepts) and is_down(answers)) then return end
    answers:shut_sess()
    core.backends[site .. ".once"].servers[host]:shut_sess()
    core.msleep(1000)
    if is_down(accepts) then accepts:shut_sess() end
end

core.event_sub({"SERVER_DOWN"}, function(_, event)
    local site = string.match(event.proxy_name, "^(.*)%.any$")
    if site then core.register_task(end_sessions, site, event.name) end
end)
"""

DROP_IN = """\
# Written by nospof. HAProxy is always up again at once, and the alive file says whether it is.
[Unit]
StartLimitIntervalSec=0

[Service]
Restart=always
RestartSec=100ms
LimitNOFILE={{ max_open_files }}
RuntimeDirectory=nospof
RuntimeDirectoryPreserve=yes
# States of servers are for reloads; after a stop they are old.
ExecStartPre=/bin/rm -f /run/haproxy/server-state
ExecStartPost=/bin/sh -c 'echo 0 > {{ alive_file }}'
# When it is stopped on purpose, the VIP goes first.
ExecStop=/bin/sh -c 'echo -1 > {{ alive_file }}; sleep 0.5'
ExecStopPost=/bin/sh -c 'echo -1 > {{ alive_file }}'
# Checked first; the new process knows from the beginning which servers are down; done only when it says that it runs.
ExecReload=
ExecReload=/usr/sbin/haproxy -Ws -f $CONFIG -c $EXTRAOPTS
ExecReload=-{{ keep_states }}
ExecReload=/bin/sh -c 'echo reload | socat -t 60 stdio /run/haproxy-master.sock | grep -q ^Success=1'
# It starts as root to bind ports and read its key, and needs nothing else of root.
CapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_SETUID CAP_SETGID CAP_SYS_CHROOT CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE CAP_KILL CAP_SYS_RESOURCE
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths=/run
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service chroot
UMask=0077
"""

KEEP_STATES = """\
#!/bin/sh
# Written by nospof: saves for the next process which servers are down or drained. Only of servers that stay what they are:
# HAProxy would take the port, and whether there is TLS, from here and not from its configuration.
set -e
echo "show servers state" | socat -t 5 stdio /run/haproxy/admin.sock | awk '
    NR == FNR { if ($1 == "server") line[$2 " " $3] = $0; next }
    !/^[0-9]+ [^ ]+ [0-9]+ / { print; next }
    { now = line[$4 " " $5 ":" $19] }
    now != "" && (now ~ / no-ssl/) == ($21 != 1)
' {{ config }} - > /run/haproxy/server-state.new
mv /run/haproxy/server-state.new /run/haproxy/server-state
"""

HOLDS_ADDRESS = """\
#!/bin/sh
# Written by nospof: exits 0 when this host holds a VIP.
for address in {{ addresses | join(" ") }}; do
    ip -4 address show to "$address/32" | grep -q inet && exit 0
done
exit 1
"""

ERROR_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Not available right now</title>
<style>
  body { margin: 20vh auto; max-width: 34rem; padding: 0 1.5rem; font: 1.1rem/1.6 system-ui, sans-serif; color: #222 }
  @media (prefers-color-scheme: dark) { body { background: #181818; color: #ddd } }
</style>
<h1>Not available right now</h1>
<p>None of the servers that make this page has answered. Please try again in a few seconds.</p>
<p>If you were sending something, look first whether it arrived: it may have.</p>
<p>If it stays like this, tell the people who run the site when you saw this page ({{ here.me.id.host }}).</p>
</html>
"""
