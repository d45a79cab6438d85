"""What Starman's files on a host say: the program around it, its units, and the HAProxy that speaks TLS for it."""

SERVE = """\
# Written by nospof.
# Starman, but it takes the socket that systemd holds and leaves it alone at its end, answers every connection it has accepted
# before a process ends, replaces a process that works too long on one request, and its health is honest: an application that
# has lost what it needs on its own host, the way to its database, fails requests that another host would answer.
use strict;
use warnings;

package NospofServer;
use parent 'Starman::Server';
use IO::Select;
use IO::Socket::UNIX;
use POSIX ();
use Socket qw(SOCK_DGRAM);

# The socket is systemd's, and others wait in it.
sub shutdown_sockets { return 1 }

# It has its user from the beginning, and the socket its owner.
sub post_bind {
    my ($self) = @_;
    $self->{server}{requests} = 0;
    $SIG{PIPE} = 'IGNORE';
}

# Several processes see one connection come; those who are too late must not wait in accept, where they would hear nothing.
sub pre_loop_hook {
    my ($self) = @_;
    $self->{server}{sock}[0]->blocking(0);
    return $self->SUPER::pre_loop_hook;
}

# What processes say: "PID processing" with each connection, and each has one request.
sub parent_read_hook {
    my ($self, $line) = @_;
    my ($pid, $state) = split ' ', $line;
    if ($state eq 'processing') { $self->{busy_since}{$pid} = time }
    else { delete $self->{busy_since}{$pid} }
    return 0;
}

sub coordinate_children {
    my ($self) = @_;
    my $busy = $self->{busy_since} //= {};
    for my $pid (keys %$busy) {
        next if time - $busy->{$pid} <= $self->{options}{timeout_s};
        delete $busy->{$pid};
        warn "process $pid worked on one request for more than $self->{options}{timeout_s} s: it is replaced\\n"
            if kill KILL => $pid;
    }
    return $self->SUPER::coordinate_children;
}

# --- in each process
sub child_init_hook {
    my ($self) = @_;
    # Whatever it is told, it ends between two requests.
    $SIG{$_} = sub { $self->{ends} = 1 } for qw(HUP INT QUIT TERM);
    if (!eval { $self->SUPER::child_init_hook; 1 }) {
        warn $@;
        kill TERM => getppid;
        POSIX::_exit(3);
    }
    say_ready();
}

sub accept {
    my ($self) = @_;
    my $listener = $self->{server}{sock}[0];
    my $select = IO::Select->new($listener);
    until ($self->{ends}) {
        next unless $select->can_read(1);
        my $client = $listener->accept or next;
        $self->{server}{client} = $client;
        return 1;
    }
    return 0;
}

sub done {
    my ($self, @more) = @_;
    return $self->{ends} || $self->SUPER::done(@more);
}

sub say_ready {
    my $path = $ENV{NOTIFY_SOCKET} or return;
    $path =~ s/^@/\\0/;
    my $socket = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Peer => $path) or return;
    $socket->send('READY=1');
}

package main;
use Plack::Util;
use Socket qw(getaddrinfo);

my ($tier, $file, $socket, $processes, $timeout_s) = @ARGV;
my ($health, $mount) = @ENV{qw(NOSPOF_HEALTH NOSPOF_MOUNT)};
# Files that are there while what is needed on this host runs, and names by which it finds what it needs.
my @beside = split /:/, $ENV{NOSPOF_BESIDE} // '';
my @names = split /:/, $ENV{NOSPOF_NAMES} // '';

sub what_is_gone {
    my @gone = map { "$_ is not there" } grep { !-e } @beside;
    for my $name (@names) {
        my ($error) = getaddrinfo($name, '');
        push @gone, "the name $name is not found ($error)" if $error;
    }
    return @gone;
}

# All callers are the stack's: what they say of the visitor is so.
sub as_visited {
    my ($env) = @_;
    delete $env->{HTTP_PROXY};
    ($env->{REMOTE_ADDR}) = ($env->{HTTP_X_FORWARDED_FOR} // '') =~ /([0-9A-Fa-f.:]+)\\s*\\z/;
    $env->{REMOTE_ADDR} //= '127.0.0.1';
    $env->{REMOTE_HOST} = $env->{REMOTE_ADDR};
    my $scheme = $env->{HTTP_X_FORWARDED_PROTO} // '';
    $env->{'psgi.url_scheme'} = $scheme if $scheme =~ /\\Ahttps?\\z/;
    $env->{HTTPS} = 'ON' if $scheme eq 'https';
    my ($name, $port) = ($env->{HTTP_HOST} // '') =~ /\\A([^:]*)(?::(\\d+))?\\z/;
    $env->{SERVER_NAME} = $name || 'localhost';
    my @ports = ($env->{HTTP_X_FORWARDED_PORT}, $port, $scheme eq 'https' ? '443' : '80');
    ($env->{SERVER_PORT}) = grep { defined && /\\A\\d+\\z/ } @ports;
    if ($mount ne '' && $env->{PATH_INFO} =~ s/\\A\\Q$mount\\E(?=\\/|\\z)//) {
        $env->{SCRIPT_NAME} = $mount;
    }
}

sub loaded {
    my $application = Plack::Util::load_psgi($file);
    return sub {
        my ($env) = @_;
        as_visited($env);
        if ($env->{PATH_INFO} eq $health && (my @gone = what_is_gone())) {
            my $text = 'this host lacks what it needs: ' . join('; ', @gone) . "\\n";
            return [503, ['Content-Type' => 'text/plain', 'Content-Length' => length $text], [$text]];
        }
        return $application->($env);
    };
}

$ENV{PLACK_ENV} //= 'deployment';
NospofServer->new->run(undef, {
    argv => [$tier],
    listen => [$socket],
    workers => $processes,
    max_requests => 10_000,
    keepalive => 0,
    timeout_s => $timeout_s,
    net_server_args => { log_level => 1 },
    # In each process anew: connections that an application opens as it is loaded must not be shared.
    psgi_app_builder => \\&loaded,
});
"""

SERVICE = """\
[Unit]
Description=Application {{ tier }}
Requires=nospof-{{ tier }}.socket
After=network.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=all
User={{ user }}
Group={{ user }}
WorkingDirectory={{ release }}/app
Environment=PERL5LIB={{ path }}
CacheDirectory=nospof/{{ tier }}
CacheDirectoryMode=0700
EnvironmentFile=/etc/nospof/{{ tier }}.env
Environment=NOSPOF_HEALTH={{ set.health }}
Environment=NOSPOF_MOUNT={{ set.path.rstrip("/") }}
Environment=NOSPOF_BESIDE={{ here.alive_files_beside() | join(":") }}
Environment=NOSPOF_NAMES={{ here.names_needed() | join(":") }}
# systemd's third file descriptor is the socket.
Environment="BOUND_SOCKETS=3|*|{{ socket }}|UNIX|*"
ExecStart=/usr/bin/perl {{ server }} {{ tier }} {{ release }}/app/{{ set.application }} \\
  {{ socket }} {{ processes }} {{ set.timeout_s }}
ExecReload=/bin/kill -HUP $MAINPID
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
UMask=0077

[Install]
WantedBy=multi-user.target
"""

# A process takes one request: more wait here.
TLS_CONFIG = """\
# Written by nospof.
global
    log stdout format short daemon
    maxconn {{ open_files // 4 }}
    ssl-load-extra-files key
    ssl-load-extra-del-ext
    ssl-default-bind-options ssl-min-ver TLSv1.3
    hard-stop-after {{ set.timeout_s }}s

defaults
    mode http
    log global
    option dontlognull
    option dontlog-normal
    option idle-close-on-response
    # Starman closes after each answer; callers keep their connections.
    option http-server-close
    timeout connect 5s
    timeout server {{ set.timeout_s + 5 }}s
    timeout client {{ set.timeout_s + 5 }}s
    timeout http-request 10s
    timeout http-keep-alive {{ keep_alive_s }}s

frontend callers
    bind {{ here.host.address }}:{{ set.port }} ssl crt {{ tls.certificate }} ca-file {{ tls.ca }} verify required
    default_backend application

backend application
    retries 0
    server starman unix@{{ socket }}
"""

TLS_UNIT = """\
# Written by nospof.
[Unit]
Description=Encrypted connections to application {{ tier }}
After=network-online.target nospof-{{ tier }}.socket
StartLimitIntervalSec=0

[Service]
Type=notify
User={{ web_user }}
Group={{ web_user }}
RuntimeDirectory=nospof-{{ tier }}-tls
ExecStart=/usr/sbin/haproxy -Ws -p /run/nospof-{{ tier }}-tls/pid -f {{ config }}
ExecReload=/usr/sbin/haproxy -c -q -f {{ config }}
ExecReload=/bin/kill -USR2 $MAINPID
KillSignal=SIGUSR1
KillMode=mixed
SuccessExitStatus=143
TimeoutStopSec={{ set.timeout_s + 5 }}
Restart=always
RestartSec=100ms
LimitNOFILE={{ open_files }}
{{ hardening }}

[Install]
WantedBy=multi-user.target
"""
