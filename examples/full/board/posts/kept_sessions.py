"""Django's sessions in a cache, but a cache that does not answer is not a visitor without a session.

Django's own takes every error while it reads for "there is none", and has the browser forget its cookie: a cache that is away
for two seconds would sign out everybody who comes by.
"""

from typing import Any

from django.contrib.sessions.backends import cache


class SessionStore(cache.SessionStore):
    def load(self) -> dict[str, Any]:
        """Return what is kept; raises what the cache raises."""
        found = self._cache.get(self.cache_key)
        if found is not None:
            return found
        self._session_key = None
        return {}
