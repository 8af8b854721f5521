"""Settings of the project, read from the environment (and from `.env`, which never overrides it).

Each variable is documented in docs/reference/settings.md.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from executions.conf import EXECUTORS
from wataomi import environment
from wataomi.logs import LEVELS, logging_configuration

BASE_DIR = Path(__file__).resolve().parent.parent
environment.read_file(BASE_DIR / ".env")

# --- Security -----------------------------------------------------------------------------------------------------

DEBUG = environment.boolean("DEBUG", default=False)
SECRET_KEY = environment.string("SECRET_KEY", "django-insecure-for-development-only" if DEBUG else "")
if not SECRET_KEY:
    raise ImproperlyConfigured(
        "SECRET_KEY is not set. Set the environment variable SECRET_KEY to a long random string "
        "(or DEBUG=1 for development on your own machine)."
    )
SECRET_KEY_FALLBACKS = environment.strings("SECRET_KEY_FALLBACKS")
ALLOWED_HOSTS = environment.strings("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = environment.strings("CSRF_TRUSTED_ORIGINS")

# In production a browser talks HTTPS to the proxy in front; HTTPS=0 is for a network without it.
HTTPS = environment.boolean("HTTPS", default=not DEBUG)
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^metrics$"]  # asked from inside, over plain HTTP
SECURE_HSTS_SECONDS = environment.integer("HSTS_SECONDS", 30 * 24 * 3600) if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_HSTS_PRELOAD = HTTPS
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
X_FRAME_OPTIONS = "DENY"
if environment.boolean("BEHIND_PROXY", default=False):
    # Only where a proxy sets this header itself: anybody else could claim to have come by HTTPS.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# --- Applications -------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "daphne",  # first: its `runserver` serves ASGI
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "flows",
    "executions",
    "wataomi",
    "demo",
    *environment.strings("WATAOMI_EXTRA_APPS"),
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "wataomi.urls"
ASGI_APPLICATION = "wataomi.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "flow-list"
LOGOUT_REDIRECT_URL = "login"

# --- Data ---------------------------------------------------------------------------------------------------------

DATABASES: dict[str, dict[str, Any]] = {
    "default": environment.database("DATABASE_URL", f"sqlite:///{BASE_DIR / 'db.sqlite3'}")
}
DATABASES["default"]["CONN_MAX_AGE"] = 0
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = {
        # IMMEDIATE: a transaction takes the write lock when it begins, and waits for it there;
        # a deferred one fails at once with "database is locked" when it turns from reading to writing.
        "transaction_mode": "IMMEDIATE",
        "timeout": 30,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    }
else:
    _LEASE = environment.seconds("WATAOMI_LEASE", 10, least=1)
    from wataomi.database_pool import PooledConnection  # 13 MB that a process on SQLite does without

    # A connection that a restart of the server has ended is not given out (60 us for each that is).
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    DATABASES["default"]["OPTIONS"] = {
        # A server that is gone without a word is noticed in seconds, and not in the two hours of TCP's defaults.
        "connect_timeout": 5,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
        # A process that was frozen in a transaction would keep others from its rows for as long as it is: not longer
        # than it may keep its runs.
        "options": f"-c idle_in_transaction_session_timeout={int(1000 * max(5, _LEASE))}",
        **DATABASES["default"].get("OPTIONS", {}),
        "pool": {
            "connection_class": PooledConnection,
            "min_size": 1,
            "max_size": environment.integer("DATABASE_POOL_SIZE", 10, least=1),
            # The pool waits twice as long before each further try to connect, until it gives up: then whoever asks next
            # makes it try at once. So it finds a server that is back within these seconds, however long that was away.
            "timeout": 5,
            "reconnect_timeout": 2,
        },
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = environment.url("REDIS_URL", schemes=("redis", "rediss", "unix"))
CHANNEL_LAYERS: dict[str, dict[str, Any]] = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
if REDIS_URL:
    CHANNEL_LAYERS["default"] = {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {
            # Without limits a Redis whose machine has vanished would be waited for as long as the kernel does.
            "hosts": [{"address": REDIS_URL, "socket_connect_timeout": 5, "socket_timeout": 10}],
            "prefix": environment.string("REDIS_PREFIX", "wataomi"),
        },
    }

# --- API ----------------------------------------------------------------------------------------------------------

# A request with a bigger body is refused with 413 (wataomi.parsers), pages' forms with 400.
DATA_UPLOAD_MAX_MEMORY_SIZE = environment.integer("WATAOMI_MAX_BODY_BYTES", 5 * 1024 * 1024, least=1024)

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework_simplejwt.authentication.JWTAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["wataomi.parsers.BoundedJSONParser"],
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "wataomi.errors.api_exception_handler",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=environment.integer("ACCESS_TOKEN_MINUTES", 60, least=1)),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=7),
}
SPECTACULAR_SETTINGS = {
    "TITLE": "WataOmi",
    "DESCRIPTION": "Draw flows, run them, and watch every run live.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "ENUM_NAME_OVERRIDES": {
        "RunStatus": "executions.api.serializers.RUN_STATUSES",
        "NodeStatus": "executions.api.serializers.NODE_STATUSES",
    },
}

# --- Runs ---------------------------------------------------------------------------------------------------------

# What a run may do, and where it runs; read through `executions.conf`, which documents each.
WATAOMI_EXECUTOR = environment.choice("WATAOMI_EXECUTOR", "embedded", EXECUTORS)
if WATAOMI_EXECUTOR == "procrastinate" and DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    INSTALLED_APPS.append("procrastinate.contrib.django")  # its tables exist for PostgreSQL only
WATAOMI_MAX_CONCURRENT_RUNS = environment.integer("WATAOMI_MAX_CONCURRENT_RUNS", 500, least=1)
WATAOMI_MAX_INPUT_BYTES = environment.integer("WATAOMI_MAX_INPUT_BYTES", 1024 * 1024, least=2)
WATAOMI_MAX_OUTPUT_BYTES = environment.integer("WATAOMI_MAX_OUTPUT_BYTES", 64 * 1024 * 1024, least=2)
WATAOMI_PROGRESS_INTERVAL = environment.seconds("WATAOMI_PROGRESS_INTERVAL", 0.1)
WATAOMI_LEASE = environment.seconds("WATAOMI_LEASE", 10, least=1)
WATAOMI_COMMAND_POLL = environment.seconds("WATAOMI_COMMAND_POLL", 0.2, least=0.01)
WATAOMI_STREAM_POLL = environment.seconds("WATAOMI_STREAM_POLL", 0.25, least=0.01)
WATAOMI_KEEP_ALIVE = environment.seconds("WATAOMI_KEEP_ALIVE", 15, least=0.1)
WATAOMI_SHUTDOWN_GRACE = environment.seconds("WATAOMI_SHUTDOWN_GRACE", 1.5)
WATAOMI_RING_BYTES = environment.integer("WATAOMI_RING_BYTES", 256 * 1024, least=1024)
WATAOMI_WORKER_CONCURRENCY = environment.integer("WATAOMI_WORKER_CONCURRENCY", 100, least=1)
WATAOMI_MAX_TAKEOVERS = environment.integer("WATAOMI_MAX_TAKEOVERS", 5, least=1)
WATAOMI_PARK_AFTER = environment.seconds("WATAOMI_PARK_AFTER", 30)
WATAOMI_KEEP_DAYS = environment.integer("WATAOMI_KEEP_DAYS", 0)
WATAOMI_KEEP_RUNS = environment.integer("WATAOMI_KEEP_RUNS", 0)
WATAOMI_METRICS_TOKEN = environment.string("WATAOMI_METRICS_TOKEN")
WATAOMI_BASE_URL = environment.url("WATAOMI_BASE_URL", "http://localhost:8000", schemes=("http", "https")).rstrip("/")

# What nodes may do; read through `flows.conf`, which documents each.
WATAOMI_HTTP_ALLOW_PRIVATE = environment.boolean("WATAOMI_HTTP_ALLOW_PRIVATE", default=DEBUG)
WATAOMI_HTTP_MEGABYTES = environment.integer("WATAOMI_HTTP_MEGABYTES", 10, least=1)
WATAOMI_EXPRESSION_MILLISECONDS = environment.integer("WATAOMI_EXPRESSION_MILLISECONDS", 1500, least=1)
WATAOMI_EXPRESSION_MEGABYTES = environment.integer("WATAOMI_EXPRESSION_MEGABYTES", 256, least=1)

# --- Long responses -----------------------------------------------------------------------------------------------

# Read through `wataomi.streaming.conf`, which documents each.
WATAOMI_WRITE_TIMEOUT = environment.integer("WATAOMI_WRITE_TIMEOUT", 60, least=1)
WATAOMI_SHUTDOWN_TIMEOUT = environment.integer("WATAOMI_SHUTDOWN_TIMEOUT", 2, least=1)
WATAOMI_REQUEST_THREADS = environment.integer("WATAOMI_REQUEST_THREADS", 32, least=1)

# --- Logs ---------------------------------------------------------------------------------------------------------

WATAOMI_LOG_LEVEL = environment.choice("WATAOMI_LOG_LEVEL", "INFO", LEVELS)
WATAOMI_LOG_FILE = environment.string_or_nothing("WATAOMI_LOG_FILE", str(BASE_DIR / "logs" / "app.log"))
LOGGING = logging_configuration(WATAOMI_LOG_LEVEL, WATAOMI_LOG_FILE)
