# A small Perl application for tests: it says what it is told, and keeps words in the database.
use strict;
use warnings;
use JSON::XS;
use Small::Words;

my %pages = (
    '/health' => sub { (200, { well => JSON::XS::true }) },
    '/ready' => sub { (200, { database => Small::Words::server() }) },
    '/told' => sub {
        my ($env) = @_;
        my @names = qw(SCRIPT_NAME PATH_INFO QUERY_STRING REMOTE_ADDR SERVER_PORT HTTP_HOST psgi.url_scheme);
        return (200, { pid => $$, release => 1, map { $_ => $env->{$_} // '' } @names });
    },
    '/long' => sub { (200, {}) },
    '/slow' => sub { sleep 1; (200, {}) },
);

sub words {
    my ($env) = @_;
    my ($token) = $env->{PATH_INFO} =~ m{\A/words/([0-9a-z]{1,64})\z} or return (404, {});
    if ($env->{REQUEST_METHOD} eq 'POST') {
        Small::Words::write($token);
        return (201, {});
    }
    return Small::Words::has($token) ? (200, { token => $token }) : (404, {});
}

sub {
    my ($env) = @_;
    my $page = $pages{ $env->{PATH_INFO} } // \&words;
    my ($status, $said) = eval { $page->($env) };
    ($status, $said) = (503, { error => "$@" }) if $@;
    my %kept_s = ('/told' => 1, '/long' => 600);
    my $kept_s = $kept_s{ $env->{PATH_INFO} };
    my @kept = $kept_s ? ('Cache-Control' => "max-age=$kept_s") : ();
    return [$status, ['Content-Type' => 'application/json', @kept], [encode_json($said) . "\n"]];
};
