"""A folder of files that is a site, or a part of one: pages, pictures, documents, what a build of a front end leaves.

The web server on the same host serves it; nothing runs for it. A version of the folder is a release, named after its content,
and one rename makes the web server serve the next one.
Source: https://nginx.org/en/docs/http/ngx_http_core_module.html#root (looked up at each request), rename(2).
"""

from __future__ import annotations

import re
from typing import Annotated

from nospof import component as c
from nospof.components.application_common import SITE_PATH

FILE_PATH = r"^[A-Za-z0-9_~-][A-Za-z0-9_.~-]*(/[A-Za-z0-9_~-][A-Za-z0-9_.~-]*)*$"


class StaticSettings(c.Settings):
    source: Annotated[str, c.Folder()] = c.Field(description="Folder of the files, beside the stack file.")
    domain: str = c.Field("", pattern=r"^[a-z0-9.-]*$", description="Domain under which it is visited. Default: the stack's.")
    path: str = c.Field("/", pattern=SITE_PATH, description="Path under which it is visited, with / at both ends.")
    page: Annotated[str, c.FileIn("source")] = c.Field(
        "index.html",
        pattern=FILE_PATH,
        description="File in it that drills and Nagios ask for to see whether the site is there.",
    )
    health: str = c.Field(
        "/health", pattern=r"^/[A-Za-z0-9_./~-]+$", description="Path in it that the web server answers for the load balancers."
    )


class Static(c.Component[StaticSettings]):
    name = "static"
    about = "A folder of files: pages, pictures, what a build of a front end leaves. The web server beside it serves them."
    why = "Files that nobody has to compute need no application; they are on every web host, so that each can serve alone."
    when_lost = "It is lost with the web server on its host only, and the other hosts have the same files."
    runs_per_host = 0

    @property
    def listens(self) -> tuple[c.Listen, ...]:
        return (c.Listen("files", c.Protocol.FILES, is_local=True, sites=(self._site,)),)

    @property
    def _site(self) -> c.Site:
        settings, tier = self.settings, self.id.tier
        health = settings.path + settings.health.removeprefix("/")
        # Visitors ask for a folder, not for its front page by name.
        page = settings.path + re.sub(r"(^|/)index\.html$", r"\1", settings.page)
        folder = f"/srv/nospof/{tier}/current/app"
        return c.Site(tier, settings.domain, settings.path, health=health, folder=folder, page=page)

    @property
    def sources(self) -> tuple[c.Source, ...]:
        return (c.Source("files", self.settings.source),)

    def parts(self, here: c.Context) -> c.Parts:
        top, blob = f"/srv/nospof/{self.id.tier}", here.blob("files")
        release = f"{top}/releases/{blob[:12]}"
        # Web servers look the path up at each request: nothing has to be told.
        return c.Parts(trees=(c.Tree(release, blob),), symlinks=(c.Symlink(f"{top}/current", release, for_units=()),))
