"""Webhook endpoints in the admin: added with a secret that is shown once, tested, rotated, replayed."""

import re

import pytest
from django.test import Client
from django.urls import reverse

from accounts.audit import SERVICE
from accounts.models import AuditEntry, Membership, Organization, Role, User
from billing.models import AlertSettings, WebhookDelivery, WebhookEndpoint
from billing.webhooks import endpoints
from tests.admin.conftest import sign_in

URL = "https://hooks.example.com/bursar"
LIST = reverse("admin:billing_webhookendpoint_changelist")
LOG = reverse("admin:billing_webhookdelivery_changelist")


@pytest.fixture
def endpoint(organization: Organization) -> WebhookEndpoint:
    return endpoints.create(organization, URL, by=SERVICE)[0]


def act(browser: Client, name: str, *rows, at: str = LIST) -> str:
    chosen = {"action": name, "_selected_action": [str(row.pk) for row in rows]}
    return browser.post(at, chosen, follow=True).text


def test_it_is_added_with_a_secret_that_is_shown_once(admin: Client, organization: Organization):
    fields = {"organization": organization.pk, "url": URL, "description": "ours", "event_types": ["budget.exhausted"]}
    page = admin.post(reverse("admin:billing_webhookendpoint_add"), fields, follow=True).text
    made = WebhookEndpoint.objects.get()
    assert made.secret.replace("+", "&#x2B;") in page.replace("+", "&#x2B;")
    assert (made.event_types, made.organization) == (["budget.exhausted"], organization)
    shown = admin.get(reverse("admin:billing_webhookendpoint_change", args=[made.pk])).text
    assert "whsec_" not in shown
    assert AuditEntry.objects.get(subject_type="webhook_endpoint").actor.email == "root@bursar.example"


def test_a_url_that_leads_inside_is_an_error_of_the_form(admin: Client, organization: Organization):
    fields = {"organization": organization.pk, "url": "https://169.254.169.254/"}
    page = admin.post(reverse("admin:billing_webhookendpoint_add"), fields)
    assert page.status_code == 200
    assert "not one that webhooks may be sent to" in page.text
    assert WebhookEndpoint.objects.count() == 0


def test_it_is_disabled_enabled_tested_and_rotated(admin: Client, endpoint: WebhookEndpoint):
    secret = endpoint.secret
    assert "1 disabled" in act(admin, "disable", endpoint)
    assert "enable it first" in act(admin, "test", endpoint)
    assert "1 enabled" in act(admin, "enable", endpoint)
    assert "A test is on its way" in act(admin, "test", endpoint)
    assert WebhookDelivery.objects.get().event_type == "webhook.test"
    assert re.search("whsec_", act(admin, "rotate", endpoint))
    endpoint.refresh_from_db()
    assert endpoint.secret != secret


def test_a_delivery_is_looked_at_and_sent_again(admin: Client, endpoint: WebhookEndpoint):
    delivery = endpoints.test(endpoint)
    delivery.log.create(tried_at=delivery.created_at, milliseconds=12, http_status=500, answer="<b>sorry</b>")
    WebhookDelivery.objects.update(status="failed", finished_at=delivery.created_at)
    page = admin.get(reverse("admin:billing_webhookdelivery_change", args=[delivery.pk])).text
    assert "&lt;b&gt;sorry" in page
    assert "1 sent again" in act(admin, "replay", delivery, at=LOG)
    delivery.refresh_from_db()
    assert delivery.status == "pending"


def test_an_organization_chooses_what_it_is_told(admin: Client, organization: Organization):
    fields = {"organization": organization.pk, "percents": ["90"], "doubts_count": "5", "doubts_usd": "2.5"}
    admin.post(reverse("admin:billing_alertsettings_add"), fields)
    row = AlertSettings.objects.get()
    assert (row.percents, row.tells_forecasts, row.doubts_count) == ([90], False, 5)
    assert AuditEntry.objects.get(subject_type="alert_settings").after["percents"] == [90]


@pytest.mark.parametrize(("role", "sees"), [(Role.BILLING, True), (Role.VIEWER, False), (Role.MEMBER, False)])
def test_people_find_the_endpoints_of_their_organization_alone(endpoint, organization, bob, role, sees):
    """Here of the staff without any permission of Django's, so that it is the role that opens the page."""
    theirs = endpoints.create(bob.organization, "https://theirs.example.com/", by=SERVICE)[0]
    user = User.objects.create_user("someone@alice.example", "a password for tests", is_staff=True)
    Membership.objects.create(organization=organization, user=user, role=role)
    browser = sign_in(user)
    page = browser.get(LIST)
    assert page.status_code == (200 if sees else 403)
    assert (URL in page.text) is sees
    assert "theirs.example.com" not in page.text
    other = browser.get(reverse("admin:billing_webhookendpoint_change", args=[theirs.pk]))
    assert other.status_code in {302, 403, 404}
    if sees:
        act(browser, "disable", theirs)
        theirs.refresh_from_db()
        assert theirs.disabled_at is None
        choices = browser.get(reverse("admin:billing_webhookendpoint_add")).text
        assert "Bob" not in choices
