"""What nginx is told: whom it hands requests to, what it serves itself, whom it believes."""

import re
from dataclasses import replace

import pytest
from pydantic import ValidationError
from tests.unit.components.web_stacks import app, balancer, folder, parts, php, tier, topology

from nospof.component import OnChange
from nospof.stack.model import Tier
from nospof.topology import Topology


def web(*to: str, **settings: object) -> Tier:
    return tier("web", "nginx", ["web1", "web2"], to, **settings)


def config(graph: Topology, host: str = "web1") -> str:
    return next(file.text for file in parts(graph, host).files if file.path == "/etc/nginx/nginx.conf")


def block(text: str, begin: str) -> str:
    """The block that begins with `begin`, with its braces."""
    start = text.index(begin)
    depth = 0
    for at, char in enumerate(text[start:], start):
        depth += {"{": 1, "}": -1}.get(char, 0)
        if char == "}" and depth == 0:
            return text[start : at + 1]
    raise AssertionError(f"{begin} does not end")


def servers(text: str) -> list[str]:
    return [block(text[match.start() :], "server {") for match in re.finditer(r"^    server \{", text, re.MULTILINE)]


# --- upstreams ----------------------------------------------------------------------------------------------------------
def test_an_application_beside_it_is_reached_by_its_socket_alone() -> None:
    text = config(topology(balancer(), web("app"), app()))

    assert "server unix:/run/nospof/app/http.sock max_fails=0;" in block(text, "upstream app")
    assert "proxy_pass http://app;" in block(text, "location / {")


def test_each_request_over_a_socket_has_a_connection_of_its_own() -> None:
    """A connection kept open may end with the process behind it just when a POST is sent."""
    assert "keepalive" not in block(config(topology(balancer(), web("app"), app())), "upstream app")


def test_applications_elsewhere_are_reached_with_certificates_on_both_sides() -> None:
    graph = topology(balancer(), web("app"), app(hosts=("x1", "x2")))
    text = config(graph)

    upstream = block(text, "upstream app")
    for host in ("x1", "x2"):
        assert f"server {graph.host(host).address}:8000 max_fails=1 fail_timeout=1s;" in upstream
    assert "keepalive 32;" in upstream
    location = block(text, "location / {")
    assert "proxy_pass https://$to_app;" in location
    # The tier is a name in each of its certificates.
    assert "proxy_ssl_name app;" in location
    assert "proxy_connect_timeout 500ms;" in location
    assert {"proxy_ssl_verify on;", "proxy_ssl_certificate /etc/nospof/tls/web.crt;"} <= {
        line.strip() for line in text.splitlines()
    }


def test_an_application_beside_it_that_is_about_to_change_is_said_to_be_ill() -> None:
    text = config(topology(balancer(), web("app"), app(path="/board/")))

    health = block(text, "location = /board/health")
    assert "set $drained /run/nospof-draining/app;" in block(health, "if ($http_user_agent = nospof-health)")
    assert "return 503;" in block(health, "if (-d $drained)")
    assert "proxy_pass http://app;" in health
    # Elsewhere no mark of this host's says anything of it.
    assert "nospof-draining" not in config(topology(balancer(), web("app"), app(hosts=("x1", "x2"))))


def test_health_that_lies_below_another_application_is_asked_there() -> None:
    """Two locations for one path would be refused, and nothing of the site would change any more."""
    both = config(topology(balancer(), web("app", "board"), app(health="/board/health"), app("board", path="/board/")))

    assert both.count("location = /board/health") == 1
    assert "proxy_pass http://board;" in block(both, "location = /board/health")


def test_what_must_not_be_sent_twice_goes_over_connections_of_its_own() -> None:
    """Incident: a POST met a kept connection that the application was just closing, and its visitor got a 502."""
    text = config(topology(balancer(), web("my-app"), app("my-app", hosts=("x1", "x2"))))

    once = block(text, "upstream my-app.once")
    assert "keepalive" not in once
    assert re.findall("server .*", once) == re.findall("server .*", block(text, "upstream my-app {"))
    assert "~^(POST|PATCH|LOCK)$ my-app.once;" in block(text, "map $request_method $to_my_app")


def test_a_single_server_is_never_set_aside() -> None:
    graph = topology(balancer(), web("app"), app(hosts=("x1",)))

    assert f"{graph.host('x1').address}:8000 max_fails=0;" in block(config(graph), "upstream app")
    # It may be restarting: nobody else can be asked meanwhile.
    assert "proxy_connect_timeout 5s;" in block(config(graph), "location / {")


def test_when_all_have_just_failed_they_are_asked_nevertheless() -> None:
    """Incident: one refused, the other was late for half a second on a busy machine, and then nobody was asked at all."""
    graph = topology(balancer(), web("app"), app(hosts=("x1", "x2")))
    with_spare = topology(balancer(), web("app"), replace(app(hosts=("x1",)), spare=("x2",)))

    for name in ("app", "app.once"):
        upstream = block(config(graph), f"upstream {name}")
        for host in ("x1", "x2"):
            assert f"server {graph.host(host).address}:8000 max_fails=0 backup;" in upstream
    assert "max_fails=0 backup" not in config(with_spare)


def test_a_socket_speaks_tls_once_the_application_is_called_over_the_network_too() -> None:
    """Gunicorn speaks TLS on all its sockets or on none; web2 has no application of its own here."""
    text = config(topology(balancer(), web("app"), app(hosts=("web1", "x1"))))

    assert "unix:/run/nospof/app/http.sock" in text
    assert "proxy_pass https://app;" in text


def test_spare_servers_come_last() -> None:
    spare = replace(app(hosts=("x1",)), spare=("x2",))
    graph = topology(balancer(), web("app"), spare)

    assert f"{graph.host('x2').address}:8000 max_fails=1 fail_timeout=1s backup;" in config(graph)


# --- sites --------------------------------------------------------------------------------------------------------------
def test_two_applications_are_told_apart_by_path() -> None:
    (server,) = servers(config(topology(balancer(), web("app", "blog"), app(), app("blog", path="/blog/", port=8001))))

    assert "proxy_pass http://blog;" in block(server, "location /blog/ {")
    assert "proxy_pass http://app;" in block(server, "location / {")


def test_two_applications_are_told_apart_by_domain_and_the_stacks_is_the_default() -> None:
    blog = app("blog", domain="blog.example.com", port=8001)
    first, second = servers(config(topology(balancer(), web("app", "blog"), app(), blog)))

    assert "server_name blog.example.com;" in first
    assert "default_server" not in first
    assert "server_name shop.example.com;" in second
    assert "default_server" in second


def test_a_domain_without_a_front_page_has_no_other_sites_page() -> None:
    (server,) = servers(config(topology(balancer(), web("blog"), app("blog", path="/blog/"))))

    assert "return 404;" in block(server, "location / {")


def test_static_files_are_served_from_the_release_beside_it_or_by_the_application() -> None:
    static = block(config(topology(balancer(), web("app"), app())), "location ~ ^/static/")

    assert "root /srv/nospof/app/current/app/static;" in static
    assert "try_files /$file @app;" in static


def test_static_files_of_an_application_elsewhere_are_not_looked_for_here() -> None:
    assert "try_files" not in config(topology(balancer(), web("app"), app(hosts=("x1",))))


def test_a_folder_beside_it_is_a_site_without_an_application() -> None:
    graph = topology(balancer(), web("docs"), folder("docs", path="/docs/"))
    site = block(config(graph), "location ^~ /docs/ {")

    assert "root /srv/nospof/docs/current/app;" in site
    assert 'return 200 "ok\\n";' in block(site, "location = /docs/health {")
    assert "return 404;" in block(site, r"location ~ ^/docs/(.*/)?\.(?!well-known/)")
    assert "try_files /$file =404;" in block(site, "location ~ ^/docs/(?<file>")
    assert "upstream docs" not in config(graph)


# --- scripts ------------------------------------------------------------------------------------------------------------
def test_scripts_are_run_beside_it_from_the_folder_that_their_processes_know() -> None:
    site = block(config(topology(balancer(), web("blog"), php("blog", path="/blog/", public="public"))), "location ^~ /blog/ {")
    run = block(site, "location ~ ^/blog/(?<script>")

    assert "root /srv/nospof/blog/current/app/public;" in site
    assert "fastcgi_pass blog;" in run
    assert "fastcgi_param SCRIPT_FILENAME /srv/nospof/blog/running/public/$script;" in run
    assert "fastcgi_param SCRIPT_NAME /blog/$script;" in run
    assert "try_files /$script @blog;" in run, "what is not there is asked of the front script, not of the processes"


def test_no_script_is_ever_served_as_a_file() -> None:
    """The first location that fits is taken: scripts must come before files."""
    text = config(topology(balancer(), web("app"), php()))

    assert text.index(r"(?<script>(?:.*/)?[^/]+\.php)(?<rest>/.*)?$") < text.index("(?<folder>") < text.index("(?<file>.+)$")


def test_front_script_answers_what_is_no_file() -> None:
    text = config(topology(balancer(), web("app"), php()))

    assert "fastcgi_param SCRIPT_FILENAME /srv/nospof/app/running/index.php;" in block(text, "location @app {")
    assert "try_files /$file @app;" in text


def test_without_a_front_script_what_is_no_file_is_absent() -> None:
    text = config(topology(balancer(), web("app"), php(front="")))

    assert "@app" not in text
    assert "try_files /$file =404;" in text


def test_scripts_are_told_of_the_visitors_connection() -> None:
    made = parts(topology(balancer(), web("app"), php()))
    told = next(file.text for file in made.files if file.path == "/etc/nginx/nospof-fastcgi.conf")

    assert "fastcgi_param HTTPS $visitors_https if_not_empty;" in told
    assert "fastcgi_param HTTP_X_WEB_SERVER web1;" in told
    assert 'fastcgi_param HTTP_PROXY "";' in told


def test_without_scripts_nothing_is_said_of_them() -> None:
    made = parts(topology(balancer(), web("app"), app()))

    assert all("fastcgi" not in file.text for file in made.files)


# --- whom it believes ---------------------------------------------------------------------------------------------------
def test_only_the_load_balancers_say_who_the_visitor_is() -> None:
    graph = topology(balancer(), web("app"), app())
    text = config(graph)

    assert re.findall("set_real_ip_from (.*);", text) == [graph.host("lb1").address, graph.host("lb2").address]
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in text


def test_only_holders_of_the_stacks_certificates_are_served() -> None:
    text = config(topology(balancer(), web("app"), app()))

    assert "ssl_verify_client on;" in text
    assert "ssl_client_certificate /etc/nospof/tls/ca.pem;" in text


def test_the_application_learns_which_web_server_it_was() -> None:
    graph = topology(balancer(), web("app"), app())

    assert "proxy_set_header X-Web-Server web1;" in config(graph, "web1")
    assert "proxy_set_header X-Web-Server web2;" in config(graph, "web2")


def test_nobody_calls_so_nothing_listens() -> None:
    text = config(topology(web("app"), app()))

    assert "listen" not in text
    assert parts(topology(web("app"), app())).healthy_when == ()


def test_it_listens_on_its_hosts_own_address() -> None:
    graph = topology(balancer(), web("app", port=9443), app())

    assert f"listen {graph.host('web1').address}:9443 ssl default_server;" in config(graph)


# --- the unit and the rest ----------------------------------------------------------------------------------------------
def test_a_change_is_a_reload_that_lets_requests_end() -> None:
    made = parts(topology(balancer(), web("app", drain_s=20), app()))
    (unit,) = made.units

    assert (unit.name, unit.on_change) == ("nginx.service", OnChange.RELOAD)
    assert unit.drop_in is not None
    assert "KillSignal=SIGQUIT" in unit.drop_in
    assert "TimeoutStopSec=25" in unit.drop_in
    assert "worker_shutdown_timeout 20s;" in config(topology(balancer(), web("app", drain_s=20), app()))


def test_each_site_is_asked_for_its_health_the_way_visitors_come() -> None:
    graph = topology(balancer(), web("app", "blog"), app(), app("blog", domain="blog.example.com", path="/b/", port=8001))
    asked = {(probe.argv[-2], probe.argv[-1]) for probe in parts(graph).healthy_when}
    address = graph.host("web1").address

    assert asked == {
        ("Host: shop.example.com", f"https://{address}:8443/health"),
        ("Host: blog.example.com", f"https://{address}:8443/b/health"),
    }


def test_keys_are_tokens() -> None:
    made = parts(topology(balancer(), web("app"), app()))
    key = next(file for file in made.files if file.path == "/etc/nospof/tls/web.key")

    assert (key.text, key.mode, key.user) == ("\x02key:web/web1\x03", 0o400, "www-data")


def test_the_same_stack_gives_the_same_bytes() -> None:
    graphs = [topology(balancer(), web("app", "blog", "docs"), app(), app("blog", port=8001), folder("docs")) for _ in range(2)]

    assert parts(graphs[0]) == parts(graphs[1])


def test_two_sites_at_one_place_still_give_a_configuration_nginx_reads() -> None:
    (server,) = servers(config(topology(balancer(), web("app", "blog"), app(), app("blog", port=8001))))

    assert server.count("location / {") == 1


@pytest.mark.parametrize("settings", [{"port": 443}, {"answer_s": 0}, {"source": "site"}])
def test_settings_that_would_break_the_configuration_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        web("app", **settings)
