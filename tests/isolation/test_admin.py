"""Every page of the admin, asked by every role for what is another organization's, and for what does not exist.

The pages are read from the URL configuration: a new one fails here until it is listed.
"""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib import admin
from django.contrib.admin.filters import RelatedFieldListFilter
from django.db import models, transaction
from django.urls import URLResolver, get_resolver, reverse

from accounts import remembered
from accounts.admin.scope import EVERYBODYS, Scoped
from accounts.models import Membership, Organization, Role
from config import navigation
from tests.isolation import world as worlds
from tests.isolation.world import PEOPLE, ROLES, World, differing, in_turn, leaked, said, snapshot, told

pytestmark = pytest.mark.django_db

# What Django's pages of a model are called.
OF_MODELS = {"changelist", "add", "change", "history", "delete"}
# The others that name something, by what they name it with; and how they are asked.
WITH_ID: dict[str, tuple[str, ...]] = {
    "billing_spend_organization": ("GET",),
    "billing_reconciliation_organization": ("GET",),
    "billing_reconciliation_ask": ("POST",),
    "billing_reconciliation_decide": ("GET", "POST"),
    "billing_book_verification": ("GET",),
    "billing_book_verify": ("POST",),
    "billing_book_repair": ("GET", "POST"),
    "auth_user_password_change": ("GET", "POST"),
    "dashboard": ("GET",),
    "dashboard_change": ("GET",),
    "dashboard_live": ("GET",),
    "dashboard_csv": ("GET",),
    "expectations_organization": ("GET",),
    "calibration": ("GET",),
    "calibration_csv": ("GET",),
    "billing_statement": ("GET",),
    "waste_organization": ("GET",),
    "waste_csv": ("GET",),
    "billing_statement_file": ("GET",),
    "billing_spend_export": ("GET",),
    "billing_review": ("GET", "POST"),
    "billing_quotas_organization": ("GET",),
    "billing_quota_new": ("GET", "POST"),
    "billing_quota_requests": ("GET", "POST"),
    "billing_quota_page": ("GET", "POST"),
    "jobs_comparison_live": ("GET",),
    "jobs_comparison_cancel": ("GET", "POST"),
}
# What else stands in their paths.
AND_MORE = {"dashboard_csv": "days", "billing_statement_file": "csv"}
# Those that name nothing: what they show is the person's own.
WITHOUT_ID = {
    "index",
    "search",
    "password_change",
    "password_change_done",
    "jsi18n",
    "second_step_settings",
    "billing_spend",
    "billing_what_if",
    "billing_reconciliation",
    "billing_price_import",
    "billing_price_example",
    "billing_price_export",
    "billing_statements",
    "waste",
    "billing_quotas",
    "organizations",
    "expectations",
    "tables",
    "accounts_auditentry_export",
    "jobs_comparison_start",
}
# Asked apart, or by strangers too.
ELSEWHERE = {
    "app_list",
    "autocomplete",
    "login",
    "logout",
    "second_step",
    "admin_password_reset",
    "password_reset_done",
    "password_reset_confirm",
    "password_reset_complete",
}
# The catch-all, and Django's old addresses of change pages, which lead to the new ones whether there is a row or not.
UNNAMED = {"admin/(?P<url>.*)$"}
PAGES = admin.site._registry
SIDEBAR = navigation.sidebar


def routes(resolver: Any, prefix: str = "") -> Iterator[tuple[str, str | None]]:
    for entry in resolver.url_patterns:
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from routes(entry, route)
        else:
            yield route, entry.name


@pytest.fixture(scope="module")
def world(django_db_setup, django_db_blocker) -> Iterator[World]:
    """One for all of them, which change nothing; whatever a test does change, it takes back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remembered, "is_on", False)
        # The same on every page, and most of the work of many; one test looks at it.
        patch.setattr(navigation, "sidebar", lambda apps, path: [])
        with django_db_blocker.unblock(), transaction.atomic():
            yield worlds.build()
            transaction.set_rollback(True)


@pytest.fixture
def _taken_back(world) -> Iterator[None]:
    for client in world.clients.values():
        client.cookies.pop("messages", None)  # what an earlier test was told
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def url_of(model: type[models.Model], name: str, *args: object) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}", args=args)


def unknown(row: models.Model | None) -> Any:
    return uuid4() if row is None or isinstance(row.pk, UUID) else 987_654_321


def theirs() -> list[type[models.Model]]:
    """The models whose rows belong to organizations."""
    return [model for model, page in PAGES.items() if isinstance(page, Scoped) and page.place != EVERYBODYS]


def test_every_page_is_listed_here():
    of_models = {f"{m._meta.app_label}_{m._meta.model_name}_{name}" for m in PAGES for name in OF_MODELS}
    old = {f"admin/{m._meta.app_label}/{m._meta.model_name}/<path:object_id>/" for m in PAGES}
    found = [(route, name) for route, name in routes(get_resolver()) if route.startswith("admin/")]
    assert {name for _, name in found if name} == of_models | set(WITH_ID) | WITHOUT_ID | ELSEWHERE
    assert {route for route, name in found if not name} - old == UNNAMED


def test_the_world_has_a_row_of_everything(world):
    assert [model._meta.label for model in theirs() if None in world.rows[model]] == []


def test_each_sees_of_their_own_what_the_role_allows(world):
    for model in theirs():
        own, _ = world.rows[model]
        capability = PAGES[model].sees
        for who in in_turn(*ROLES):
            answer = world.clients[who].get(url_of(model, "change", own.pk))
            is_wide = who != "lead" or not PAGES[model].place.organization
            if is_wide and worlds.may_see(world, who, capability):
                assert answer.status_code == 200, (model, who)
                assert leaked(world, answer.content.decode()) == [], (model, who)
            elif not worlds.may_see(world, who, capability):
                assert answer.status_code == 403, (model, who)


def test_a_row_of_others_is_as_one_that_is_not_there(world):
    for model in [*theirs(), *(m for m in PAGES if m._meta.model_name in {"user", "group"})]:
        _, other = world.rows[model]
        if other is None:
            continue
        for who in in_turn(*ROLES, "staff", "anonymous"):
            client = world.clients[who]
            for name in ("change", "history", "delete"):
                missing = unknown(other)
                here, nowhere = (client.get(url_of(model, name, pk)) for pk in (other.pk, missing))
                assert differing(told(here, other.pk), told(nowhere, missing)) == [], (model, who, name)
                assert here.status_code in {302, 403, 404}, (model, who, name)
                assert leaked(world, here.content.decode(), other.pk) == [], (model, who, name)


def test_no_list_holds_what_is_of_others(world):
    """Nor the choices of its filters, which every list shows."""
    for model in PAGES:
        for who in in_turn(*ROLES, "staff", "anonymous"):
            text = world.clients[who].get(url_of(model, "changelist")).content.decode()
            assert leaked(world, text) == [], (model, who)


def test_a_search_and_a_filter_by_others_find_as_much_as_by_nobody(world):
    client = world.clients["owner"]
    for model in theirs():
        page, (_, other) = url_of(model, "changelist"), world.rows[model]
        shown = world.clients["superuser"].get(page)
        names = [
            spec.lookup_kwarg for spec in shown.context["cl"].filter_specs if isinstance(spec, RelatedFieldListFilter)
        ]
        of_project = {name: world.other.project.pk for name in names if "project" in name}
        by = other.pk if isinstance(other.pk, UUID) else world.other.organization.pk
        asked = {"q": by, **{name: world.other.organization.pk for name in names if "organization" in name}}
        for name, value in {**asked, **of_project}.items():
            missing = uuid4()
            here, nowhere = (client.get(page, {name: str(one)}) for one in (value, missing))
            assert differing(told(here, value), told(nowhere, missing)) == [], (model, name)
            assert leaked(world, here.content.decode(), value) == [], (model, name)
        text = client.get(page, {"q": worlds.OTHER}).content.decode()
        assert leaked(world, text, worlds.OTHER) == [], model


def test_choices_while_typing(world):
    for model, page in PAGES.items():
        for name in page.autocomplete_fields:
            asked = {"app_label": model._meta.app_label, "model_name": model._meta.model_name, "field_name": name}
            for who in in_turn(*ROLES, "staff", "anonymous"):
                for term in ("", worlds.OTHER, str(world.other.project.pk)):
                    answer = world.clients[who].get(reverse("admin:autocomplete"), {**asked, "term": term})
                    assert leaked(world, answer.content.decode()) == [], (model, name, who, term)


def test_forms_offer_nothing_of_others(world):
    for model in PAGES:
        for who in ("owner", "admin", "billing", "lead"):
            text = world.clients[who].get(url_of(model, "add")).content.decode()
            assert leaked(world, text) == [], (model, who)


def test_nothing_of_a_request_stays_on_a_page(world):
    """All threads share it: what one person leaves there another would find."""
    for model in theirs():
        before = dict(vars(PAGES[model]))
        for name, args in (("changelist", ()), ("change", (world.rows[model][0].pk,))):
            world.clients["superuser"].get(url_of(model, name, *args))
        assert vars(PAGES[model]) == before, model


@pytest.mark.usefixtures("_taken_back")
def test_pages_of_their_own_name(world):
    before = snapshot(world)
    for name, methods in WITH_ID.items():
        other: Any = world.other.organization.pk
        if name == "billing_reconciliation_decide":
            other = worlds.rows_of(apps_model("billing", "ReconciliationLine"), world.other).first().pk
        if name == "auth_user_password_change":
            other = world.other.owner.pk
        missing: Any = uuid4() if isinstance(other, UUID) else 987_654_321
        more: list[Any] = [AND_MORE[name]] if name in AND_MORE else []
        if name == "billing_quota_page":
            more = [world.other.organization.quotas.get().pk]
        pages = [reverse(f"admin:{name}", args=[pk, *more]) for pk in (other, missing)]
        for who in in_turn(*ROLES, "staff", "anonymous"):
            for method in methods:
                here, nowhere = (getattr(world.clients[who], method.lower())(page) for page in pages)
                assert differing(told(here, other), told(nowhere, missing)) == [], (name, who, method)
                assert here.status_code in {302, 403, 404}, (name, who, method)
                assert leaked(world, said(here), other, *more) == [], (name, who, method)
    assert snapshot(world) == before


def test_pages_that_name_nothing(world, monkeypatch):
    """With the sidebar, as the person has it."""
    monkeypatch.setattr(navigation, "sidebar", SIDEBAR)
    asked = {"q": "z", "s": worlds.OTHER, "term": worlds.OTHER}
    for name in sorted(WITHOUT_ID):
        for who in in_turn(*ROLES, "staff", "anonymous"):
            for query in ({}, asked):
                text = said(world.clients[who].get(reverse(f"admin:{name}"), query))
                assert leaked(world, text, worlds.OTHER if query else "") == [], (name, who)


def test_parameters_of_pages(world):
    """What comes as a parameter, or stands in the path of a page of one's own, is looked for among one's own too."""
    own, other = world.own.organization.pk, world.other
    team, quota = other.organization.teams.get().pk, other.organization.quotas.get().pk
    dashboard, change = (reverse(f"admin:{name}", args=[own]) for name in ("dashboard", "dashboard_change"))
    days, export = reverse("admin:dashboard_csv", args=[own, "days"]), reverse("admin:billing_spend_export", args=[own])
    review, new_quota = reverse("admin:billing_review", args=[own]), reverse("admin:billing_quota_new", args=[own])
    project = {"project": other.project.pk}
    asked: list[tuple[str, dict[str, Any], set[int]]] = [
        *((page, project, {403, 404}) for page in (dashboard, change, days)),
        *((page, {"team": team}, {403, 404}) for page in (dashboard, change, days)),
        # Empty, where it is not refused.
        (reverse("admin:waste_organization", args=[own]), project, {200, 403, 404}),
        (reverse("admin:waste_csv", args=[own]), project, {200, 403, 404}),
        (review, project, {200, 403, 404}),
        (f"{export}?format=csv", project, {200, 403, 404}),
        (f"{new_quota}?scope=project", {"owner": other.project.pk}, {404}),
        (f"{new_quota}?scope=team", {"owner": team}, {404}),
        (f"{new_quota}?scope=key", {"owner": other.api_key.api_key.pk}, {404}),
        (reverse("admin:billing_what_if"), {"organization": other.organization.pk}, {403, 404}),
    ]
    for who in ROLES:
        for url, query, statuses in asked:
            ((key, value),) = query.items()
            missing, joint = uuid4(), "&" if "?" in url else "?"
            here, nowhere = (world.clients[who].get(f"{url}{joint}{key}={one}") for one in (value, missing))
            assert here.status_code in statuses, (url, who)
            assert differing(told(here, value), told(nowhere, missing)) == [], (url, who)
            assert leaked(world, said(here), value) == [], (url, who)
        here = world.clients[who].get(reverse("admin:billing_quota_page", args=[own, quota]))
        assert (here.status_code, leaked(world, said(here), quota)) == (404, []), who
        member = world.clients[who].get(dashboard, {"member": other.owner.pk})
        assert (member.status_code, leaked(world, said(member))) == (404, []), who
    what_if = reverse("admin:billing_what_if")
    form = {"organization": world.own.organization.pk, "project": other.project.pk, "start": "2024-01-01"}
    assert leaked(world, world.clients["owner"].post(what_if, form).content.decode(), other.project.pk) == []


def apps_model(label: str, name: str) -> Any:
    return next(m for m in PAGES if (m._meta.app_label, m.__name__) == (label, name))


@pytest.mark.usefixtures("_taken_back")
def test_no_action_changes_what_is_of_others(world):
    before = snapshot(world)
    for model in theirs():
        _, other = world.rows[model]
        actions: set[Any] = {*(PAGES[model].actions or ()), "delete_selected"}
        for action in sorted(actions):
            form = {
                "action": action,
                "_selected_action": [str(other.pk)],
                "reason": "because I can",
                "confirmed": "yes",
                "post": "yes",
            }
            for who in in_turn(*ROLES):
                answer = world.clients[who].post(url_of(model, "changelist"), form)
                assert leaked(world, answer.content.decode(), other.pk) == [], (model, who, action)
    assert snapshot(world) == before


@pytest.mark.usefixtures("_taken_back")
def test_no_form_changes_what_is_of_others(world):
    before = snapshot(world)
    for model in theirs():
        _, other = world.rows[model]
        missing = unknown(other)
        for who in in_turn(*ROLES):
            client = world.clients[who]
            for name, form in (("change", {"name": "x", "role": "owner"}), ("delete", {"post": "yes"})):
                here, nowhere = (client.post(url_of(model, name, pk), form) for pk in (other.pk, missing))
                assert differing(told(here, other.pk), told(nowhere, missing)) == [], (model, who, name)
    assert snapshot(world) == before


def _forms(world: World, place: Any) -> dict[str, dict[str, Any]]:
    """What makes a row at a place, for those who may."""
    organization, project, team, member = place
    quota = {"measure": "usd", "window": "month", "limit": "5", "is_hard": "on", "model": ""}
    limits = {"model": "o1-mini", "requests_per_minute": "5"}
    return {
        "ApiKey": {"project": project, "name": "a new key"},
        "Project": {"organization": organization, "name": "New", "slug": "new", "dispatch_weight": "100"},
        "Team": {"organization": organization, "name": "New", "members": [member]},
        "Quota": {**quota, "organization": organization, "scope": "team", "team": team},
        "ProjectRateLimit": {"project": project, **limits},
        "Membership": {"organization": organization, "email": "new@quills.example", "role": "viewer"},
    }


@pytest.mark.usefixtures("_taken_back")
def test_nothing_is_made_in_the_place_of_others(world):
    other = world.other
    their_team = other.organization.teams.get().pk
    their_member = Membership.objects.get(organization=other.organization).pk
    place = (other.organization.pk, other.project.pk, their_team, their_member)
    nowhere = (uuid4(), uuid4(), uuid4(), 987_654_321)
    before = snapshot(world)
    for name, form in _forms(world, place).items():
        model = next(m for m in PAGES if m.__name__ == name)
        for who in in_turn(*ROLES):
            client = world.clients[who]
            here = client.post(url_of(model, "add"), form)
            missing = client.post(url_of(model, "add"), _forms(world, nowhere)[name])
            assert differing(told(here, *place), told(missing, *nowhere)) == [], (name, who)
    assert snapshot(world) == before


@pytest.mark.usefixtures("_taken_back")
def test_whoever_may_does_make_it_in_their_own(world):
    """The same forms, so that those above fail for the place alone."""
    own = world.own
    team, member = own.organization.teams.get().pk, Membership.objects.get(user=world.users["viewer"]).pk
    for name, form in _forms(world, (own.organization.pk, own.project.pk, team, member)).items():
        model = next(m for m in PAGES if m.__name__ == name)
        count = model._default_manager.count()
        for who in ("viewer", "member"):
            assert world.clients[who].post(url_of(model, "add"), form).status_code == 403, (name, who)
        answer = world.clients["admin"].post(url_of(model, "add"), form)
        assert answer.status_code == 302, (name, answer.content.decode()[-3000:])
        assert model._default_manager.count() == count + 1, name


@pytest.mark.usefixtures("_taken_back")
def test_of_two_organizations_each_role_counts_in_its_own(world):
    """Who is viewer in one and owner in the other sees both, and changes one."""
    user = world.users["viewer"]
    Membership.objects.create(organization=world.other.organization, user=user, role=Role.OWNER)
    page = url_of(apps_model("accounts", "Project"), "changelist")
    chosen = [str(world.own.project.pk), str(world.other.project.pk)]
    world.clients["viewer"].post(page, {"action": "pause", "_selected_action": chosen, "reason": "because"})
    paused = {pk for pk in chosen if Organization.objects.filter(projects=pk, projects__paused_at__isnull=False)}
    assert paused == {str(world.other.project.pk)}


def test_a_superuser_sees_both(world):
    for model in theirs():
        for row in world.rows[model]:
            assert world.clients["superuser"].get(url_of(model, "change", row.pk)).status_code == 200, model


def test_a_stranger_is_sent_to_sign_in(world):
    assert set(PEOPLE) == set(world.clients)
    for model in PAGES:
        answer = world.clients["anonymous"].get(url_of(model, "changelist"))
        assert (answer.status_code, answer.headers["Location"].split("?")[0]) == (302, reverse("admin:login"))
