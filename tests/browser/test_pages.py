"""The pages of the admin in a real browser, light, dark and on a phone: all of our own, and a third of the models'."""

import json

import pytest
from axe_playwright_python.base import AXE_SCRIPT

from tests.browser.conftest import DESKTOP, PHONE, Site, Visit
from tests.browser.pages import ADDITIONS, CUSTOM, LISTS, ROWS

pytestmark = [pytest.mark.django_db(transaction=True, serialized_rollback=True), pytest.mark.timeout(900)]
# What a reader notices; best practices that are matters of taste stay out.
RULES = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
# Pages of models are made of the same parts: axe, which takes longer than all the rest, looks at those with most parts.
EXAMPLES = {
    *("list jobs.Job", "list billing.Quota", "list accounts.Project", "list jobs.Doubt"),
    *("row jobs.Job", "row accounts.User", "row accounts.Organization"),
    *("list accounts.AuditEntry", "row billing.WebhookEndpoint", "row billing.AlertSettings"),
    *("add billing.Quota", "add accounts.User"),
}
# Widgets of Django's own, which put no name where axe looks for it: the rule, and a part of the element's HTML.
OF_DJANGO = {
    ("aria-input-field-name", "select2-selection"),
    ("select-name", 'name="memberships-'),
    ("aria-prohibited-attr", "help-tooltip"),
}
# A third of the others is opened, as all of them are without a browser in tests/admin/test_every_page.py.
OF_MODELS = {
    name: path
    for pages in (LISTS, ROWS, ADDITIONS)
    for place, (name, path) in enumerate(pages.items())
    if name in EXAMPLES or place % 3 == 0
}


@pytest.mark.parametrize("pages", [CUSTOM, OF_MODELS], ids=["custom", "models"])
def test_pages(root: Visit, site: Site, pages):
    faults = {name: faults_of(root, name, path(site)) for name, path in pages.items()}
    assert {name: found for name, found in faults.items() if found} == {}


def faults_of(visit: Visit, name: str, path: str) -> list[str]:
    """What is wrong with a page, which is loaded once: on a phone, and on a large screen in light and dark before."""
    is_looked_through = name in EXAMPLES or name in CUSTOM
    visit.faults.clear()
    visit.page.set_viewport_size(DESKTOP if is_looked_through else PHONE)
    status = visit.open(path)
    found = [f"answered {status}"] if status != 200 else []
    if is_looked_through:
        found += serious_findings(visit)
        visit.page.evaluate("document.documentElement.classList.add('dark')")
        found += [f"dark: {one}" for one in serious_findings(visit, "color-contrast")]
        visit.page.set_viewport_size(PHONE)
    found += [f"wider than the window: {one}" for one in wider_than_the_window(visit)]
    return found + visit.faults


def serious_findings(visit: Visit, *rules: str) -> list[str]:
    """What axe calls serious or critical, as rule, place and HTML; by these rules alone where any are given."""
    options = {"resultTypes": ["violations"], "runOnly": {"type": "rule", "values": rules} if rules else RULES}
    # The sidebar is the same everywhere: it is looked at beside the tables.
    around = {} if visit.page.url.endswith("/admin/tables/") else {"exclude": ["#nav-sidebar"]}
    if not visit.page.evaluate("'axe' in window"):
        visit.page.evaluate(AXE_SCRIPT)
    found = visit.page.evaluate(
        "([around, options]) => axe.run(around.exclude ? around : document, options)", [around, options]
    )
    return [
        json.dumps([rule["id"], node["target"], node["html"][:200], node.get("failureSummary", "")[:200]])
        for rule in found["violations"]
        if rule["impact"] in {"serious", "critical"}
        for node in rule["nodes"]
        if not any(rule["id"] == name and part in node["html"] for name, part in OF_DJANGO)
    ]


def wider_than_the_window(visit: Visit) -> list[str]:
    """What makes the page scroll sideways; nothing where it does not."""
    return visit.page.evaluate(
        """() => {
            const root = document.documentElement;
            if (root.scrollWidth <= root.clientWidth) return [];
            return [...document.querySelectorAll("body *")]
                .filter((one) => one.getBoundingClientRect().right > root.clientWidth + 1)
                .slice(0, 8).map((one) => one.outerHTML.slice(0, 160));
        }"""
    )
