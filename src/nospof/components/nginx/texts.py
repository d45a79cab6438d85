"""nginx's configuration and the drop-in of its unit, as templates."""

# Idle connections: the side that closes first must be the one that also sends first, so times grow towards the server
# (HAProxy keeps idle connections to servers for 5 s, applications keep ours for 75 s). Over a unix socket each request has
# a connection of its own: it costs microseconds, and no request is sent to a process that is about to end.
# Connecting includes the TLS handshake, which waits while the application restarts: another server is asked at once if
# there is one.
CONFIG = """{% macro hand_on(upstream) %}
            proxy_pass {{ upstream.scheme }}://{{ upstream.name }};
            proxy_ssl_name {{ upstream.name }};
            proxy_connect_timeout {{ "500ms" if upstream.endpoints | length > 1 else "5s" }};
{% endmacro %}
# Written by nospof from the stack file: changes made here are overwritten.
# Applies when root tests this file; the service itself runs as www-data and warns that it ignores this.
user www-data;
worker_processes {{ workers }};
worker_shutdown_timeout {{ set.drain_s }}s;
error_log stderr warn;

events {
    worker_connections {{ connections }};
}

http {
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    charset utf-8;
    server_tokens off;
    sendfile on;
    tcp_nopush on;
    absolute_redirect off;
    server_names_hash_bucket_size 128;

    log_format timed '$remote_addr "$request" $status $body_bytes_sent $request_time $upstream_response_time $http_host';
{% if set.access_log %}
    access_log syslog:server=unix:/dev/log,tag=nginx,severity=info timed;
{% else %}
    access_log off;
{% endif %}

    client_header_timeout 10s;
    client_body_timeout 30s;
    client_max_body_size {{ set.max_body_mib }}m;
    client_body_buffer_size 128k;
    send_timeout 30s;
    keepalive_timeout 65s;
    keepalive_requests 100000;
    reset_timedout_connection on;

    ssl_certificate {{ tls.certificate }};
    ssl_certificate_key {{ tls.key }};
    ssl_client_certificate {{ tls.ca }};
    ssl_verify_client on;
    ssl_verify_depth 2;
    ssl_protocols TLSv1.3;
    ssl_session_cache shared:tls:1m;

{% for address in balancers %}
    set_real_ip_from {{ address }};
{% endfor %}
    real_ip_header X-Forwarded-For;

    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Web-Server {{ here.host.name }};
    # Others' words for X-Forwarded-Proto, which the load balancer sets; an application must not believe them.
    proxy_set_header X-Forwarded-Protocol "";
    proxy_set_header X-Forwarded-Ssl "";
    proxy_set_header Proxy "";
    proxy_read_timeout {{ set.answer_s }}s;
    proxy_send_timeout {{ set.answer_s }}s;
    # Requests that may have been acted on (POST and the like) are not sent twice.
    proxy_next_upstream error timeout;
    proxy_next_upstream_timeout 2s;
    proxy_ssl_certificate {{ tls.certificate }};
    proxy_ssl_certificate_key {{ tls.key }};
    proxy_ssl_trusted_certificate {{ tls.ca }};
    proxy_ssl_verify on;
    proxy_ssl_verify_depth 2;
    proxy_ssl_server_name on;
    proxy_ssl_protocols TLSv1.3;
{% for upstream in upstreams %}

    upstream {{ upstream.name }} {
{% for endpoint in upstream.endpoints %}
{% if upstream.is_socket %}
        server unix:{{ endpoint.listen.socket }} max_fails=0;
{% else %}
        server {{ here.address(endpoint.owner.host) }}:{{ endpoint.listen.port }}
{%- if upstream.endpoints | length == 1 %} max_fails=0{% else %} max_fails=1 fail_timeout=1s{% endif %}
{%- if endpoint.rank.value == "spare" %} backup{% endif %};
{% endif %}
{% endfor %}
{% if not upstream.is_socket %}
        keepalive 32;
        keepalive_timeout 60s;
{% endif %}
    }
{% endfor %}
{% for domain in domains if here.is_called("http") %}

    server {
        listen {{ here.host.address }}:{{ set.port }} ssl{% if domain.is_default %} default_server{% endif %};
        server_name {{ domain.name }};
{% for placed in domain.sites %}
{% set site = placed.site %}
{% if placed.upstream %}
{% if placed.has_files %}

        # What is not there as a file the application is asked for.
        location ~ ^{{ escape(site.static_path) }}(?<file>(?!\\.)(?!.*/\\.).+)$ {
            root {{ site.static_folder }};
            try_files /$file @{{ placed.upstream.name }};
            expires 5m;
            # Only here: compressed pages that hold secrets and visitors' input can be guessed (BREACH).
            gzip on;
            gzip_vary on;
            gzip_proxied any;
            gzip_types text/css text/plain application/javascript text/javascript application/json image/svg+xml;
        }
{% endif %}

        location {{ site.path }} {
{{ hand_on(placed.upstream) -}}
        }
{% else %}

        location = {{ site.health }} {
            default_type text/plain;
            return 200 "ok\\n";
        }

        location ~ ^{{ escape(site.path) }}(.*/)?\\.(?!well-known/) {
            return 404;
        }

        location {{ site.path }} {
            alias /srv/nospof/{{ site.tier }}/current/app/;
            expires 5m;
            gzip on;
            gzip_vary on;
            gzip_proxied any;
            gzip_types text/css text/plain application/javascript text/javascript application/json image/svg+xml;
        }
{% endif %}
{% endfor %}
{% for upstream in domain.sites | selectattr("has_files") | map(attribute="upstream") | unique(attribute="name") %}

        location @{{ upstream.name }} {
{{ hand_on(upstream) -}}
        }
{% endfor %}
{% if "/" not in domain.sites | map(attribute="site.path") %}

        location / {
            return 404;
        }
{% endif %}
    }
{% endfor %}
}
"""

# SIGQUIT to the first process lets open requests end. Limits on starts are off: it must never give up.
DROP_IN = """[Unit]
StartLimitIntervalSec=0

[Service]
User=www-data
Group=www-data
RuntimeDirectory=nginx
StateDirectory=nginx
PIDFile=/run/nginx/nginx.pid
ExecStartPre=
ExecStart=
ExecStart=/usr/sbin/nginx -g 'daemon on; master_process on; pid /run/nginx/nginx.pid;'
ExecReload=
ExecReload=/usr/sbin/nginx -t -q -g 'pid /run/nginx/nginx.pid;'
ExecReload=/bin/kill -HUP $MAINPID
ExecStop=
KillSignal=SIGQUIT
KillMode=mixed
TimeoutStopSec={{ set.drain_s + 5 }}
Restart=always
RestartSec=100ms
OOMPolicy=continue
LimitNOFILE={{ open_files }}

{{ hardening }}
UMask=0027
"""
