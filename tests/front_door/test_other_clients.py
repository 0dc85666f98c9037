"""Other clients than that of the tests, each in a program that knows nothing of Bursar but address and key.

Skipped where they are not installed: `make clients` does that.
"""

import json
import os
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from billing.models import Quota
from jobs.models import Job
from tests.flows.conftest import PROMPT
from tests.front_door.install_clients import FOLDER

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)

PROGRAMS = Path(__file__).parent / "programs"


def run(program: str, web, alice) -> Any:
    """What a program printed."""
    if program == "old.py":
        folder, interpreter = FOLDER, str(FOLDER / "old" / "bin" / "python")
    else:
        folder, interpreter = FOLDER / "node", shutil.which("node") or ""
        if (folder / "node_modules").exists():
            # Its packages are looked for beside the program.
            shutil.copy(PROGRAMS / program, folder / program)
    if not interpreter or not Path(interpreter).exists() or not folder.exists():
        pytest.skip("not installed: `make clients`")
    environment = {"PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1", "PROMPT": PROMPT}
    environment |= {"OPENAI_BASE_URL": web.base_url, "OPENAI_API_KEY": alice.api_key.secret}
    path = PROGRAMS / program if program == "old.py" else folder / program
    ended = subprocess.run(
        [interpreter, str(path)], env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.mark.parametrize("program", ["old.py", "official.mjs", "ai.mjs", "langchain.mjs"])
def test_a_program_gets_the_golden_answer_and_then_the_limit(engine, web, alice, program):
    told = run(program, web, alice)
    assert (told["input"], told["output"], told["reasoning"]) == (43, 1511, 256)
    assert told["text"] == told["streamed"] != ""
    assert sum(job.total_usd for job in Job.objects.all()) == 2 * Decimal("0.018261")
    Quota.objects.create(organization=alice.organization, project=alice.project, limit=Decimal("0.05"))
    told = run(program, web, alice)
    assert (told["refused"], told["type"]) == ("project_spend_limit_exceeded", "insufficient_quota")
    # By a limit that the web process knows of only a second later, a job is queued before it is refused.
    assert Job.objects.filter(attempt_count__gt=0).count() == 2
