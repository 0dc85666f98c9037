"""The whole of /api/v1 as its own schema describes it: requests that fit and requests that do not, with good keys.

SCHEMATHESIS_CASES says how many requests each operation gets; without it none is sent, since making them takes minutes.
Of the checks of schemathesis one is left out: a body that the schema allows may be refused all the same, as one that
names a project of somebody else, which no schema can say. And one where what is wrong with a query is lost in a URL:
an empty value says nothing, and a bare value is a list of one.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, transaction
from hypothesis import HealthCheck, Phase, settings

from accounts import api_keys, remembered
from accounts.models import ApiKey
from tests.conftest import Tenant, make_tenant

schemathesis = pytest.importorskip("schemathesis")
checks = pytest.importorskip("schemathesis.specs.openapi.checks")

CASES = int(os.environ.get("SCHEMATHESIS_CASES", "0"))

if not CASES:
    pytest.skip("SCHEMATHESIS_CASES is not set: it takes minutes", allow_module_level=True)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # nobody has collected static files, and none is asked for
    schema = schemathesis.openapi.from_wsgi("/api/v1/schema?format=json", WSGIHandler())


@pytest.fixture(autouse=True)
def _one_connection() -> Iterator[None]:
    """Requests give the connection back when they end; here it holds the transaction that is taken back."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


@pytest.fixture(scope="module")
def keys(django_db_setup, django_db_blocker) -> Iterator[dict[str, str]]:
    """A plain key and a management key of one organization."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remembered, "is_on", False)
        with django_db_blocker.unblock(), transaction.atomic():
            yield dict(_keys(make_tenant("Alice")))
            transaction.set_rollback(True)


def _keys(tenant: Tenant) -> Iterator[tuple[str, str]]:
    yield "plain", tenant.api_key.secret
    issued = api_keys.issue(tenant.project, name="managing", created_by=tenant.owner)
    ApiKey.objects.filter(pk=issued.api_key.pk).update(may_manage=True)
    yield "managing", issued.secret


@contextmanager
def taken_back() -> Iterator[None]:
    """What a request does is undone, so that one case leaves nothing to the next."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.mark.parametrize("kind", ["plain", "managing"])
@pytest.mark.django_db
@schema.parametrize()
@settings(
    max_examples=max(1, CASES),
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_the_schema_says(case, kind, keys):
    with taken_back():
        headers = {"Authorization": f"Bearer {keys[kind]}"}
        left_out = [checks.positive_data_acceptance]
        if is_its_fault_none(case):
            left_out.append(checks.negative_data_rejection)
        case.call_and_validate(headers=headers, excluded_checks=left_out)


def is_its_fault_none(case) -> bool:
    """Whether what is wrong with the query is nothing that a URL can say: an empty value, or a list's only one bare."""
    query = case.query or {}
    lists = {one.name for one in case.operation.query if one.definition.get("schema", {}).get("type") == "array"}
    return any(is_empty(value) or (name in lists and not isinstance(value, list)) for name, value in query.items())


def is_empty(value) -> bool:
    """Whether a parameter has no value, or nothing but empty ones, as a form sends it where nothing was chosen."""
    return not value or (isinstance(value, list) and not any(value))
