"""Apache's configuration and the drop-in of its unit, as templates."""

# Idle connections: the side that closes first must be the one that also sends first, so times grow towards the server
# (HAProxy keeps idle connections to servers for 5 s, applications keep ours for 75 s). Over a unix socket each request has
# a connection of its own: it costs microseconds, and no request is sent to a process that is about to end.
# ServerName has visitors' scheme and port, so that a redirect leads to where they came from.
CONFIG = """# Written by nospof from the stack file: changes made here are overwritten.
{% for module in (
    "mpm_event", "authz_core", "mime", "dir", "alias", "rewrite", "headers", "setenvif", "env", "reqtimeout", "remoteip",
    "expires", "filter", "deflate", "ssl", "socache_shmcb", "proxy", "proxy_http", "proxy_fcgi", "proxy_balancer",
    "slotmem_shm", "lbmethod_byrequests"
) + (("status",) if status_at else ()) %}
LoadModule {{ module }}_module /usr/lib/apache2/modules/mod_{{ module }}.so
{% endfor %}

ServerRoot /etc/apache2
# The package makes it: there is one also while a host that never ran it is asked whether this file is right.
DefaultRuntimeDir /var/cache/apache2
PidFile /run/apache2/apache2.pid
# Applies when root tests this file; the service itself runs as www-data.
User www-data
Group www-data
ServerName {{ here.host.name }}
ServerTokens Prod
ServerSignature Off
TraceEnable Off
UseCanonicalName Off
ErrorLog syslog:daemon:apache2
# It would be warned at each start that the certificate names the host and not the sites, which is as it is meant.
LogLevel warn ssl:error
{% if set.access_log %}
LogFormat "%a \\"%r\\" %>s %b %{us}T %{Host}i" timed
CustomLog "|/usr/bin/logger -t apache2 -p daemon.info" timed
{% endif %}

# All threads are there from the start. Old processes that drain after a reload need places beside the new ones.
StartServers {{ processes }}
ServerLimit {{ 4 * processes }}
ThreadsPerChild {{ threads }}
ThreadLimit {{ threads }}
MaxRequestWorkers {{ processes * threads }}
MinSpareThreads {{ threads }}
MaxSpareThreads {{ processes * threads }}
MaxConnectionsPerChild 0
ListenBacklog 4096
GracefulShutdownTimeout {{ set.drain_s }}

Timeout 30
RequestReadTimeout handshake=10 header=10 body=30,MinRate=500
KeepAlive On
KeepAliveTimeout 65
MaxKeepAliveRequests 0
LimitRequestBody {{ set.max_body_mib * 1048576 }}
TypesConfig /etc/mime.types
AddDefaultCharset utf-8

SSLCertificateFile {{ tls.certificate }}
SSLCertificateKeyFile {{ tls.key }}
SSLCACertificateFile {{ tls.ca }}
SSLVerifyClient require
SSLVerifyDepth 2
SSLProtocol -all +TLSv1.3
SSLSessionCache shmcb:/var/cache/apache2/tls(512000)
SSLProxyEngine On
SSLProxyProtocol -all +TLSv1.3
SSLProxyCACertificateFile {{ tls.ca }}
SSLProxyMachineCertificateFile {{ both }}
SSLProxyVerify require
SSLProxyVerifyDepth 2
# It would be compared with the visitor's name for the site.
SSLProxyCheckPeerName Off
SSLProxyCheckPeerCN Off

RemoteIPHeader X-Forwarded-For
{% for address in balancers %}
RemoteIPInternalProxy {{ address }}
{% endfor %}
RequestHeader set X-Forwarded-For expr=%{REMOTE_ADDR}
RequestHeader set X-Web-Server {{ here.host.name }}
# Others' words for X-Forwarded-Proto, which the load balancer sets; an application must not believe them.
RequestHeader unset X-Forwarded-Protocol
RequestHeader unset X-Forwarded-Ssl
RequestHeader unset Proxy

ProxyRequests Off
ProxyPreserveHost On
ProxyAddHeaders Off
ProxyTimeout {{ set.answer_s }}

<Directory "/">
    Options FollowSymLinks
    AllowOverride None
    Require all denied
</Directory>
<Directory "/usr/lib/nospof/apache">
    Require all granted
    ForceType text/plain
</Directory>
{% for upstream in upstreams if upstream.speaks.value == "http" and not upstream.is_socket %}

<Proxy "balancer://{{ upstream.name }}">
{% set several = upstream.endpoints | length > 1 %}
{% for endpoint in upstream.endpoints %}
    # {{ endpoint.owner.host }}
    BalancerMember "{{ upstream.scheme }}://{{ here.address(endpoint.owner.host) }}:{{ endpoint.listen.port }}" \\
        connectiontimeout={{ "500ms" if several else "5" }} retry={{ 1 if several else 0 }} timeout={{ set.answer_s }} \\
        ttl=60 keepalive=On{{ " status=+H" if endpoint.rank.value == "spare" }}
{% endfor %}
</Proxy>
{% endfor %}
{% if status_at %}

# Its own counters, for the exporter beside it.
Listen {{ status_at }}
ExtendedStatus On
<VirtualHost {{ status_at }}>
    <Location "/">
        SetHandler server-status
        Require all granted
    </Location>
</VirtualHost>
{% endif %}
{% if here.is_called("http") %}

Listen {{ here.host.address }}:{{ set.port }}
{% for domain in domains | sort(attribute="is_default", reverse=True) %}

<VirtualHost {{ here.host.address }}:{{ set.port }}>
    ServerName https://{{ domain.name }}:443
    SSLEngine On
    RewriteEngine On
    AllowEncodedSlashes NoDecode
{% for placed in domain.sites %}
{% set site, upstream = placed.site, placed.upstream %}
{% set path = escape(site.path) %}

    # {{ site.path }}: {{ site.tier }}
{% if placed.is_folder %}
{% if not placed.has_scripts %}
    Alias "{{ site.health }}" "{{ ok }}"
{% endif %}
{% if site.path == "/" %}
    DocumentRoot "{{ site.folder }}"
{% else %}
    RewriteRule "^{{ path[:-1] }}$" "{{ site.path }}" [R=301,END]
    Alias "{{ site.path }}" "{{ site.folder }}/"
{% endif %}
    RewriteRule "^{{ path }}(.*/)?\\.(?!well-known/)" - [R=404,END]
{% for prefix, written in site.written %}
    # What scripts wrote is sent, and never run; no link in it is followed.
    Alias "{{ prefix }}" "{{ written }}/"
    RewriteRule "^{{ escape(prefix) }}" - [END]
    <Directory "{{ written }}">
        Options None
        Require all granted
        ExpiresActive On
        ExpiresDefault "access plus 5 minutes"
        <FilesMatch "\\.ph">
            Require all denied
        </FilesMatch>
    </Directory>
{% endfor %}
{% if site.front %}
    # What is no file there: the front script is asked.
    RewriteCond "{{ site.folder }}/$1" -f
    RewriteRule "^{{ path }}((?:.*/)?[^/]+\\.php)(/.*)?$" - [END]
    RewriteCond "{{ site.folder }}/$1" !-f
    RewriteCond "{{ site.folder }}/$1" !-d
    RewriteRule "^{{ path }}(.*)$" "{{ site.path }}{{ site.front }}" [PT,NS,END]
    RewriteCond "{{ site.folder }}/$1index.html" !-f
    RewriteCond "{{ site.folder }}/$1index.php" !-f
    RewriteRule "^{{ path }}(.*/|)$" "{{ site.path }}{{ site.front }}" [PT,NS,END]
{% endif %}
    RewriteRule "^{{ path }}" - [END]
    <Directory "{{ site.folder }}">
        Options FollowSymLinks
        Require all granted
{% if placed.has_scripts %}
        DirectoryIndex index.html index.php
        CGIPassAuth On
        <FilesMatch "\\.php$">
            <If "-f %{REQUEST_FILENAME}">
                SetHandler "proxy:unix:{{ upstream.endpoints[0].listen.socket }}|fcgi://{{ upstream.name }}/"
            </If>
        </FilesMatch>
        # PHP's processes know the folder by a path of their own.
        ProxyFCGIBackendType GENERIC
        ProxyFCGISetEnvIf "reqenv('SCRIPT_FILENAME') =~ m#^.*{{ escape(site.folder) }}(/.*)$#" \\
            SCRIPT_FILENAME "{{ site.code_folder }}$1"
        ProxyFCGISetEnvIf true DOCUMENT_ROOT "{{ site.code_folder }}"
        # PHP would take this for the script.
        ProxyFCGISetEnvIf true !PATH_TRANSLATED
        # What the load balancer says of the visitor's connection; a script asks for it as if it were its own.
        ProxyFCGISetEnvIf "req_novary('X-Forwarded-Proto') == 'https'" HTTPS on
        ProxyFCGISetEnvIf "req_novary('X-Forwarded-Proto') == 'http'" !HTTPS
        ProxyFCGISetEnvIf "req_novary('X-Forwarded-Proto') =~ /^(https?)$/" REQUEST_SCHEME "$1"
        ProxyFCGISetEnvIf "req_novary('X-Forwarded-Port') =~ /^([0-9]+)$/" SERVER_PORT "$1"
{% else %}
        DirectoryIndex index.html
{% endif %}
        <FilesMatch "^(?!.*\\.php$)">
            ExpiresActive On
            ExpiresDefault "access plus 5 minutes"
        </FilesMatch>
        # Only files: compressed pages that hold secrets and visitors' input can be guessed (BREACH).
        <FilesMatch "\\.(css|html|js|json|mjs|svg|txt)$">
            SetOutputFilter DEFLATE
        </FilesMatch>
    </Directory>
{% else %}
{% if placed.has_files %}
    # What is not there as a file the application is asked for.
    RewriteCond "{{ site.static_folder }}/$1" -f
    RewriteRule "^{{ escape(site.static_path) }}((?!\\.)(?!.*/\\.).+)$" "{{ site.static_folder }}/$1" [END]
    <Directory "{{ site.static_folder }}">
        Options FollowSymLinks
        Require all granted
        ExpiresActive On
        ExpiresDefault "access plus 5 minutes"
        <FilesMatch "\\.(css|html|js|json|mjs|svg|txt)$">
            SetOutputFilter DEFLATE
        </FilesMatch>
    </Directory>
{% endif %}
{% if upstream.is_socket %}
    # While the folder is there the application is about to change, and load balancers are to send requests elsewhere.
    RewriteCond "%{HTTP_USER_AGENT}" "={{ health_agent }}"
    RewriteCond "{{ draining }}/{{ site.tier }}" -d
    RewriteRule "^{{ escape(site.health) }}$" - [R=503,END]
{% endif %}
    RewriteRule "^{{ path }}" - [END]
{% if upstream.is_socket %}
    ProxyPass "{{ site.path }}" \\
        "unix:{{ upstream.endpoints[0].listen.socket }}|{{ upstream.scheme }}://{{ upstream.name }}{{ site.path }}" \\
        nocanon disablereuse=On connectiontimeout=5 timeout={{ set.answer_s }}
{% else %}
    ProxyPass "{{ site.path }}" "balancer://{{ upstream.name }}{{ site.path }}" nocanon
{% endif %}
{% endif %}
{% endfor %}
{% if not domain.has_front_page %}

    # Nothing is at any other path.
    RewriteRule "^" - [R=404,END]
{% endif %}
</VirtualHost>
{% endfor %}
{% endif %}
"""

# SIGWINCH lets open requests end. Limits on starts are off: it must never give up. Debian's suites differ in the type; with
# the newer one (notify) the first process, which ends when it has started the others, is taken for Apache itself.
DROP_IN = """[Unit]
StartLimitIntervalSec=0

[Service]
Type=forking
User=www-data
Group=www-data
RuntimeDirectory=apache2
CacheDirectory=apache2
PIDFile=/run/apache2/apache2.pid
ExecStart=
ExecStart=/usr/sbin/apache2 -f {{ config }} -k start
ExecReload=
ExecReload=/usr/sbin/apache2 -t -f {{ config }}
ExecReload=/bin/kill -USR1 $MAINPID
ExecStop=
KillSignal=SIGWINCH
KillMode=mixed
TimeoutStopSec={{ set.drain_s + 5 }}
Restart=always
RestartSec=100ms
OOMPolicy=continue
LimitNOFILE={{ open_files }}

{{ hardening }}
UMask=0027
"""
