"""Who uses no mouse, and who sees no colours: the way through the admin by keyboard alone; pages without a sign-in."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import PHONE, Visit
from tests.browser.test_pages import serious_findings, wider_than_the_window

pytestmark = [pytest.mark.django_db(transaction=True, serialized_rollback=True), pytest.mark.timeout(300)]


def outline_of_focus(visit: Visit) -> str:
    return visit.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")


def test_the_first_stop_of_the_keyboard_skips_to_the_content(root: Visit):
    page = root.page
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    assert page.url.endswith("#content")
    page.keyboard.press("Tab")
    assert page.evaluate("document.getElementById('content').contains(document.activeElement)")
    assert outline_of_focus(root) != "none"


def test_the_menu_of_a_phone_opens_and_leads_on_by_keyboard(root: Visit):
    page = root.page
    page.set_viewport_size(PHONE)
    root.open("/admin/")
    jobs = page.locator("#nav-sidebar").get_by_role("link", name="Jobs", exact=True)
    expect(jobs).not_to_be_visible()
    menu = page.get_by_role("button", name="Show or hide the menu")
    menu.focus()
    assert outline_of_focus(root) != "none"
    page.keyboard.press("Enter")
    expect(jobs).to_be_visible()
    jobs.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/admin/jobs/job/")
    assert root.faults == []


@pytest.mark.parametrize(
    ("path", "status"), [("/admin/login/", 200), ("/no/such/page", 404), ("/api/v1/docs", 200), ("/api/v1/redoc", 200)]
)
def test_pages_without_a_sign_in(window: Visit, path: str, status: int):
    """They load nothing from elsewhere and break no rule of their own policy."""
    assert window.open(path) == status
    if path.startswith("/api/"):
        expect(window.page.get_by_text("/api/v1/jobs", exact=True).first).to_be_visible()
    else:
        assert serious_findings(window) == []
        window.page.set_viewport_size(PHONE)
        assert wider_than_the_window(window) == []
    # The browser itself tells of a 404 on the console, and of the makers' sign in Redoc, which the policy keeps away.
    expected = ["404 (Not Found)"] if status == 404 else ["logo-mini.svg"]
    assert [fault for fault in window.faults if not any(one in fault for one in expected)] == []


def test_a_page_forbids_scripts_from_elsewhere(window: Visit):
    answer = window.page.goto(f"{window.url}/admin/login/")
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self' 'unsafe-eval';" in policy
    assert "frame-ancestors 'none'" in policy
    window.page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'}))"
    )
    assert window.page.evaluate("window.ran") is None
    assert any("Content Security Policy" in fault for fault in window.faults)
