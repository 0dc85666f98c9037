"""The pages of what was learnt."""

import pytest
from django.urls import reverse

from accounts.models import Membership, Project, Role, User
from tests.admin.conftest import sign_in
from tests.learning.traffic import CODE, QUESTION, Traffic, lognormal

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner_browser(alice):
    return sign_in(alice.owner)


def text_of(client, name: str, tenant, **query: str) -> str:
    answer = client.get(reverse(f"admin:{name}", args=[tenant.organization.pk]), query)
    assert answer.status_code == 200
    return answer.content.decode()


def test_an_organization_of_which_nothing_is_known_is_told_so(alice, owner_browser):
    assert "Nothing was learnt here yet" in text_of(owner_browser, "expectations_organization", alice)
    assert "no job ended of which something was expected" in text_of(owner_browser, "calibration", alice)
    index = owner_browser.get(reverse("admin:expectations")).content.decode()
    assert reverse("admin:calibration", args=[alice.organization.pk]) in index


def test_a_picture_and_its_figures(alice, owner_browser):
    Traffic(alice, lognormal, CODE, seed=1, caps=(None, 1500)).run(330)
    Traffic(alice, lognormal, QUESTION, seed=2).run(30)
    page = text_of(owner_browser, "expectations_organization", alice)
    assert page.count('role="img"') == 3  # all prompts, and two classes
    assert "o1-mini, code-s" in page
    assert "330 calls" in page
    assert "Recommended cap" in page
    assert "not known" in page  # the 99th of thirty
    assert 'class="part-reasoning"' in page
    assert "style=" not in page.partition('id="content-main"')[2].partition("</main>")[0]
    of_project = text_of(owner_browser, "expectations_organization", alice, project=str(alice.project.pk))
    assert "Alice research. Effort: none asked for." in of_project
    assert "Nothing was learnt" in text_of(owner_browser, "expectations_organization", alice, project=_other(alice))


def _other(alice) -> str:
    return str(Project.objects.create(organization=alice.organization, name="Quiet", slug="quiet").pk)


def test_the_calibration_and_its_file(alice, owner_browser):
    traffic = Traffic(alice, lognormal, CODE, seed=1)
    traffic.run(100)
    jobs = traffic.run(100)
    page = text_of(owner_browser, "calibration", alice)
    assert f"{jobs[0].finished_at:%Y-%m}" in page
    assert "Within p90" in page
    file = owner_browser.get(reverse("admin:calibration_csv", args=[alice.organization.pk]))
    assert file.headers["Content-Type"].startswith("text/csv")
    assert len(file.content.decode().splitlines()) == 2
    empty = text_of(owner_browser, "calibration", alice, **{"from": "2024-09", "to": "2024-10"})
    assert "no job ended" in empty


@pytest.mark.parametrize("query", [{"from": "x"}, {"to": "2999-01"}, {"from": "2024-10", "to": "2024-09"}])
def test_months_that_are_none(alice, owner_browser, query):
    url = reverse("admin:calibration", args=[alice.organization.pk])
    assert owner_browser.get(url, query).status_code == 404


def test_who_sees_no_spend_finds_nothing(alice, bob):
    member = User.objects.create_user("member@alice.example", "a password for tests")
    Membership.objects.create(organization=alice.organization, user=member, role=Role.MEMBER)
    for user in (member, bob.owner):
        browser = sign_in(user)
        for name in ("expectations_organization", "calibration", "calibration_csv"):
            assert browser.get(reverse(f"admin:{name}", args=[alice.organization.pk])).status_code == 404
    foreign = {"project": str(bob.project.pk)}
    url = reverse("admin:expectations_organization", args=[alice.organization.pk])
    assert sign_in(alice.owner).get(url, foreign).status_code == 404
