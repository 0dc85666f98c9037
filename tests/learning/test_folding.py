"""From a settlement to what is learnt: nothing is missed, and nothing counts twice."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from threading import Event

import pytest
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from accounts.models import Project
from jobs.estimates import Bound
from jobs.learning import folding
from jobs.learning.folding import learn_some
from jobs.learning.levels import Learnt, expectation_for, learnt_for
from jobs.learning.predictions import likeness_of, predict
from jobs.models import Calibration, Distribution, Job, Unlearnt
from jobs.submission import Submission, submit
from jobs.tasks import learn
from jobs.validation import PromptRequest
from tests.flows.processes import CHECKOUT, environment
from tests.learning.traffic import CODE, MODEL, QUESTION, Traffic, lognormal


def learnt() -> list[tuple]:
    """Everything that was learnt, to be compared."""
    kinds = ("project_id", "model", "reasoning_effort", "prompt_class", "calls", "cut_calls", "empty_calls", "learnt")
    names = [field.name for field in Calibration._meta.concrete_fields if field.name != "id"]
    return [
        *Distribution.objects.order_by(*kinds[:4]).values_list(*kinds),
        *Calibration.objects.order_by("month", "project", "model").values_list(*names),
    ]


def quantiles() -> list[tuple[int | None, ...]]:
    rows = Distribution.objects.order_by("project_id", "prompt_class")
    return [Learnt.of("class", row).quantiles for row in rows]


def test_a_call_is_learnt_of_at_all_four_levels(path):
    path.submit("o1-preview")
    path.submit("o1-preview", max_completion_tokens=300)
    path.run()
    assert Unlearnt.objects.count() == 2
    learn()
    assert not Unlearnt.objects.exists()
    kinds = {(row.project_id, row.prompt_class): row for row in Distribution.objects.all()}
    project = path.api_key.project
    assert kinds.keys() == {(project.pk, "code-s"), (project.pk, ""), (None, "code-s"), (None, "")}
    for row in kinds.values():
        assert (row.model, row.reasoning_effort, row.organization_id) == ("o1-preview", "", project.organization_id)
        assert (row.calls, row.cut_calls, row.empty_calls) == (2, 1, 1)
    learn()
    assert set(Distribution.objects.values_list("calls", flat=True)) == {2}


def test_a_job_without_an_answer_or_a_class_teaches_nothing(path):
    """Stopped at the provider after some tokens, and of a time before there were classes."""
    stopped, old = path.submit(), path.submit()
    path.run()
    Job.objects.filter(pk=stopped.pk).update(status="cancelled")
    Job.objects.filter(pk=old.pk).update(prompt_class="")
    assert Unlearnt.objects.count() == 2
    learn()
    assert not Unlearnt.objects.exists()
    assert not Distribution.objects.exists()


def test_several_answers_in_one_bill_have_no_class(alice):
    bound = Bound(10, 1000, Decimal(1), 1000)
    for count, expected in ((None, "code-s"), (1, "code-s"), (2, "")):
        prompt = PromptRequest(MODEL, [{"role": "user", "content": CODE}], {"n": count, "reasoning_effort": "high"})
        like = likeness_of(alice.project, prompt, bound)
        found = predict(like, bound, lambda: pytest.fail("nothing to price"))
        assert (found.prompt_class, found.reasoning_effort) == (expected, "high")


@pytest.mark.django_db
def test_effort_and_class_stand_on_the_job(client):
    body = {"model": "o1-mini", "prompt": "Why is the sky blue?"}
    assert client.post("/api/v1/jobs", body, format="json").status_code == 202
    (job,) = Job.objects.all()
    assert (job.reasoning_effort, job.prompt_class, job.expected_usd) == ("", "question-s", None)


@pytest.mark.django_db
def test_the_most_particular_level_with_enough_calls_answers(alice, bob):
    traffic = Traffic(alice, lognormal, CODE, seed=1)
    terms = traffic.terms
    assert expectation_for(alice.project, MODEL, "", "code-s", terms) is None
    traffic.run(19)
    assert expectation_for(alice.project, MODEL, "", "code-s", terms) is None
    traffic.run(81)
    assert expectation_for(alice.project, MODEL, "", "code-s", terms).level == "class"
    assert expectation_for(alice.project, MODEL, "", "question-s", terms).level == "project"
    second = Project.objects.create(organization=alice.organization, name="Second", slug="second")
    learnt_for.forget()
    assert expectation_for(second, MODEL, "", "code-s", terms).level == "organization_class"
    assert expectation_for(second, MODEL, "", "question-s", terms).level == "organization"
    assert expectation_for(second, MODEL, "high", "question-s", terms) is None
    assert expectation_for(second, "o1-preview", "", "code-s", terms) is None
    assert expectation_for(bob.project, MODEL, "", "code-s", terms) is None
    Traffic(alice, lognormal, QUESTION, seed=2).run(60)
    # Sixty of the class are not enough, where there are more of the project.
    assert expectation_for(alice.project, MODEL, "", "question-s", terms).level == "project"


@pytest.mark.django_db
def test_a_submission_asks_for_what_was_learnt_once_a_minute(alice, clock):
    traffic = Traffic(alice, lognormal, CODE, seed=3)
    traffic.run(120)
    learnt_for.forget()
    request = Submission(PromptRequest(MODEL, [{"role": "user", "content": CODE}], {"max_completion_tokens": 2000}))
    first = submit(alice.api_key.api_key, request)
    assert first.expected_p90_tokens > first.expected_p50_tokens > 0
    assert 0 < first.expected_usd < first.bound_usd
    assert 0 < first.expected_empty < 1
    for seconds, asked in ((0, 0), (59, 0), (2, 1)):
        clock.now += seconds
        with CaptureQueriesContext(connection) as queries:
            submit(alice.api_key.api_key, request)
        assert sum("jobs_distribution" in query["sql"] for query in queries) == asked


@pytest.mark.django_db
def test_relearning_comes_to_the_same(alice, capsys):
    Traffic(alice, lognormal, CODE, seed=4, caps=(None, 1500)).run(230)
    Traffic(alice, lognormal, QUESTION, seed=5).run(40)
    before, known = learnt(), quantiles()
    Distribution.objects.update(calls=F("calls") + 7)
    Distribution.objects.filter(prompt_class="").delete()
    call_command("relearn")
    assert "270 of 270 jobs" in capsys.readouterr().out
    assert [row[:7] for row in learnt()] == [row[:7] for row in before]
    assert [row for row in learnt() if len(row) != 8] == [row for row in before if len(row) != 8]
    assert quantiles() == known


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_learner_that_dies_anywhere_leaves_nothing_half_done(alice, simulator):
    traffic = Traffic(alice, lognormal, CODE, seed=6, caps=(None, 1500))
    traffic.finish(traffic.submit(30))
    for step in ("learning.taken", "learning.written"):
        told = environment(simulator, DJANGO_SETTINGS_MODULE="config.settings", BURSAR_CRASH_AT=f"{step}=kill")
        program = "import django; django.setup(); from jobs.tasks import learn; learn()"
        assert subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, env=told, check=False).returncode == -9
        assert Unlearnt.objects.count() == 30
        assert learnt() == []
    assert learn_some(20) == 20
    assert learn_some(20) == 10
    assert learn_some(20) == 0
    assert set(Distribution.objects.values_list("calls", flat=True)) == {30}


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_one_learns_at_a_time_and_a_late_settlement_is_not_missed(alice):
    traffic = Traffic(alice, lognormal, CODE, seed=7)
    early, late = traffic.submit(3), traffic.submit(2)
    other = connections.create_connection("default")
    try:
        # Ended first by every clock and every id, and committed last.
        traffic.finish(late)
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("DELETE FROM jobs_unlearnt")
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [folding.ONE_LEARNER])
            assert learn_some() == 0  # somebody else is at it
            cursor.execute("COMMIT")
            cursor.execute("BEGIN")
            cursor.execute("INSERT INTO jobs_unlearnt SELECT unnest(%s::uuid[])", [[job.pk for job in late]])
            traffic.finish(early)
            assert learn_some() == 3
            assert learn_some() == 0
            cursor.execute("COMMIT")
    finally:
        other.close()
    assert learn_some() == 2
    assert Distribution.objects.get(project=alice.project, prompt_class="code-s").calls == 5


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_settlement_waits_for_no_learner(path):
    """While one has learnt and not committed, another job is answered and booked; were a lock between, it would not."""
    path.submit()
    path.run()
    has_learnt, is_booked = Event(), Event()

    def learn_slowly() -> tuple[int, bool]:
        try:
            with transaction.atomic():
                done = learn_some()
                has_learnt.set()
                return done, is_booked.wait(60)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        learner = pool.submit(learn_slowly)
        assert has_learnt.wait(60)
        job = path.submit()
        path.run()
        job.refresh_from_db()
        assert job.status == "succeeded"
        is_booked.set()
        assert learner.result() == (1, True)
    assert learn_some() == 1


@pytest.mark.django_db
def test_stated_and_actual_are_added_up_by_month(alice):
    traffic = Traffic(alice, lognormal, CODE, seed=8)
    traffic.run(100)
    assert not Calibration.objects.exists()  # nothing was expected of the first
    jobs = traffic.run(100)
    row = Calibration.objects.get()
    assert (row.jobs, row.project, row.model) == (100, alice.project, MODEL)
    assert row.month == jobs[0].finished_at.date().replace(day=1)
    assert row.actual_usd == sum(job.total_usd for job in jobs)
    assert row.expected_usd == sum(job.expected_usd for job in jobs) > Decimal(0)
    assert row.p90_within == sum(traffic.needs[job.pk].whole <= job.expected_p90_tokens for job in jobs)
