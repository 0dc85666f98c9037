"""What stands around every page of the admin: the sidebar, the simulator's label, and what the browser may run."""

import pytest
from django.test import Client
from django.urls import reverse

from config import content_security, navigation
from tests.admin.test_every_page import REGISTERED

INDEX = reverse("admin:index")


def sidebar(client: Client) -> dict[str, list[str]]:
    """The titles of the links, by group."""
    groups = client.get(INDEX).context["sidebar_navigation"]
    return {group["title"]: [item["title"] for item in group["items"]] for group in groups}


def test_sidebar_lists_what_a_person_may_open_and_nothing_else(staff_with):
    assert sidebar(staff_with("jobs.view_job", "billing.view_quota")) == {
        "": ["Overview"],
        "Limits": ["Quotas"],
        "Work": ["Jobs"],
    }
    assert sidebar(staff_with()) == {"": ["Overview"]}


def test_sidebar_has_a_place_for_every_model():
    named = {name for group in navigation.GROUPS for name, _ in group.entries}
    ours = {model.__name__ for model in REGISTERED if model._meta.app_label in {"accounts", "billing", "jobs"}}
    assert ours <= named


def test_what_has_no_place_stands_in_the_last_group():
    page = {"object_name": "New", "name": "new page", "admin_url": "/admin/new/"}
    groups = navigation.sidebar([{"models": [page]}], "/admin/new/")
    assert [group["title"] for group in groups] == ["", navigation.GROUPS[-1].title]
    assert groups[-1]["items"][0]["title"] == "New page"
    assert groups[-1]["items"][0]["active"]


def test_no_search_over_everything(admin: Client):
    assert admin.get(reverse("admin:search"), {"s": "job", "extended": ""}).status_code == 404


@pytest.mark.parametrize("is_simulator", [True, False])
def test_the_simulator_says_so_on_every_page(admin: Client, settings, is_simulator: bool):
    settings.PROVIDER_IS_SIMULATOR = is_simulator
    assert ("no real money" in admin.get(INDEX).text) is is_simulator


def test_pages_have_a_policy_and_answers_of_the_api_have_none(admin: Client, client):
    for page in (INDEX, reverse("docs"), "/no/such/page"):
        assert admin.get(page).headers["Content-Security-Policy"] == content_security.POLICY, page
    assert "Content-Security-Policy" not in client.get("/api/v1/models").headers


def test_pages_that_go_wrong_say_what_to_do(staff_with):
    assert "your role does not cover" in staff_with().get(reverse("admin:jobs_job_changelist")).text
    careful = Client(enforce_csrf_checks=True)
    assert "This form is out of date" in careful.post(reverse("admin:login"), {"username": "x"}).text
