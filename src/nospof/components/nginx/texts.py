"""nginx's configuration and the drop-in of its unit, as templates."""

# Idle connections: the side that closes first must be the one that also sends first, so times grow towards the server
# (HAProxy keeps idle connections to servers for 5 s, applications keep ours for 75 s). Over a unix socket each request has
# a connection of its own: it costs microseconds, and no request is sent to a process that is about to end.
# Connecting includes the TLS handshake, which waits while the application restarts: another server is asked at once if
# there is one.
CONFIG = """{% macro choice(upstream) %}$to_{{ upstream.name | replace("-", "_") }}{% endmacro %}
{% macro hand_on(upstream) %}
            proxy_pass {{ upstream.scheme }}://{{ upstream.name if upstream.is_socket else choice(upstream) }};
            proxy_ssl_name {{ upstream.name }};
            proxy_connect_timeout {{ "500ms" if upstream.endpoints | length > 1 else "5s" }};
{%- endmacro %}
{% macro servers(upstream) %}
{% for endpoint in upstream.endpoints %}
{% if upstream.is_socket %}
        server unix:{{ endpoint.listen.socket }} max_fails=0;
{% else %}
        server {{ here.address(endpoint.owner.host) }}:{{ endpoint.listen.port }}
{%- if upstream.endpoints | length == 1 %} max_fails=0{% else %} max_fails=1 fail_timeout=1s{% endif %}
{%- if endpoint.rank.value == "spare" %} backup{% endif %};
{% endif %}
{% endfor %}
{% if upstream.has_last_resort %}
        # When all have just failed, as on a busy machine, they are asked nevertheless.
{% for endpoint in upstream.endpoints %}
        server {{ here.address(endpoint.owner.host) }}:{{ endpoint.listen.port }} max_fails=0 backup;
{% endfor %}
{% endif %}
{%- endmacro %}
{% macro as_file(indent) %}
{% filter indent(indent, first=True) -%}
expires 5m;
# Only here: compressed pages that hold secrets and visitors' input can be guessed (BREACH).
gzip on;
gzip_vary on;
gzip_proxied any;
gzip_types text/css text/plain application/javascript text/javascript application/json image/svg+xml;
{%- endfilter %}
{%- endmacro %}
{% macro run(placed, script, rest="") %}
                fastcgi_pass {{ placed.upstream.name }};
                include {{ fastcgi }};
                fastcgi_param DOCUMENT_ROOT {{ placed.site.code_folder }};
                fastcgi_param SCRIPT_FILENAME {{ placed.site.code_folder }}/{{ script }};
                fastcgi_param SCRIPT_NAME {{ placed.site.path }}{{ script }};
                fastcgi_param PATH_INFO "{{ rest }}";
{%- endmacro %}
{% macro folder(placed) %}
{% set site = placed.site %}
{% set path = escape(site.path) %}
{% set otherwise = "@" ~ placed.upstream.name if site.front else "=404" %}
{% if site.path != "/" %}

        location = {{ site.path[:-1] }} {
            return 301 {{ site.path }};
        }
{% endif %}
{% for prefix, written in site.written %}

        # What scripts wrote is sent, and never run; no link in it is followed.
        location ^~ {{ prefix }} {
            alias {{ written }}/;
            disable_symlinks on from={{ written }};
{{ as_file(12) }}

            location ~ /\\.|\\.ph {
                return 403;
            }
        }
{% endfor %}

        location ^~ {{ site.path }} {
            root {{ site.folder }};

            location ~ ^{{ path }}(.*/)?\\.(?!well-known/) {
                return 404;
            }
{% if placed.has_scripts %}

            location ~ ^{{ path }}(?<script>(?:.*/)?[^/]+\\.php)(?<rest>/.*)?$ {
                try_files /$script {{ otherwise }};
{{ run(placed, "$script", "$rest") }}
            }

            location ~ ^{{ path }}(?<folder>(?:.*/)?)$ {
                if (-f $document_root/${folder}index.html) {
                    rewrite ^ {{ site.path }}${folder}index.html last;
                }
                try_files /${folder}index.php {{ otherwise }};
{{ run(placed, "${folder}index.php") }}
            }
{% else %}

            location = {{ site.health }} {
                default_type text/plain;
                return 200 "ok\\n";
            }

            location ~ ^{{ path }}(?<folder>(?:.*/)?)$ {
                try_files /${folder}index.html {{ otherwise }};
{{ as_file(16) }}
            }
{% endif %}

            location ~ ^{{ path }}(?<file>.+)$ {
                if (-d $document_root/$file) {
                    return 301 $uri/$is_args$args;
                }
                try_files /$file {{ otherwise }};
{{ as_file(16) }}
            }
        }
{% if site.front %}

        # What is no file there: the front script is asked.
        location @{{ placed.upstream.name }} {
{{ run(placed, site.front) | replace("                ", "            ") }}
        }
{% endif %}
{%- endmacro %}
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
{% if has_scripts %}

    fastcgi_connect_timeout 5s;
    fastcgi_read_timeout {{ set.answer_s }}s;
    fastcgi_send_timeout {{ set.answer_s }}s;
    fastcgi_buffers 16 16k;
    fastcgi_buffer_size 32k;
    # What the load balancer says of the visitor's connection; a script asks for it as if it were its own.
    map $http_x_forwarded_proto $visitors_https {
        https on;
        default "";
    }
    map $http_x_forwarded_port $visitors_port {
        "" $server_port;
        default $http_x_forwarded_port;
    }
{% endif %}
{% for upstream in upstreams if upstream.endpoints[0].listen.socket or upstream.endpoints[0].listen.port %}

{% set keeps = not upstream.is_socket and upstream.speaks.value == "http" %}
    upstream {{ upstream.name }} {
{{ servers(upstream) }}
{%- if keeps %}
        keepalive 32;
        keepalive_timeout 60s;
{% endif %}
    }
{% if keeps %}

    # What must not be sent twice goes over connections of its own: a kept one may be ending just then.
    upstream {{ upstream.name }}.once {
{{ servers(upstream) }}    }
    map $request_method {{ choice(upstream) }} {
        default {{ upstream.name }};
        ~^(POST|PATCH|LOCK)$ {{ upstream.name }}.once;
    }
{% endif %}
{% endfor %}
{% if status_at %}

    # Its own counters, for the exporter beside it.
    server {
        listen {{ status_at }};
        access_log off;
        location = / {
            stub_status;
        }
    }
{% endif %}
{% for domain in domains if here.is_called("http") %}

    server {
        listen {{ here.host.address }}:{{ set.port }} ssl{% if domain.is_default %} default_server{% endif %};
        server_name {{ domain.name }};
{% for placed in domain.sites %}
{% set site = placed.site %}
{% if placed.is_folder %}
{{ folder(placed) }}
{% else %}
{% if placed.has_files %}

        # What is not there as a file the application is asked for.
        location ~ ^{{ escape(site.static_path) }}(?<file>(?!\\.)(?!.*/\\.).+)$ {
            root {{ site.static_folder }};
            try_files /$file @{{ placed.upstream.name }};
{{ as_file(12) }}
        }
{% endif %}
{% if placed.upstream.is_socket and domain.is_health_of(placed) %}

        location = {{ site.health }} {
            # While the folder is there the application is about to change, and load balancers are to send requests elsewhere.
            set $drained "";
            if ($http_user_agent = {{ health_agent }}) {
                set $drained {{ draining }}/{{ site.tier }};
            }
            if (-d $drained) {
                return 503;
            }
{{ hand_on(placed.upstream) }}
        }
{% endif %}

        location {{ site.path }} {
{{ hand_on(placed.upstream) }}
        }
{% endif %}
{% endfor %}
{% for upstream in domain.sites | selectattr("has_files") | map(attribute="upstream") | unique(attribute="name") %}

        location @{{ upstream.name }} {
{{ hand_on(upstream) }}
        }
{% endfor %}
{% if not domain.has_front_page %}

        location / {
            return 404;
        }
{% endif %}
    }
{% endfor %}
}
"""

# What a script is told of each request, but for what differs from place to place.
FASTCGI = """# Written by nospof from the stack file: changes made here are overwritten.
fastcgi_param GATEWAY_INTERFACE CGI/1.1;
fastcgi_param SERVER_SOFTWARE nginx;
fastcgi_param SERVER_PROTOCOL $server_protocol;
fastcgi_param SERVER_NAME $server_name;
fastcgi_param SERVER_ADDR $server_addr;
fastcgi_param SERVER_PORT $visitors_port;
fastcgi_param HTTPS $visitors_https if_not_empty;
fastcgi_param REQUEST_SCHEME $http_x_forwarded_proto if_not_empty;
fastcgi_param REQUEST_METHOD $request_method;
fastcgi_param REQUEST_URI $request_uri;
fastcgi_param DOCUMENT_URI $document_uri;
fastcgi_param QUERY_STRING $query_string;
fastcgi_param CONTENT_TYPE $content_type;
fastcgi_param CONTENT_LENGTH $content_length;
fastcgi_param REMOTE_ADDR $remote_addr;
fastcgi_param REMOTE_PORT $remote_port;
fastcgi_param REDIRECT_STATUS 200;
fastcgi_param HTTP_X_WEB_SERVER {{ here.host.name }};
# Others' words for X-Forwarded-Proto, which the load balancer sets; a script must not believe them.
fastcgi_param HTTP_X_FORWARDED_PROTOCOL "";
fastcgi_param HTTP_X_FORWARDED_SSL "";
fastcgi_param HTTP_PROXY "";
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
