"""Figures that are quicker remembered than counted, in Memcached: what is lost there is counted again.

Nothing here raises: without the cache a page is slower, and not gone.
"""

import logging
from collections.abc import Callable

REMEMBERED_S = 10
CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S = 0.3, 0.7

log = logging.getLogger("shop")


class Counts:
    def __init__(self, host: str, port: int) -> None:
        """The cache at `host`:`port`, which leads to every server of the tier."""
        from pymemcache.client.base import PooledClient

        self._cache = PooledClient((host, port), connect_timeout=CONNECT_TIMEOUT_S, timeout=ANSWER_TIMEOUT_S)

    def remembered(self, name: str, count: Callable[[], int]) -> int:
        """What was counted within the last ten seconds; else `count()`, which may raise."""
        known = self._asked(lambda: self._cache.get(f"shop.{name}"))
        if isinstance(known, bytes) and known.isdigit():
            return int(known)
        counted = count()
        self._asked(lambda: self._cache.set(f"shop.{name}", str(counted), expire=REMEMBERED_S))
        return counted

    def _asked(self, ask: Callable[[], object]) -> object:
        try:
            return ask()
        except Exception as problem:  # pymemcache has errors of many kinds, and lets those of sockets through
            log.warning("cache: %s", problem)
            return None
