"""Alerts in the admin: acknowledged by whoever may, and seen on the page of the project that they paused."""

from decimal import Decimal
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Project, User
from billing.alerts import raise_overrun
from billing.models import Alert

CHANGELIST = reverse("admin:billing_alert_changelist")


@pytest.fixture
def alert(project: Project) -> Alert:
    return raise_overrun(
        organization_id=project.organization_id,
        project_id=project.pk,
        reference=uuid4(),
        model="o1-preview",
        total_usd=Decimal("3.5"),
        bound_usd=Decimal("2.25"),
    )


@pytest.fixture
def project_page(project: Project) -> str:
    return reverse("admin:accounts_project_change", args=[project.pk])


def test_it_is_acknowledged_once_and_by_name(admin: Client, superuser: User, alert: Alert):
    chosen = {"action": "acknowledge_chosen", "_selected_action": [str(alert.pk)]}
    assert "1 acknowledged" in admin.post(CHANGELIST, chosen, follow=True).text
    alert.refresh_from_db()
    assert (alert.acknowledged_by, alert.acknowledged_at is not None) == (superuser, True)
    assert "0 acknowledged" in admin.post(CHANGELIST, chosen, follow=True).text
    assert LogEntry.objects.filter(user=superuser, change_message="Acknowledged.").count() == 1
    assert alert.text not in admin.get(CHANGELIST, {"state": "open"}).text
    assert alert.text in admin.get(CHANGELIST, {"state": "acknowledged"}).text


def test_who_may_only_look_cannot_acknowledge(staff_with, alert: Alert):
    viewer = staff_with("billing.view_alert")
    assert alert.text in viewer.get(CHANGELIST).text
    viewer.post(CHANGELIST, {"action": "acknowledge_chosen", "_selected_action": [str(alert.pk)]})
    assert Alert.objects.get().acknowledged_at is None
    acknowledger = staff_with("billing.view_alert", "billing.acknowledge_alert")
    acknowledger.post(CHANGELIST, {"action": "acknowledge_chosen", "_selected_action": [str(alert.pk)]})
    assert Alert.objects.get().acknowledged_at is not None


def test_the_project_says_what_is_open_and_that_it_is_paused(
    admin: Client, staff_with, project: Project, project_page: str, alert: Alert
):
    Project.objects.update(paused_at=timezone.now(), paused_reason="A call cost more than its bound.")
    page = admin.get(project_page).text
    assert "no new call starts: A call cost more than its bound." in page
    assert reverse("admin:billing_alert_change", args=[alert.pk]) in page
    viewer = staff_with("accounts.view_project").get(project_page).text
    assert "no new call starts" in viewer
    assert "Unpause" not in viewer
    assert alert.text not in viewer


def test_the_button_unpauses(admin: Client, project: Project, project_page: str):
    Project.objects.update(paused_at=timezone.now(), paused_reason="A call cost more than its bound.")
    changelist = reverse("admin:accounts_project_changelist")
    page = admin.get(project_page).text
    assert f'action="{changelist}"' in page
    assert f'name="_selected_action" value="{project.pk}"' in page
    admin.post(changelist, {"action": "unpause", "_selected_action": str(project.pk)})
    project.refresh_from_db()
    assert (project.paused_at, project.paused_reason) == (None, "")
    assert "Unpause" not in admin.get(project_page).text
    assert admin.get(reverse("admin:accounts_project_add")).status_code == 200
