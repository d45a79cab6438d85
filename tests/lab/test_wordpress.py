"""WordPress as Debian packages it, set up from the how-to's own text: what is published stays, whatever host is lost.

The how-to's commands fetch it; where Debian's mirror cannot be reached, there is nothing to be tried.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.client import HTTPException
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from live_site import LiveSite

from nospof.lab.machine import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")]

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/run-wordpress.md").read_text()
# Six hosts: the second load balancer is the witness too.
FEWER = (("  lb2: {zone: b}\n", "  lb2: {zone: c}\n"), ("  w1: {zone: c}\n", ""), ("witness: w1", "witness: lb2"))
PASSWORD = "a-Trial-of-31-words"
# Of visits one after the other: one that is under way, and those begun before the dark host is replaced.
FEW = 10
# Visits that a killed load balancer refuses, twenty a second: others' work makes it late to be noticed.
REFUSED = 60
ONE_PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)
CONNECT = """
mysqli_report(MYSQLI_REPORT_OFF);
[$host, $user, $password, $port] = array_map(fn ($what) => getenv("DATABASE_$what"), ['HOST', 'USER', 'PASSWORD', 'PORT']);
$connection = mysqli_init();
$is_open = @$connection->real_connect($host, $user, $password, null, (int) $port, null, FLAGS);
echo $is_open ? $connection->query("SHOW STATUS LIKE 'Ssl_cipher'")->fetch_row()[1] : 'refused';
"""


def told(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def named(name: str) -> str:
    """The file `name` that the page shows."""
    found = re.search(rf"`{re.escape(name)}`.*?^```\w+\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found, name
    return found[1]


def set_up(folder: Path) -> None:
    """Do what the page says, up to `nospof up`."""
    if subprocess.run(["apt-cache", "show", "wordpress"], capture_output=True, check=False).returncode != 0:
        pytest.skip("apt knows no wordpress here")
    fetched = subprocess.run(["bash", "-ec", told("sh")[0]], cwd=folder, capture_output=True, text=True, check=False)
    if fetched.returncode != 0 and re.search(r"Failed to fetch|Could not (connect|resolve)", fetched.stderr):
        pytest.skip("Debian's mirror cannot be reached")
    assert fetched.returncode == 0, fetched.stderr
    for name in ("wp-config.php", "health.php", "ready.php"):
        (folder / "wordpress" / name).write_text(named(f"wordpress/{name}"))
    stack = named("stack.yaml")
    for old, new in FEWER:
        assert old in stack
        stack = stack.replace(old, new)
    (folder / "stack.yaml").write_text(stack)


class Browser:
    """Somebody who visits WordPress and keeps its cookies."""

    def __init__(self, site: LiveSite) -> None:
        self.site, self.cookies = site, SimpleCookie()
        self.nonce = ""

    def ask(
        self, path: str, body: bytes | None = None, kind: str = "application/x-www-form-urlencoded", **more: str
    ) -> tuple[int, str]:
        cookies = "; ".join(f"{name}={one.value}" for name, one in self.cookies.items())
        headers = {"Content-Type": kind, "Cookie": cookies, **({"X-WP-Nonce": self.nonce} if self.nonce else {}), **more}
        status, got, text = self.site.answer(path, "GET" if body is None else "POST", body, 35.0, headers)
        for cookie in got.get_all("Set-Cookie", []):
            self.cookies.load(cookie)
        return status, text

    def send(self, path: str, **fields: str) -> tuple[int, str]:
        return self.ask(path, urlencode(fields).encode())

    def log_in(self) -> None:
        self.ask("/wp-login.php")
        assert self.send("/wp-login.php", log="admin", pwd=PASSWORD, testcookie="1")[0] == 302
        status, page = self.ask("/wp-admin/")
        assert status == 200
        assert "Dashboard" in page
        self.nonce = self.ask("/wp-admin/admin-ajax.php?action=rest-nonce")[1]

    def upload(self, name: str, content: bytes) -> str:
        """Send a picture; returns its path in the site."""
        kept = f'attachment; filename="{name}"'
        status, said = self.ask("/?rest_route=/wp/v2/media", content, "image/png", **{"Content-Disposition": kept})
        assert status == 201, said
        return urlsplit(str(json.loads(said)["source_url"])).path

    def publish(self, title: str) -> None:
        post = json.dumps({"title": title, "content": "words that are to stay", "status": "publish"}).encode()
        status, said = self.ask("/?rest_route=/wp/v2/posts", post, "application/json")
        assert status == 201, said


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSite]:
    example = tmp_path_factory.mktemp("example")
    set_up(example)
    live = LiveSite(tmp_path_factory.mktemp("blog") / "blog", example=example)
    try:
        live.nospof("up")
        live.settled_status()
        yield live
    finally:
        live.down()


@pytest.fixture(scope="module")
def admin(site: LiveSite) -> Browser:
    """WordPress installed by its own installer, and who did it logged in."""
    browser = Browser(site)
    fields = {"user_name": "admin", "admin_password": PASSWORD, "admin_password2": PASSWORD, "admin_email": "a@example.com"}
    status, page = browser.send("/wp-admin/install.php?step=2", weblog_title="A trial", pw_weak="on", **fields)
    assert status == 200
    assert "Success!" in page
    browser.log_in()
    return browser


def leader(site: LiveSite) -> str:
    """The host whose database takes writes."""
    (found,) = [one["host"] for one in site.settled_status(180)["tiers"]["database"] if one["leads"]]
    return str(found)


def holder(site: LiveSite) -> str:
    return str(site.settled_status(180)["vips"][0]["holder"])


def of_host(site: LiveSite, host: str, path: str) -> tuple[int, bytes]:
    """What the web server of one host answers a load balancer."""
    proof = "--cacert /etc/nospof/tls/ca.pem --cert /etc/nospof/tls/load-balancer.crt --key /etc/nospof/tls/load-balancer.key"
    said = f"curl -sS --max-time 20 {proof} --header 'Host: blog.example.com' 'https://{host}:8443{path}'"
    told = site.on("lb1", "sh", "-c", f"{said} -o /tmp/body --write-out '%{{http_code}} ' && base64 --wrap=0 /tmp/body")
    status, _, body = told.partition(" ")
    return int(status), base64.b64decode(body)


def done_within(write: Callable[[], None], limit_s: float = 60.0) -> int:
    """Write again and again until it is done; returns how often it was not."""
    end, failed = time.monotonic() + limit_s, 0
    while True:
        try:
            write()
        except (AssertionError, OSError, HTTPException):
            assert time.monotonic() < end
            failed += 1
            time.sleep(0.2)
        else:
            return failed


def test_what_is_published_on_one_host_is_seen_on_all(site: LiveSite, admin: Browser) -> None:
    admin.publish("Before anything broke")
    for host in ("web1", "web2"):
        status, page = of_host(site, host, "/")
        assert status == 200, host
        assert b"Before anything broke" in page, host
    assert site.ask("/ready.php") == (200, "ok\n")
    link = re.search(r'href="https?://[^/"]+(/[^"]*)"[^>]*>Before anything broke', site.ask("/")[1])
    assert link, "no link to the post"
    assert "words that are to stay" in site.ask(html.unescape(link[1]))[1]


def test_database_is_asked_over_verified_tls(site: LiveSite, admin: Browser) -> None:
    """Incident: with the flag for encryption alone PHP took any certificate, whatever openssl.cafile said."""
    flags = re.search(r"MYSQL_CLIENT_FLAGS', (.*)\);", named("wordpress/wp-config.php"))
    assert flags
    script = CONNECT.replace("FLAGS", flags[1])
    run = f"set -a; . /etc/nospof/app.env; php -d openssl.cafile=%s -r {shlex.quote(script)}"
    assert site.on("web1", "sh", "-c", run % '"$DATABASE_SSL_CA"').startswith("TLS_")
    assert site.on("web1", "sh", "-c", run % "/etc/ssl/certs/ca-certificates.crt") == "refused"


def test_upload_stays_on_one_host_and_is_never_run(site: LiveSite, admin: Browser) -> None:
    path = admin.upload("pixel.png", ONE_PIXEL)
    answers = {host: of_host(site, host, path) for host in ("web1", "web2")}
    (mine,) = [host for host, (status, _) in answers.items() if status == 200]
    assert answers[mine] == (200, ONE_PIXEL)
    assert {status for status, _ in answers.values()} == {200, 404}, "check says so: F218"
    folder = f"/var/lib/nospof-files/app{path.rpartition('/')[0]}"
    for name in ("run.php", "run.php.png", ".hidden"):
        site.on(mine, "sh", "-c", f"echo '<?php echo 6 * 7;' >{folder}/{name} && chmod 644 {folder}/{name}")
        status, body = of_host(site, mine, f"{path.rpartition('/')[0]}/{name}")
        assert status in (403, 404), name
        assert b"42" not in body


def test_dark_web_host(site: LiveSite, admin: Browser) -> None:
    with site.visited() as failed:
        site.nospof("lab off", "web1")
        admin.publish("Without web1")
        wait_until(lambda: len(failed) > 1, 5)
    site.nospof("lab on", "web1")
    # The host may have had one in its hands, which nobody can answer any more; none that began later meets it.
    assert len(failed) <= 1, failed
    assert "Without web1" in site.ask("/")[1]


@pytest.mark.parametrize("how", ["killed", "dark"])
def test_lost_load_balancer(site: LiveSite, admin: Browser, how: str) -> None:
    lost = holder(site)
    # What a load balancer had in hand as it went dark is answered by nobody.
    with site.visited(timeout_s=10.0) as failed:
        if how == "dark":
            site.nospof("lab off", lost)
        else:
            site.on(lost, "systemctl", "kill", "--signal=KILL", "haproxy.service")
        done_within(lambda: admin.publish(f"Load balancer {how}"))
        wait_until(lambda: len(failed) > 1, 5)
    if how == "dark":
        site.nospof("lab on", lost)
    sys.stdout.write(f"load balancer {how}: {len(failed)} visits failed: {failed}\n")
    # A dark one says nothing, and who asks tries again; where a killed one was, connections are refused until the VIP is gone.
    assert len(failed) <= (1 if how == "dark" else REFUSED), failed
    assert f"Load balancer {how}" in site.ask("/")[1]


def test_dark_primary(site: LiveSite, admin: Browser) -> None:
    lost = leader(site)
    with site.visited() as failed:
        site.nospof("lab off", lost)
        tries = done_within(lambda: admin.publish("After the primary"))
        wait_until(lambda: len(failed) > FEW, 5)
        assert "After the primary" in site.ask("/")[1]
        status, _ = Browser(site).send(
            "/wp-comments-post.php", comment="Still here?", author="x", email="x@example.com", comment_post_ID="1"
        )
        assert status == 302
    sys.stdout.write(f"primary dark: {len(failed)} visits failed, a post was tried {tries + 1} times: {failed}\n")
    assert len(failed) <= FEW, failed
    site.nospof("lab on", lost)
    assert leader(site) != lost
    page = site.ask("/")[1]
    for title in ("Before anything broke", "Without web1", "Load balancer killed", "Load balancer dark", "After the primary"):
        assert title in page, title


@pytest.mark.long
def test_new_release_and_another_web_server_keep_uploads(site: LiveSite, admin: Browser) -> None:
    path = admin.upload("kept.png", ONE_PIXEL)
    site.edit('echo "ok', 'echo "well', "wordpress/health.php")
    site.edit("component: apache", "component: nginx")
    with site.visited() as failed:
        site.nospof("up")
    assert failed == []
    assert site.ask("/health.php") == (200, "well\n")
    answers = {host: of_host(site, host, path) for host in ("web1", "web2")}
    (mine,) = [host for host, (status, _) in answers.items() if status == 200]
    assert answers[mine] == (200, ONE_PIXEL)
    for name in ("kept.php", ".hidden"):
        folder = f"/var/lib/nospof-files/app{path.rpartition('/')[0]}"
        site.on(mine, "sh", "-c", f"echo '<?php echo 6 * 7;' >{folder}/{name} && chmod 644 {folder}/{name}")
        assert of_host(site, mine, f"{path.rpartition('/')[0]}/{name}")[0] == 403, name
