"""`bursar compare`: the four calls of the documentation's example at a terminal."""

import json

import pytest

from jobs.api.comparisons.examples import SUBMISSION_BODY, WORDING
from jobs.api.examples import PROMPT
from jobs.comparisons import steps
from jobs.models import Comparison
from tests.command_line.conftest import finish

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)


@pytest.fixture
def worked(path):
    """What Bursar's workers would do meanwhile."""

    class Worked:
        def run(self) -> None:
            steps.work(1)
            path.run()

    return Worked()


def test_a_file_is_compared_and_the_table_shown(shell, worked, simulator):
    (shell.folder / "sample.json").write_text(json.dumps(SUBMISSION_BODY))
    done = finish(shell.begin("compare", "sample.json", "--wait", "-o", "runs.csv"), worked)
    assert done.code == 0, done.err
    for cost in ("0.077385", "0.018645", "0.018261", "0.006009"):
        assert cost in done.out
    for saved in ("58.74", "59.124", "71.376", "92.2 %"):
        assert saved in done.out
    assert "completed: 0.1203 of 4.00 USD" in done.err
    assert "1 answers were paid for and empty" in done.err
    assert len((shell.folder / "runs.csv").read_text().splitlines()) > 4


def test_variants_are_typed(shell, worked, simulator):
    typed = ("-m", "o1-preview,cap=300", "-m", "o1-mini", "--wording", WORDING, "--max-cost", "4")
    done = finish(shell.begin("--json", "compare", "--prompt", PROMPT, *typed, "--wait"), worked)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    asked = [(one["model"], one["max_completion_tokens"], one["wording"]) for one in found["variants"]]
    assert asked == [
        ("o1-preview", 300, None),
        ("o1-mini", None, None),
        ("o1-preview", 300, WORDING),
        ("o1-mini", None, WORDING),
    ]
    assert found["variants"][3]["figures"]["cost"]["mean_usd"] == "0.006009"


def test_without_waiting_the_id_is_printed(shell, path):
    done = shell("compare", "--prompt", "Why?", "-m", "o1-mini", "--max-cost", "2", "--no-wait")
    assert (done.code, done.out.strip()) == (0, str(Comparison.objects.get().pk))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--prompt", "Why?", "-m", "o1-mini"), "--max-cost"),
        (("--prompt", "Why?", "--max-cost", "1"), "-m MODEL"),
        (("-m", "o1-mini,colour=red", "--prompt", "Why?", "--max-cost", "1"), "MODEL,cap=300"),
        (("nowhere.json",), "cannot be read"),
    ],
)
def test_what_is_missing_is_said(shell, arguments, told):
    done = shell("compare", *arguments)
    assert done.code == 2
    assert told in done.err
