"""Admin > Undelivered answers: what was paid for, and whether anybody waits for it."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.urls import reverse
from django.utils import timezone

from tests.admin.conftest import make_job, make_undelivered

LIST = "admin:jobs_undelivered_changelist"


@pytest.mark.parametrize(
    ("is_finished", "waiter", "silent_for", "told"),
    [
        (True, True, 1, "waited for"),
        (True, True, 60, "not collected"),
        (True, False, 1, "not collected"),
        (False, True, 1, "waited for"),
        (False, False, 1, "nobody waits"),
    ],
)
def test_the_list_says_what_nobody_has_come_for(admin, finished, owner, api_key, is_finished, waiter, silent_for, told):
    job = finished.job if is_finished else make_job(finished.job.project, owner)
    seen_at = timezone.now() - timedelta(seconds=silent_for)
    make_undelivered(job, api_key.api_key, waiter=uuid4() if waiter else None, waiter_seen_at=seen_at)
    shown = admin.get(reverse(LIST)).text
    assert told in shown
    assert {"waited for", "not collected", "nobody waits"} - {told} == {
        other for other in ("waited for", "not collected", "nobody waits") if other not in shown
    }
    assert ("0.077385" in shown) is is_finished
    assert reverse("admin:jobs_job_change", args=[job.pk]) in shown
