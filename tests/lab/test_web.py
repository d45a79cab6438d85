"""Apache beside nginx, with PHP, Perl, ASGI, WSGI on other hosts and a folder: both answer alike, and no change fails anybody.

Beside them a pair of Varnish before an application of its own, which is called over the network.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_site import LiveSite

from nospof.lab.machine import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")]

LAMP = Path(__file__).parents[2] / "examples" / "lamp"
PERL = Path(__file__).parents[1] / "data" / "perl-application"
# One web server of each kind, on hosts that are otherwise the same: a load balancer cannot tell.
STACK = """\
name: both
domain: both.example.com
hosts:
  lb1: {zone: a}
  web1: {zone: a}
  web2: {zone: b}
  db1: {zone: b}
tiers:
  load-balancer: {component: haproxy, hosts: [lb1], to: [apache, nginx, pages]}
  apache: {component: apache, hosts: [web1], to: [app, docs, live, far, perl]}
  nginx:  {component: nginx, hosts: [web2], to: [app, docs, live, far, perl]}
  pages:  {component: varnish, hosts: [web2, db1], to: kept}
  app:    {component: php-fpm, hosts: [web1, web2], source: ./app, public: public, to: database}
  docs:   {component: static, hosts: [web1, web2], source: ./docs, path: /docs/}
  live:   {component: uvicorn, hosts: [web1, web2], source: ./live, module: "live:app", path: /live/, requirements: ""}
  far:    {component: gunicorn, hosts: [lb1, db1], source: ./far, module: "far:app", path: /far/, requirements: "", static: ""}
  perl:   {component: starman, hosts: [web1, web2], source: ./perl, path: /perl/, processes: 4, static: "", to: database}
  kept:   {component: starman, hosts: [web1, web2], source: ./perl, path: /kept/, processes: 4, static: "", port: 8201}
  database: {component: mariadb, hosts: [db1], mode: single}
"""
# Of twenty visits a second, while two health checks in a row fail; on a busy machine these are late.
NOTICED_WITHIN_VISITS = 20
TOLD = """<?php
$names = explode(' ', 'SCRIPT_NAME PATH_INFO REQUEST_URI QUERY_STRING HTTPS SERVER_PORT HTTP_HOST REMOTE_ADDR HTTP_PROXY');
echo json_encode(array_map(fn ($name) => $_SERVER[$name] ?? '', array_combine($names, $names)) + ['code' => __DIR__]);
"""
LIVE = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = f"{scope['root_path']} {scope['path']} {scope['client'][0]} {scope['scheme']}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})
"""
FAR = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['SCRIPT_NAME']} {environ['PATH_INFO']} {environ['HTTP_HOST']}".encode()]
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSite]:
    example = tmp_path_factory.mktemp("example")
    files = {
        "stack.yaml": STACK,
        "docs/index.html": "<h1>the front page of docs</h1>",
        "docs/deep/index.html": "deep",
        "docs/.hidden": "nobody sees this",
        "live/live.py": LIVE,
        "far/far.py": FAR,
    }
    shutil.copytree(PERL, example / "perl")
    for name, text in files.items():
        (example / name).parent.mkdir(parents=True, exist_ok=True)
        (example / name).write_text(text)
    live = LiveSite(tmp_path_factory.mktemp("both") / "both", example=LAMP)
    for path in sorted(example.rglob("*")):
        if path.is_file():
            target = live.folder / path.relative_to(example)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(path.read_text().replace("name: both", f"name: {live.name}"))
    public = live.folder / "app/public"
    (public / "told.php").write_text(TOLD)
    (public / "shop").mkdir()
    (public / "shop/index.php").write_text(TOLD)
    (public / ".env").write_text("SECRET=1")
    try:
        live.nospof("up")
        live.settled_status()
        yield live
    finally:
        live.down()


def asked(site: LiveSite, host: str, path: str, *more: str, port: int = 8443) -> tuple[int, str]:
    """(status, body) of what the web server of `host` answers the load balancer."""
    tls = "/etc/nospof/tls"
    proof = f"--cacert {tls}/ca.pem --cert {tls}/load-balancer.crt --key {tls}/load-balancer.key"
    said = " ".join([*(f"--header '{name}: {value}'" for name, value in HEADERS.items()), *more])
    script = f"curl -sS --path-as-is --max-time 20 {proof} {said} --write-out '\\n%{{http_code}}' 'https://{host}:{port}{path}'"
    body, _, status = site.on("lb1", "sh", "-c", script).rpartition("\n")
    return int(status), body


HEADERS = {
    "Host": "both.example.com",
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Port": "443",
    "Proxy": "http://203.0.113.66",
}


# --- alike --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/style.css", 200, ":root"),
        ("/told.php", 200, "told.php"),
        ("/told.php/a/b?x=1", 200, '"PATH_INFO":"\\/a\\/b"'),
        ("/shop/", 200, '"SCRIPT_NAME":"\\/shop\\/index.php"'),
        ("/shop", 301, ""),
        ("/no-such.php", 404, "There is no such page"),
        ("/a%2Fb%20c", 404, "There is no such page"),
        ("/.env", 404, ""),
        ("/api/entries/none", 404, "absent"),
        ("/docs", 301, ""),
        ("/docs/", 200, "the front page of docs"),
        ("/docs/deep/", 200, "deep"),
        ("/docs/none", 404, ""),
        ("/docs/.hidden", 404, ""),
        ("/docs/health", 200, "ok"),
        ("/live/x?y=1", 200, "/live /live/x 203.0.113.9 https"),
        ("/far/x", 200, "/far /x both.example.com"),
        ("/perl/words/none", 404, "{}"),
        ("/perl/told", 200, '"REMOTE_ADDR":"203.0.113.9"'),
    ],
)
def test_two_web_servers_answer_alike(site: LiveSite, path: str, status: int, text: str) -> None:
    answers = {host: asked(site, host, path) for host in ("web1", "web2")}

    assert {answer[0] for answer in answers.values()} == {status}, answers
    assert all(text in answer[1] for answer in answers.values()), answers
    assert not any("SECRET" in body or "nobody sees this" in body or "<?php" in body for _, body in answers.values())


def test_nothing_above_the_public_folder_is_given(site: LiveSite) -> None:
    for path in ("/../src/Database.php", "/%2e%2e/src/Database.php", "/shop/../../src/Database.php"):
        for host in ("web1", "web2"):
            status, body = asked(site, host, path)
            assert status in (400, 404), (host, path)
            assert "<?php" not in body


def test_script_is_told_of_the_visitor_as_if_nobody_stood_between(site: LiveSite) -> None:
    for host in ("web1", "web2"):
        told = json.loads(asked(site, host, "/told.php?q=%2F")[1])
        assert told == {
            "SCRIPT_NAME": "/told.php", "PATH_INFO": "", "REQUEST_URI": "/told.php?q=%2F", "QUERY_STRING": "q=%2F",
            "HTTPS": "on", "SERVER_PORT": "443", "HTTP_HOST": "both.example.com", "REMOTE_ADDR": "203.0.113.9",
            "HTTP_PROXY": "", "code": "/srv/nospof/app/running/public",
        }, host  # fmt: skip


def test_nobody_without_a_certificate_of_the_stack_is_answered(site: LiveSite) -> None:
    for host in ("web1", "web2"):
        site.on("lb1", "sh", "-c", f"! curl --fail -sk --max-time 5 https://{host}:8443/style.css")


# --- the application ----------------------------------------------------------------------------------------------------
def test_written_entry_is_read_back_and_what_people_write_stays_text(site: LiveSite) -> None:
    token = secrets.token_hex(8)
    body = {"name": "<i>somebody</i>", "message": f"<script>{token}</script>", "token": token}
    assert site.ask("/api/entries", json.dumps(body).encode())[0] == 201
    assert site.ask("/api/entries", json.dumps(body).encode())[0] == 200, "the same token again is the same entry"
    assert site.has_entry(token)
    status, page = site.ask("/")
    assert status == 200
    assert f"&lt;script&gt;{token}&lt;/script&gt;" in page
    assert f"<script>{token}" not in page


def test_ready_tells_of_the_database(site: LiveSite) -> None:
    status, said = site.ask("/ready")
    assert status == 200
    assert json.loads(said)["database-write"]["server"] == {"name": "db1", "role": "primary"}


def test_perl_is_told_of_the_visitor_as_if_nobody_stood_between(site: LiveSite) -> None:
    for host in ("web1", "web2"):
        told = json.loads(asked(site, host, "/perl/told?q=%2F")[1])
        assert told | {"pid": 0} == {
            "SCRIPT_NAME": "/perl", "PATH_INFO": "/told", "QUERY_STRING": "q=%2F", "REMOTE_ADDR": "203.0.113.9",
            "SERVER_PORT": "443", "HTTP_HOST": "both.example.com", "psgi.url_scheme": "https", "release": 1, "pid": 0,
        }, host  # fmt: skip


def test_perl_keeps_words_in_the_database_over_tls(site: LiveSite) -> None:
    token = secrets.token_hex(8)
    ready = json.loads(site.ask("/perl/ready")[1])["database"]
    assert ready["name"] == "db1"
    assert ready["cipher"].startswith("TLS_"), ready
    assert site.ask(f"/perl/words/{token}", b"")[0] == 201
    assert site.ask(f"/perl/words/{token}") == (200, f'{{"token":"{token}"}}\n')


# --- changes and losses -------------------------------------------------------------------------------------------------
def test_new_release_reaches_every_host_and_fails_nobody(site: LiveSite) -> None:
    site.edit("</body>", "<!-- a new release --></body>", "app/templates/base.php")
    site.edit("release => 1", "release => 2", "perl/app.psgi")
    with site.visited() as failed, site.visited(path="/perl/slow") as of_perl, site.visited(path="/kept/slow") as of_kept:
        site.nospof("up")
    assert failed == of_perl == of_kept == []
    for host in ("web1", "web2"):
        assert "a new release" in asked(site, host, "/")[1], host
        assert '"release":2' in asked(site, host, "/perl/told")[1], host


@pytest.mark.long
def test_application_that_does_not_run_is_taken_back(site: LiveSite) -> None:
    """PHP reads a script when it is asked for it: until the load balancer has noticed, some visitors are answered by it."""
    site.edit("declare(strict_types=1);", "declare(strict_types=1); this is no PHP;", "app/public/index.php")
    try:
        with site.visited() as failed:
            said = site.nospof("up", code=1)
    finally:
        site.edit(" this is no PHP;", "", "app/public/index.php")
    assert "/health answered 500" in said
    assert "what was there before is back" in said
    assert {visit.rpartition(": ")[2] for visit in failed} <= {"status 500"}
    assert len(failed) <= NOTICED_WITHIN_VISITS, failed
    site.nospof("up")


def test_another_host_is_tried_when_one_application_is_gone(site: LiveSite) -> None:
    site.on("db1", "systemctl", "stop", "nospof-far.socket", "nospof-far.service")
    try:
        for host in ("web1", "web2"):
            assert {asked(site, host, f"/far/{number}")[0] for number in range(6)} == {200}, host
    finally:
        site.on("db1", "systemctl", "start", "nospof-far.socket", "nospof-far.service")


def test_host_that_lost_its_way_to_the_database_says_so(site: LiveSite) -> None:
    """Its pages would fail, and another host's do not."""
    assert asked(site, "web1", "/health")[0] == 200
    site.on("web1", "systemctl", "stop", "nospof-database-router.service")
    try:
        assert wait_until(lambda: asked(site, "web1", "/health")[0] == 503, 5)
        assert asked(site, "web2", "/health")[0] == 200
        with site.visited() as failed:
            wait_until(lambda: len(failed) > 0, 3)
        assert failed == []
    finally:
        site.on("web1", "systemctl", "start", "nospof-database-router.service")
    assert wait_until(lambda: asked(site, "web1", "/health")[0] == 200, 10)


def test_host_that_finds_the_database_by_name_no_more_says_so(site: LiveSite) -> None:
    site.on("web1", "cp", "-p", "/etc/hosts", "/root/hosts")
    site.on("web1", "sh", "-c", "echo 127.0.0.1 localhost >/etc/hosts")
    try:
        assert wait_until(lambda: asked(site, "web1", "/health")[0] == 503, 5)
        assert "the name database is not found" in asked(site, "web1", "/health")[1]
    finally:
        site.on("web1", "cp", "-p", "/root/hosts", "/etc/hosts")
    assert wait_until(lambda: asked(site, "web1", "/health")[0] == 200, 10)


def test_killed_process_of_perls_is_replaced(site: LiveSite) -> None:
    def processes() -> list[str]:
        return site.on("web1", "sh", "-c", "pgrep -f '^starman worker perl' || true").split()

    assert wait_until(lambda: len(processes()) == 4, 20)
    pid = processes()[0]
    site.on("web1", "kill", "-KILL", pid)
    assert wait_until(lambda: len(processes()) == 4 and pid not in processes(), 20)
    assert asked(site, "web1", "/perl/told")[0] == 200


# --- pages that are kept ------------------------------------------------------------------------------------------------
def kept(site: LiveSite, path: str = "/kept/long", host: str = "web2", *more: str) -> str:
    """How the cache of `host` came by its answer, which must be good: hit, miss or stale."""
    proof = "--cacert /etc/nospof/tls/ca.pem --cert /etc/nospof/tls/load-balancer.crt --key /etc/nospof/tls/load-balancer.key"
    headers = "--header 'Host: both.example.com' --header 'X-Forwarded-For: 203.0.113.9'"
    words = " ".join(f"'{word}'" for word in more)
    script = f"curl -sS --fail --max-time 20 -o /dev/null -D - {proof} {headers} {words} 'https://{host}:6443{path}'"
    found = re.search(r"(?im)^x-cache: (\w+)", site.on("lb1", "sh", "-c", script))
    assert found, (host, path)
    return found[1]


def is_well(site: LiveSite, host: str) -> bool:
    """What the cache of `host` tells the load balancer of the application's health; False also where nobody listens."""
    try:
        return asked(site, host, "/kept/health", port=6443)[0] == 200
    except AssertionError:
        return False


def test_page_is_made_once_and_then_kept(site: LiveSite) -> None:
    for host in ("web2", "db1"):
        kept(site, host=host)
        assert kept(site, host=host) == "hit", host
        assert kept(site, "/kept/long", host, "--header", "Cookie: session=1") == "miss", "it may be somebody's own"
        assert kept(site, "/kept/long", host, "--header", "Authorization: Basic eDp5") == "miss"
    # By the name that visitors use here it is another page.
    assert wait_until(lambda: site.answer("/kept/long")[1]["X-Cache"] == "hit", 20)
    assert "Age" in site.answer("/kept/long")[1]


def test_hosts_of_the_stack_purge_a_page_everywhere_and_nobody_else(site: LiveSite) -> None:
    vip = site.deployment().topology.vips[0].address
    name = f"{site.name}.localhost"
    assert site.answer("/kept/long", "PURGE")[0] == 403
    purge = (
        f"curl -sS --max-time 20 --cacert /etc/nospof/tls/ca.pem -X PURGE -H 'Host: both.example.com' https://{name}/kept/long"
    )
    for host in ("web2", "db1"):
        kept(site, host=host)
        assert kept(site, host=host) == "hit", host

    assert site.on("web1", "sh", "-c", f"{purge} --resolve {name}:443:{vip}") == "200 Purged"

    assert [kept(site, host=host) for host in ("web2", "db1")] == ["miss", "miss"]


def test_killed_cache_fails_nobody(site: LiveSite) -> None:
    with site.visited(path="/kept/told") as failed, site.visited(path="/kept/slow") as slow:
        for host, unit in (("web2", "varnish.service"), ("db1", "nospof-varnish-links.service")):
            site.on(host, "systemctl", "kill", "--signal=KILL", unit)
            wait_until(lambda: len(failed) + len(slow) > 0, 2)
            assert wait_until(lambda host=host: is_well(site, host), 60), host
    assert failed == slow == []


def test_kept_pages_are_shown_while_no_application_answers(site: LiveSite) -> None:
    for host in ("web2", "db1"):
        kept(site, "/kept/told", host)
    units = "nospof-kept.socket nospof-kept.service"
    try:
        with site.visited(path="/kept/told") as failed:
            for host in ("web1", "web2"):
                site.on(host, "sh", "-c", f"systemctl stop {units}")
            assert wait_until(lambda: site.answer("/kept/told")[1]["X-Cache"] == "stale", 20)
            wait_until(lambda: len(failed) > 0, 3)
        assert failed == []
        assert site.ask("/kept/words/none")[0] == 503, "of what was never seen nothing is kept"
        assert not is_well(site, "web2")
    finally:
        for host in ("web1", "web2"):
            site.on(host, "sh", "-c", f"systemctl start {units}")
    assert wait_until(lambda: site.answer("/kept/told")[1]["X-Cache"] != "stale", 30)


def test_dark_host_with_a_cache_and_an_application_fails_nobody(site: LiveSite) -> None:
    site.settled_status()
    with site.visited(path="/kept/told") as failed, site.visited(path="/kept/slow") as slow:
        site.nospof("lab off", "web2")
        wait_until(lambda: len(failed) > 0, 5)
    site.nospof("lab on", "web2")
    assert failed == []
    # The host may have had one in its hands, which nobody can answer any more; none that began later meets it.
    assert len(slow) <= 1
    site.settled_status(limit_s=180)


def test_one_word_of_the_file_changes_the_web_server_and_fails_nobody(site: LiveSite) -> None:
    """The old one holds the port that the new one needs."""
    site.edit("apache: {component: apache,", "apache: {component: nginx,")
    with site.visited() as failed:
        site.nospof("up")
    assert failed == []
    assert site.on("web1", "systemctl", "is-active", "nginx.service") == "active"
    assert asked(site, "web1", "/told.php")[0] == 200
    assert "nothing to change" in site.nospof("up")
