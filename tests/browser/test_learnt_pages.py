"""The pictures of what was learnt, with something to show: light, dark and on a phone."""

import pytest

from tests.browser.conftest import Site, Visit
from tests.browser.pages import CUSTOM
from tests.browser.test_pages import faults_of
from tests.learning.traffic import CODE, QUESTION, Traffic, bimodal, lognormal

pytestmark = [pytest.mark.django_db(transaction=True, serialized_rollback=True), pytest.mark.timeout(300)]


def test_pictures_and_calibration(root: Visit, site: Site):
    Traffic(site.alice, bimodal, CODE, seed=1, caps=(None, 1500)).run(600)
    Traffic(site.alice, lognormal, QUESTION, seed=2, effort="high").run(150)
    Traffic(site.alice, lognormal, CODE, seed=3, model="o1-preview").run(30)
    names = ("expectations of an organization", "calibration")
    assert {name: faults_of(root, name, CUSTOM[name](site)) for name in names} == {name: [] for name in names}
