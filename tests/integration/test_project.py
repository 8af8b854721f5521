"""The project as one meets it: its settings, its commands, its health, its answers to what nobody serves."""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import httpx
import pytest
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import DatabaseError
from django.test import AsyncClient, Client
from pytest_django.fixtures import Settings
from rest_framework_simplejwt.tokens import AccessToken

from executions.conf import ExecutionSettings, execution_settings
from tests.integration.flow_data import make_user
from tests.servers import PROJECT, StartServer, free_port
from wataomi import health
from wataomi.logs import SharedRotatingFileHandler
from wataomi.management.commands.prepare import refuse_port_in_use
from wataomi.parsers import depth_exceeds

PRODUCTION = {
    "DJANGO_SETTINGS_MODULE": "wataomi.settings",
    "DEBUG": "0",
    "HTTPS": "1",
    "SECRET_KEY": secrets.token_urlsafe(50),
    "ALLOWED_HOSTS": "wataomi.example",
    "WATAOMI_LOG_FILE": "",
}


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `manage.py` as an operator does; an empty value counts as a variable that is not set."""
    return subprocess.run(
        [sys.executable, "-W", "error", "manage.py", *arguments],
        cwd=PROJECT,
        env={**os.environ, **PRODUCTION, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_production_settings_pass_the_deployment_check_without_a_warning() -> None:
    result = manage("check", "--deploy", "--fail-level", "WARNING")
    assert (result.returncode, result.stderr) == (0, "")
    assert "no issues (0 silenced)" in result.stdout


def test_a_missing_secret_key_is_a_clear_start_up_error() -> None:
    result = manage("check", SECRET_KEY="")
    assert result.returncode == 1
    assert result.stderr.startswith("SECRET_KEY is not set.")
    assert "Traceback" not in result.stderr


def test_what_earlier_secret_keys_have_signed_can_stay_valid() -> None:
    shown = manage(
        "shell", "--no-imports", "-c", "from django.conf import settings; print(settings.SECRET_KEY_FALLBACKS)",
        SECRET_KEY_FALLBACKS="old,older",
    )  # fmt: skip
    assert shown.stdout.strip() == "['old', 'older']"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEBUG", "perhaps"),
        ("HTTPS", "2"),
        ("DATABASE_URL", "mysql://localhost/x"),
        ("DATABASE_URL", "nonsense"),
        ("DATABASE_URL", "postgres://me:secret@db.example"),
        ("REDIS_URL", "127.0.0.1:6379"),
        ("WATAOMI_BASE_URL", "wataomi.example"),
        ("ACCESS_TOKEN_MINUTES", "0"),
        ("WATAOMI_MAX_BODY_BYTES", "5 MB"),
        ("WATAOMI_LOG_LEVEL", "LOUD"),
        ("WATAOMI_EXECUTOR", "elsewhere"),
        ("WATAOMI_LEASE", "nan"),
        ("WATAOMI_HTTP_MEGABYTES", "-1"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_setting(name: str, value: str) -> None:
    result = manage("check", **{name: value})
    assert result.returncode == 1
    assert name in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [("WATAOMI_EXECUTOR", "nope", "embedded"), ("WATAOMI_LOG_LEVEL", "bogus", "CRITICAL")],
)
def test_a_wrong_value_ends_the_start_of_a_server(name: str, value: str, expected: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "daphne", "--port", str(free_port()), "wataomi.asgi:application"],
        cwd=PROJECT,
        env={**os.environ, **PRODUCTION, name: value},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert f"{name} is {value!r}; it must be one of" in last
    assert expected in last


@pytest.mark.parametrize(("value", "handlers"), [("", "console"), ("/tmp/somewhere.log", "console,file")])
def test_a_log_file_that_is_set_to_nothing_is_none(value: str, handlers: str) -> None:
    code = "from django.conf import settings; print(','.join(settings.LOGGING['root']['handlers']))"
    result = manage("shell", "--verbosity", "0", "-c", code, WATAOMI_LOG_FILE=value)
    assert result.stdout.strip() == handlers


def test_a_level_is_written_in_any_case() -> None:
    code = "from django.conf import settings; print(settings.WATAOMI_LOG_LEVEL, settings.LOGGING['root']['level'])"
    result = manage("shell", "--verbosity", "0", "-c", code, WATAOMI_LOG_LEVEL="warning")
    assert result.stdout.split() == ["WARNING", "WARNING"]


def test_the_documentation_says_the_defaults_that_there_are() -> None:
    text = (PROJECT / "docs/reference/settings.md").read_text()
    rows = re.findall(r"^\| `(WATAOMI_\w+)` \| `([\d.]+)`", text, re.MULTILINE)
    names = {"WATAOMI_MAX_BODY_BYTES": "DATA_UPLOAD_MAX_MEMORY_SIZE"}
    assert len(rows) > 15
    said = {name: float(value) for name, value in rows if not name.endswith("_ALLOW_PRIVATE")}
    assert said == {name: float(getattr(django_settings, names.get(name, name))) for name in said}


def test_the_environment_can_set_all_that_runs_read_and_else_leaves_the_defaults() -> None:
    assert execution_settings() == ExecutionSettings()
    for field in fields(ExecutionSettings):
        assert hasattr(django_settings, f"WATAOMI_{field.name.upper()}")


def test_postgres_is_reached_through_a_pool() -> None:
    code = (
        "from django.conf import settings; import json; print(json.dumps(settings.DATABASES['default'], default=str))"
    )
    result = manage("shell", "--verbosity", "0", "-c", code, DATABASE_URL="postgres://me:secret@db.example:5433/flows")
    database = json.loads(result.stdout)
    assert database["ENGINE"] == "django.db.backends.postgresql"
    assert (database["HOST"], database["PORT"], database["NAME"]) == ("db.example", 5433, "flows")
    assert database["OPTIONS"]["pool"]["max_size"] == 10
    assert database["CONN_MAX_AGE"] == 0


@pytest.mark.django_db
def test_without_debug_nothing_creates_a_known_password(settings: Settings) -> None:
    assert settings.DEBUG is False
    call_command("prepare", port=free_port(), verbosity=0)
    for user in get_user_model().objects.all():
        assert not user.has_usable_password() or not user.check_password("demo")


@pytest.mark.django_db
def test_health_says_that_all_is_well(client: Client) -> None:
    response = client.get("/healthz")
    assert (response.status_code, response.json()) == (
        200,
        {"status": "ok", "checks": {"database": "ok", "executor": "ok"}},
    )
    assert "no-store" in response["Cache-Control"]


async def test_health_says_what_is_wrong_with_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise DatabaseError("no such table: executions_execution")

    monkeypatch.setattr(health, "_read_one_row", fail)
    response = await AsyncClient().get("/healthz")
    assert response.status_code == 503
    assert "no such table" in response.json()["checks"]["database"]
    assert "manage.py migrate" in response.json()["checks"]["database"]


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/v1", "/api/v1/nothing", "/api/v1/token/", "/api/v2/flows"])
def test_an_unknown_address_of_the_api_is_answered_in_json(client: Client, path: str) -> None:
    response = client.post(path, "{}", content_type="application/json")
    assert response.status_code == 404
    assert response["Content-Type"] == "application/json"
    assert response.json()["code"] == "not_found"


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
@pytest.mark.parametrize("path", ["/api", "/api/v1/nothing", "/api/v1/flows/x"])
def test_a_write_to_an_unknown_address_asks_for_no_cookie(method: str, path: str) -> None:
    client = Client(enforce_csrf_checks=True)
    headers = {"Authorization": f"Bearer {AccessToken.for_user(make_user('author'))}"}
    response = client.generic(method.upper(), path, b"{}", "application/json", headers=headers)
    assert (response.status_code, response["Content-Type"]) == (404, "application/json")
    assert response.json()["code"] == "not_found"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"username": ', 400, "malformed_json"),
        (b"NaN", 400, "malformed_json"),
        (b'"\xff"', 400, "malformed_json"),
        (b"[" * 101 + b"]" * 101, 400, "nested_too_deep"),
        (b"[" * 100_000 + b"]" * 100_000, 400, "malformed_json"),
    ],
)
def test_a_body_that_is_not_sound_json_is_refused(client: Client, body: bytes, status: int, code: str) -> None:
    response = client.post("/api/v1/token", body, content_type="application/json")
    assert (response.status_code, response.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("value", "limit", "exceeds"),
    [(1, 1, False), ([], 1, False), ([[1]], 1, True), ({"a": [{}]}, 3, False), ({"a": [{}]}, 2, True)],
)
def test_depth_counts_lists_and_objects_inside_each_other(value: object, limit: int, exceeds: bool) -> None:
    assert depth_exceeds(value, limit) is exceeds


@pytest.mark.parametrize(
    ("body", "field", "place"),
    [
        (b'{"username": 1180591620717411303424}', "username", " at username "),
        (b'{"username": {"a": [-9223372036854775809]}}', "username", " at username.a[0] "),
        (b"[1, 18446744073709551616]", "non_field_errors", " at [1] "),
        (b"18446744073709551616", "non_field_errors", "The integer does "),
    ],
)
def test_an_integer_that_would_become_a_float_is_refused(client: Client, body: bytes, field: str, place: str) -> None:
    response = client.post("/api/v1/token", body, content_type="application/json")
    assert response.status_code == 400
    assert list(response.json()) == [field]
    assert place in response.json()[field][0]


def test_a_body_over_the_limit_is_refused_with_413(client: Client, settings: Settings) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 2000
    body = json.dumps({"username": "x" * 3000, "password": "y"})
    response = client.post("/api/v1/token", body, content_type="application/json")
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    assert "2000 bytes" in response.json()["detail"]


@pytest.mark.django_db
@pytest.mark.parametrize("header", ["Bearer nonsense", "Bearer", "Bearer a b c"])
def test_a_wrong_token_is_401_with_a_code(client: Client, header: str) -> None:
    response = client.get("/api/v1/flows", headers={"Authorization": header})
    assert response.status_code == 401
    assert response.json()["code"]
    assert response.json()["detail"]


def test_the_log_file_follows_when_another_process_rotates_it(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "app.log"
    ours, theirs = SharedRotatingFileHandler(str(path)), SharedRotatingFileHandler(str(path))
    record = logging.makeLogRecord({"msg": "one line"})
    ours.emit(record)
    theirs.emit(record)
    theirs.doRollover()
    ours.emit(record)
    theirs.emit(record)
    ours.close()
    theirs.close()
    assert path.read_text() == "one line\n" * 2
    assert path.with_name("app.log.1").read_text() == "one line\n" * 2


def test_the_server_says_at_once_that_its_port_is_in_use(daphne_server: StartServer) -> None:
    port = daphne_server().port
    with pytest.raises(CommandError, match=f"make run PORT={port + 1}"):
        refuse_port_in_use("127.0.0.1", port)
    refuse_port_in_use("127.0.0.1", free_port())


def test_static_files_are_served_without_collecting_them(daphne_server: StartServer) -> None:
    server = daphne_server()
    response = httpx.get(f"{server.url}/static/admin/css/base.css")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/css")
    again = httpx.get(response.url, headers={"If-None-Match": response.headers["ETag"]})
    assert again.status_code == 304
    for missing in ("/static/nothing.css", "/static/../manage.py", "/static/%2e%2e/manage.py", "/static/%00"):
        assert httpx.get(server.url + missing).status_code in {400, 404}


Checkout = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """`make` in a directory of its own that has the project's Makefile, and nothing else."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    shutil.copy(PROJECT / "Makefile", tmp_path)

    def make(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **({"PATH": path} if path is not None else {})}
        environment.pop("MAKEFLAGS", None)
        return subprocess.run(
            [str(shutil.which("make")), *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return make


def test_make_alone_says_what_there_is(checkout: Checkout) -> None:
    result = checkout()
    assert result.returncode == 0
    for target in ("run", "test", "check", "bench", "clean"):
        assert f"make {target}" in result.stdout


def test_make_run_says_clearly_that_python_is_missing(checkout: Checkout, tmp_path: Path) -> None:
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("sh", "echo"):
        (commands / name).symlink_to(str(shutil.which(name)))
    (commands / "python3").write_text("#!/bin/sh\nexit 1\n")  # one that is too old
    (commands / "python3").chmod(0o755)
    (tmp_path / "requirements.txt").touch()
    result = checkout("run", path=str(commands))
    assert result.returncode != 0
    assert "needs Python 3.11 or newer" in result.stderr


def test_make_run_starts_from_the_settings_of_this_machine_and_keeps_them(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    assert checkout(".env").returncode == 0
    written = (tmp_path / ".env").read_text()
    assert "DEBUG=1\n" in written
    assert "SECRET_KEY=" in written
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    assert checkout(".env").returncode == 0
    assert (tmp_path / ".env").read_text() == written


def test_make_installs_again_only_when_the_requirements_changed(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("")
    fake = tmp_path / ".venv" / "bin" / "python"
    fake.parent.mkdir(parents=True)
    fake.write_text('#!/bin/sh\necho "$@" >> installations\n')
    fake.chmod(0o755)
    os.utime(fake, (1, 1))
    for _ in range(2):
        assert checkout(".venv/.installed").returncode == 0
    assert len((tmp_path / "installations").read_text().splitlines()) == 1
    os.utime(tmp_path / "requirements.txt", (2**31, 2**31))
    assert checkout(".venv/.installed").returncode == 0
    assert len((tmp_path / "installations").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("env_file", "expected"),
    [
        ("DEBUG=1\n", {"DATABASE_URL": "5432/wataomi", "REDIS_URL": "6379/0", "WATAOMI_BASE_URL": "localhost:8123"}),
        ("DATABASE_URL=postgres:///mine\nexport REDIS_URL=redis://mine\nWATAOMI_BASE_URL=http://mine\n", {}),
    ],
)
def test_make_cluster_sets_only_the_addresses_that_the_settings_of_this_machine_leave_open(
    checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env_file: str, expected: dict[str, str]
) -> None:
    names = ("DATABASE_URL", "REDIS_URL", "WATAOMI_BASE_URL")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".env").write_text(env_file)
    for name in ("requirements.txt", "requirements-dev.txt"):
        (tmp_path / name).touch()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name in ("python", "honcho"):
        program = tmp_path / ".venv" / "bin" / name
        program.write_text(f"#!/bin/sh\nenv > {name}.environment\n")
        program.chmod(0o755)
    result = checkout("cluster", "PORT=8123")
    assert result.returncode == 0, result.stderr
    for started in ("python", "honcho"):
        lines = (tmp_path / f"{started}.environment").read_text().splitlines()
        given = dict(line.split("=", 1) for line in lines if line.startswith(tuple(f"{name}=" for name in names)))
        assert given.keys() == expected.keys()
        assert all(given[name].endswith(end) for name, end in expected.items())
