"""Bounds are promises: nothing that is learnt changes what a call holds."""

from billing.models import Budget, Reservation
from jobs.learning.folding import learn_some
from jobs.learning.levels import learnt_for
from jobs.models import Calibration, Distribution
from tests.learning.traffic import CODE, Traffic, lognormal


def test_what_is_expected_of_a_job_changes_neither_its_bound_nor_its_hold(path, alice):
    def held():
        job = path.submit(prompt=CODE, max_completion_tokens=9000)
        (attempt,) = path.dispatch()
        hold = Reservation.objects.get(reference=attempt.pk)
        path.run()
        bound = (job.bound_usd, job.bound_input_tokens, job.bound_output_tokens, job.admission_tokens)
        return job, (*bound, hold.amount_usd, hold.input_tokens, hold.output_tokens)

    before, first = held()
    assert learn_some() == 1
    Traffic(alice, lognormal, CODE, seed=11).run(400)
    learnt_for.forget()
    after, second = held()
    assert (before.expected_usd, Distribution.objects.exists()) == (None, True)
    assert after.expected_p99_tokens is not None
    assert after.expected_usd < after.bound_usd
    assert first == second
    assert first[0] == first[4]
    assert not Budget.objects.exclude(held=0).exists()
    Calibration.objects.all().delete()
    Distribution.objects.all().delete()
    learnt_for.forget()
    assert held()[1] == first
