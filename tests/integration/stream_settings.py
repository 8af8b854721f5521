"""Settings of the small project that the tests of the streaming wrapper serve."""

import os

DEBUG = False
SECRET_KEY = "only for tests, and long enough to sign sessions"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "tests.integration.stream_views"
ASGI_APPLICATION = "tests.integration.stream_app.application"
USE_TZ = True
INSTALLED_APPS = ["daphne", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("STREAM_DATABASE", ":memory:")}}
WATAOMI_WRITE_TIMEOUT = float(os.environ.get("WATAOMI_WRITE_TIMEOUT", "60"))
WATAOMI_SHUTDOWN_TIMEOUT = float(os.environ.get("WATAOMI_SHUTDOWN_TIMEOUT", "2"))
WATAOMI_REQUEST_THREADS = int(os.environ.get("WATAOMI_REQUEST_THREADS", "8"))
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"level": "INFO", "handlers": ["console"]},
}
