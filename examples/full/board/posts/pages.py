"""What every page shows, and the page when something is away."""

import logging
import os
import sys

import redis
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

AWAY = (redis.RedisError, DatabaseError, InterfaceError, OSError)
RETRY_AFTER_S = 2

log = logging.getLogger("board")


def servers(request: HttpRequest) -> dict[str, str]:
    return {"host_name": os.environ.get("HOST_NAME", ""), "web_server": request.headers.get("X-Web-Server", "")}


def failed(request: HttpRequest) -> HttpResponse:
    """Answer for a view or a session that failed: 503 where the database or the sessions are away, else 500.

    Wherever it failed, in a middleware too, Django asks here. It asks nobody itself: not even who the visitor is.
    """
    is_away = isinstance(sys.exc_info()[1], AWAY)
    page = render_to_string("problem.html", {**servers(request), "is_away": is_away})
    headers = {"Retry-After": str(RETRY_AFTER_S), "Cache-Control": "no-store"} if is_away else {}
    return HttpResponse(page, status=503 if is_away else 500, headers=headers)
