"""In CI nothing is skipped: what a machine lacks there is a failure that says what it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import PROJECT

TESTS = {
    "test_a_skip_in_the_test": "import pytest\ndef test_it():\n    pytest.skip('no browser')\n",
    "test_a_skip_by_a_mark": (
        "import pytest\n@pytest.mark.skipif(True, reason='no browser')\ndef test_it():\n    pass\n"
    ),
    "test_a_skip_by_a_fixture": (
        "import pytest\n@pytest.fixture\ndef browser():\n    pytest.skip('no browser')\n"
        "def test_it(browser):\n    pass\n"
    ),
    "test_a_skip_of_a_module": "import pytest\npytest.skip('no browser', allow_module_level=True)\n",
    "test_an_expected_failure": "import pytest\n@pytest.mark.xfail\ndef test_it():\n    assert False\n",
}


@pytest.mark.parametrize(("ci", "summary"), [("", "4 skipped, 1 xfailed"), ("true", "1 failed, 1 xfailed, 3 errors")])
def test_a_skipped_test_is_a_failure_in_ci_only(tmp_path: Path, ci: str, summary: str) -> None:
    for name, source in TESTS.items():
        (tmp_path / f"{name}.py").write_text(source)
    result = run_pytest(tmp_path, ci)
    assert summary in result.stdout
    assert result.returncode == (1 if ci else 0)
    assert result.stdout.count("no browser") >= (4 if ci else 1)


def run_pytest(directory: Path, ci: str) -> subprocess.CompletedProcess[str]:
    (directory / "pytest.ini").write_text("[pytest]\n")
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-rs",
            "--continue-on-collection-errors",
            "-p",
            "tests.conftest",
            "-p",
            "no:cacheprovider",
            str(directory),
        ],
        cwd=directory,
        env={**variables, "CI": ci, "PYTHONPATH": str(PROJECT), "DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
        timeout=60,
    )
