"""Settings from the environment that nospof gives an application.

Two ways to the database: `default` leads to the primary, `copy` to a server that may be some milliseconds behind. Two caches:
`sessions` (Valkey) must be there, `default` (Memcached) may be lost at any time.
"""

import os
from pathlib import Path

from redis.backoff import ExponentialBackoff
from redis.retry import Retry

BASE_DIR = Path(__file__).parents[1]
SECRET_KEY = os.environ["SECRET_KEY"]
DEBUG = False
ALLOWED_HOSTS = os.environ["ALLOWED_HOSTS"].split()
ROOT_URLCONF = "board.urls"
WSGI_APPLICATION = "board.wsgi.application"

INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.staticfiles", "posts"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "posts.pages.servers",
            ]
        },
    }
]


def _database(port: str) -> dict[str, object]:
    return {
        "ENGINE": "django.db.backends.mysql",
        "HOST": os.environ["DATABASE_HOST"],
        "PORT": os.environ[port],
        "NAME": os.environ["DATABASE_NAME"],
        "USER": os.environ["DATABASE_USER"],
        "PASSWORD": os.environ["DATABASE_PASSWORD"],
        # A fresh connection always leads to the server that is primary now.
        "CONN_MAX_AGE": 0,
        "OPTIONS": {
            "charset": "utf8mb4",
            "ssl": {"ca": os.environ["DATABASE_SSL_CA"]},
            # A primary that goes dark must not hold every thread.
            "connect_timeout": 2,
            "read_timeout": 5,
            "write_timeout": 5,
        },
    }


DATABASES = {"default": _database("DATABASE_PORT"), "copy": _database("DATABASE_READ_PORT")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
        "LOCATION": f"{os.environ['PAGES_HOST']}:{os.environ['PAGES_PORT']}",
        "KEY_PREFIX": "board",
        # Where it does not answer nothing is found, and no page fails.
        "OPTIONS": {"ignore_exc": True, "connect_timeout": 0.3, "timeout": 0.7, "no_delay": True, "dead_timeout": 1},
    },
    "sessions": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": os.environ["SESSIONS_URL"],
        "KEY_PREFIX": "board",
        # While a copy takes the primary's place it is tried again; each attempt may take the second that the URL says.
        "OPTIONS": {"retry": Retry(ExponentialBackoff(cap=0.5, base=0.05), 4), "health_check_interval": 5},
    },
}
SESSION_ENGINE = "posts.kept_sessions"
SESSION_CACHE_ALIAS = "sessions"

# Under https://DOMAIN/board/: cookies are for there only.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "__Secure-board", "__Secure-board-csrf"
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = "/board/"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
CSRF_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"

LOGIN_URL, LOGIN_REDIRECT_URL, LOGOUT_REDIRECT_URL = "sign-in", "index", "index"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
]

# nginx serves them: the tier `board-files` lays this folder on its hosts. Applications that bring files of their own
# (the admin does): STATIC_ROOT here, and `manage.py collectstatic` before `nospof up`.
STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]

USE_TZ, TIME_ZONE, USE_I18N = True, "UTC", False
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
