"""What Apache is told: whom it hands requests to, what it serves itself, whom it believes."""

import re
from dataclasses import replace

import pytest
from pydantic import ValidationError
from tests.unit.components.web_stacks import app, balancer, folder, parts, php, tier, topology

from nospof.component import OnChange
from nospof.stack.model import Tier
from nospof.topology import Topology


def web(*to: str, component: str = "apache", **settings: object) -> Tier:
    return tier("web", component, ["web1", "web2"], to, **settings)


def config(graph: Topology, host: str = "web1") -> str:
    return next(file.text for file in parts(graph, host).files if file.path == "/etc/apache2/nospof.conf")


def virtual_hosts(text: str) -> list[str]:
    return re.findall(r"<VirtualHost .*?</VirtualHost>", text, re.DOTALL)


def site(text: str, path: str) -> str:
    """What a virtual host says of the site at `path`."""
    return re.split(r"\n    # /", text.partition(f"\n    # {path}: ")[2])[0]


# --- who answers --------------------------------------------------------------------------------------------------------
def test_an_application_beside_it_is_reached_by_its_socket_a_connection_per_request() -> None:
    text = config(topology(balancer(), web("app"), app()))

    assert '"unix:/run/nospof/app/http.sock|http://app/"' in text
    assert "nocanon disablereuse=On" in text
    assert "balancer://" not in text


def test_applications_elsewhere_are_a_balancer_that_tries_the_next_at_once() -> None:
    graph = topology(balancer(), web("app"), app(hosts=("x1", "x2")))
    text = config(graph)

    for host in ("x1", "x2"):
        assert f'BalancerMember "https://{graph.host(host).address}:8000"' in text
    assert text.count("connectiontimeout=500ms retry=1") == 2
    assert 'ProxyPass "/" "balancer://app/" nocanon' in text


def test_applications_elsewhere_show_a_certificate_and_are_shown_one() -> None:
    made = parts(topology(balancer(), web("app"), app(hosts=("x1", "x2"))))
    text = next(file.text for file in made.files if file.path == "/etc/apache2/nospof.conf")
    both = next(file for file in made.files if file.path == "/etc/nospof/tls/web.both.pem")

    assert "SSLProxyVerify require" in text
    assert "SSLProxyMachineCertificateFile /etc/nospof/tls/web.both.pem" in text
    assert both.text == "\x02certificate:web/web1\x03\x02key:web/web1\x03"
    assert (both.mode, both.user) == (0o400, "www-data")


def test_an_application_beside_it_that_is_about_to_change_is_said_to_be_ill() -> None:
    text = site(config(topology(balancer(), web("app"), app(path="/board/"))), "/board/")

    asked = (
        'RewriteCond "%{HTTP_USER_AGENT}" "=nospof-health"\n    RewriteCond "/run/nospof-draining/app" -d\n'
        '    RewriteRule "^/board/health$" - [R=503,END]'
    )
    assert text.index(asked) < text.index('RewriteRule "^/board/" - [END]')
    assert "nospof-draining" not in config(topology(balancer(), web("app"), app(hosts=("x1", "x2"))))


def test_a_single_server_is_never_set_aside() -> None:
    assert "connectiontimeout=5 retry=0" in config(topology(balancer(), web("app"), app(hosts=("x1",))))


def test_spare_servers_come_last() -> None:
    text = config(topology(balancer(), web("app"), replace(app(hosts=("x1",)), spare=("x2",))))

    members = re.findall(r'BalancerMember "https://(.*?)".*?(?:\n    #|\n</Proxy>)', text, re.DOTALL)
    assert len(members) == 2
    assert text.count("status=+H") == 1
    assert text.index("status=+H") > text.index("# x2")


# --- scripts and folders ------------------------------------------------------------------------------------------------
def test_scripts_that_are_there_are_run_beside_it_under_the_path_their_processes_know() -> None:
    blog = site(config(topology(balancer(), web("blog"), php("blog", path="/blog/", public="public"))), "/blog/")

    assert 'Alias "/blog/" "/srv/nospof/blog/current/app/public/"' in blog
    assert '<If "-f %{REQUEST_FILENAME}">' in blog
    assert 'SetHandler "proxy:unix:/run/nospof/blog/http.sock|fcgi://blog/"' in blog
    assert 'SCRIPT_FILENAME "/srv/nospof/blog/running/public$1"' in blog


def test_front_script_answers_what_is_no_file() -> None:
    text = site(config(topology(balancer(), web("app"), php())), "/")

    assert 'DocumentRoot "/srv/nospof/app/current/app"' in text
    assert 'RewriteCond "/srv/nospof/app/current/app/$1" !-f' in text
    assert 'RewriteRule "^/(.*)$" "/index.php" [PT,NS,END]' in text
    assert "/index.php" not in config(topology(balancer(), web("app"), php(front="")))


def test_hidden_files_are_absent() -> None:
    for made in (topology(balancer(), web("app"), php()), topology(balancer(), web("app"), folder("app"))):
        assert r'RewriteRule "^/(.*/)?\.(?!well-known/)" - [R=404,END]' in config(made)


def test_path_that_php_would_take_for_the_script_is_not_told() -> None:
    """Incident: /index.php/a/b was refused, since PHP looked for the script a/b."""
    assert "ProxyFCGISetEnvIf true !PATH_TRANSLATED" in config(topology(balancer(), web("app"), php()))


def test_a_folder_beside_it_is_a_site_without_an_application() -> None:
    docs = site(config(topology(balancer(), web("docs"), folder("docs", path="/docs/"))), "/docs/")

    assert docs.index('Alias "/docs/health"') < docs.index('Alias "/docs/" "/srv/nospof/docs/current/app/"')
    assert "SetHandler" not in docs


def test_static_files_come_from_the_release_beside_it_or_from_the_application() -> None:
    text = config(topology(balancer(), web("app"), app()))

    assert 'RewriteCond "/srv/nospof/app/current/app/static/$1" -f' in text
    assert '"/srv/nospof/app/current/app/static/$1" [END]' in text
    assert "static" not in config(topology(balancer(), web("app"), app(hosts=("x1",)))).partition("<VirtualHost")[2]


# --- several sites ------------------------------------------------------------------------------------------------------
def test_rules_of_one_site_do_not_reach_another() -> None:
    text = config(topology(balancer(), web("app", "blog"), php(), app("blog", path="/blog/", port=8001)))

    # A rule that ends the rules for its path stands before the front page's, whose path is everybody's beginning.
    assert text.index('RewriteRule "^/blog/" - [END]') < text.index("# /: app")


def test_applications_are_told_apart_by_domain_and_the_stacks_is_the_default() -> None:
    blog = app("blog", domain="blog.example.com", port=8001)
    first, second = virtual_hosts(config(topology(balancer(), web("app", "blog"), app(), blog)))

    # Apache takes the first for names that nobody knows.
    assert "ServerName https://shop.example.com:443" in first
    assert "ServerName https://blog.example.com:443" in second


def test_a_domain_without_a_front_page_has_no_other_sites_page() -> None:
    (only,) = virtual_hosts(config(topology(balancer(), web("blog"), app("blog", path="/blog/"))))

    assert only.rstrip().splitlines()[-2].strip() == 'RewriteRule "^" - [R=404,END]'


# --- whom it believes ---------------------------------------------------------------------------------------------------
def test_only_the_load_balancers_say_who_the_visitor_is() -> None:
    graph = topology(balancer(), web("app"), app())
    text = config(graph)

    assert re.findall("RemoteIPInternalProxy (.*)", text) == [graph.host("lb1").address, graph.host("lb2").address]
    assert "RequestHeader set X-Forwarded-For expr=%{REMOTE_ADDR}" in text
    assert "RequestHeader unset X-Forwarded-Ssl" in text


def test_only_holders_of_the_stacks_certificates_are_served() -> None:
    text = config(topology(balancer(), web("app"), app()))

    assert "SSLVerifyClient require" in text
    assert "SSLCACertificateFile /etc/nospof/tls/ca.pem" in text


def test_nobody_calls_so_nothing_listens() -> None:
    made = topology(web("app"), app())

    assert "Listen" not in config(made).replace("ListenBacklog", "")
    assert parts(made).healthy_when == ()


# --- the unit and the rest ----------------------------------------------------------------------------------------------
def test_a_change_is_a_reload_that_lets_requests_end() -> None:
    (unit,) = parts(topology(balancer(), web("app", drain_s=20), app())).units

    assert (unit.name, unit.on_change) == ("apache2.service", OnChange.RELOAD)
    assert unit.drop_in is not None
    assert "ExecReload=/bin/kill -USR1 $MAINPID" in unit.drop_in
    assert "KillSignal=SIGWINCH" in unit.drop_in
    assert "TimeoutStopSec=25" in unit.drop_in


def test_old_processes_that_drain_leave_room_for_new_ones() -> None:
    said = dict(
        re.findall(r"^(ServerLimit|StartServers|ThreadsPerChild|MaxRequestWorkers) (\d+)$", config(TYPICAL), re.MULTILINE)
    )

    assert int(said["MaxRequestWorkers"]) == int(said["StartServers"]) * int(said["ThreadsPerChild"])
    assert int(said["ServerLimit"]) >= 2 * int(said["StartServers"])


def test_it_is_asked_for_each_sites_health_as_nginx_is() -> None:
    """The one word `component` is all that differs between two stacks."""
    tiers = (balancer(), app(), app("blog", domain="blog.example.com", path="/b/", port=8001))
    probes = [
        parts(topology(*tiers, web("app", "blog", component=component))).healthy_when for component in ("apache", "nginx")
    ]

    assert probes[0] == probes[1]
    assert len(probes[0]) == 2


@pytest.mark.parametrize("settings", [{"port": 443}, {"answer_s": 0}, {"sites": "x"}])
def test_settings_that_would_break_the_configuration_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        web("app", **settings)  # type: ignore[arg-type]


TYPICAL = topology(balancer(), web("app"), app())
