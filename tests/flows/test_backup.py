"""The drill of docs/operations.md, as it stands there: what is dumped can be restored, and its books agree."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection

from billing.models import LedgerEntry
from config.embedded import postgres
from tests.flows.processes import CHECKOUT

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)

RESTORED = "bursar_restored"


@pytest.fixture
def no_restored_database():
    def drop():
        with connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {RESTORED}")

    drop()
    yield
    drop()


def drill() -> str:
    """The commands between the fences of the section on backups."""
    section = (CHECKOUT / "docs" / "operations.md").read_text().partition("\n## Backups\n")[2].partition("\n## ")[0]
    (commands,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return commands


def url_of(name: str) -> str:
    own = connection.settings_dict
    return f"postgres://{own['USER']}:{own['PASSWORD']}@{own['HOST']}:{own['PORT']}/{name}"


def test_the_drill_restores_a_dump_whose_books_agree(path, alice, tmp_path, no_restored_database):
    path.submit()
    path.run()
    path.submit()
    path.dispatch()  # a hold that is open
    assert LedgerEntry.objects.count() == 3
    places = [str(postgres.binaries().folder), str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {
        **os.environ,
        "PATH": os.pathsep.join(places),
        "DATABASE_URL": url_of(connection.settings_dict["NAME"]),
        "RESTORED_URL": url_of(RESTORED),
    }
    commands = drill().replace("bursar.dump", str(tmp_path / "bursar.dump"))
    ended = subprocess.run(["sh", "-ec", commands], cwd=CHECKOUT, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("alice: 3 lines, ")
    assert "agree" in ended.stdout
