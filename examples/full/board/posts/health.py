"""Health for the load balancers, readiness for people."""

import os

from django.core.cache import caches
from django.db import connections
from django.http import HttpRequest, JsonResponse

from posts.pages import AWAY


def health(request: HttpRequest) -> JsonResponse:
    """Say that this process answers. Asks nobody: a failover elsewhere must not take every server out."""
    return JsonResponse({"status": "ok", "instance": f"{os.environ.get('APP_NAME')}@{os.environ.get('HOST_NAME')}"})


def ready(request: HttpRequest) -> JsonResponse:
    """Say of each thing that pages need whether it answers."""
    probes = {f"database-{alias}": _database(alias) for alias in connections}
    probes["sessions"] = _sessions
    said, is_well = {}, True
    for name, probe in probes.items():
        try:
            said[name] = probe()
        except AWAY as problem:
            said[name], is_well = type(problem).__name__, False
    return JsonResponse(said, status=200 if is_well else 503)


def _database(alias: str):
    def probe() -> str:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT @@hostname")
            return str(cursor.fetchone()[0])

    return probe


def _sessions() -> str:
    caches["sessions"].set("probe", 1, 60)
    return "ok"
