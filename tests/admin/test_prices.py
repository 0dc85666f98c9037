"""Prices in the admin: written once, imported after a preview, exported, and asked "what if"."""

import csv
from datetime import date, timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.contrib.admin.models import LogEntry
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from accounts.models import Organization, Project, User
from billing import price_imports
from billing.admin.prices import EXAMPLE
from billing.clock import database_now
from billing.models import Price, UsageRecord
from billing.price_files import COLUMNS, MAX_BYTES, REQUIRED, PriceRow, read, write_csv
from billing.price_imports import stored_rows
from billing.pricing import PriceTerms
from tests.admin.conftest import o1_preview, sign_in, spend

LIST, IMPORT, EXPORT, EXAMPLE_URL = (
    reverse(f"admin:billing_price_{name}") for name in ("changelist", "import", "export", "example")
)
WHAT_IF = reverse("admin:billing_what_if")
SPEND = reverse("admin:organizations")


def row(since: date, figures: str = "4 2 16", model: str = "o9") -> PriceRow:
    return PriceRow(model, "standard", PriceTerms(*map(Decimal, figures.split())), since, "the price page")


def upload(admin: Client, text: str | bytes, name: str = "new.csv"):
    content = text.encode() if isinstance(text, str) else text
    return admin.post(IMPORT, {"file": SimpleUploadedFile(name, content)})


def hidden(answer) -> dict[str, str]:
    """What the preview's form sends, as a browser does: lines end with CR and LF."""
    content = answer.context["content"].replace("\r\n", "\n").replace("\n", "\r\n")
    return {
        "content": content,
        "file_name": answer.context["file_name"],
        "digest": answer.context["plan"].digest,
    }


# --- Import -----------------------------------------------------------------------------------------------------------
def test_upload_preview_and_apply(admin: Client, superuser: User):
    stored = [row(date(2026, 1, 1)), row(date(2026, 5, 1), "1 1 1")]
    price_imports.apply(stored, price_imports.preview(stored).digest, actor=None, origin="a test")
    text = write_csv([row(date(2026, 3, 1), "5 2 8"), row(date(2026, 5, 1), "2 1 1"), row(date(2026, 1, 1))])
    page = upload(admin, text)
    for shown in (
        "1 new",
        "1 changed",
        "1 unchanged",
        "0 refused",
        'from 2026-03-01</span> <span class="nowrap">until 2026-05-01</span>',
        "the price from 2026-01-01, which ends then",
        "-50.0 %",
        "<del>$16.00</del> $8.00",
        "+100.0 %",
        "Apply all of it",
    ):
        assert shown in page.text, shown
    assert 'style="' not in page.text[page.text.index('id="content-main"') :]
    assert Price.objects.filter(model="o9").count() == 2  # a look changes nothing
    answer = admin.post(IMPORT, hidden(page), follow=True)
    assert answer.redirect_chain == [(LIST, 302)]
    assert "Imported new.csv: 1 added, 1 replaced." in answer.text
    prices = Price.objects.filter(model="o9").order_by("effective_from")
    assert [price.input_usd_per_million for price in prices] == [4, 5, 2]
    entries = LogEntry.objects.filter(user=superuser, object_id__in=[str(price.pk) for price in prices])
    assert len(entries) == 2
    assert "Imported from new.csv" in admin.get(reverse("admin:billing_price_history", args=[prices[1].pk])).text


def test_faults_are_shown_and_nothing_is_changed(admin: Client):
    before = Price.objects.count()
    page = upload(admin, f"{','.join(REQUIRED)}\n<b>,slow,x,1,1,2026-01-01,page\n", "<i>.csv")
    assert "3 places need mending" in page.text
    for text in ("service_tier", "input_usd_per_million", "such as 2.50"):
        assert text in page.text, text
    for text in ("<b>", "<i>"):
        assert text not in page.text
    assert "Is not UTF-8" in upload(admin, b"\xff\xfe").text
    assert "may have 1,048,576" in upload(admin, b"x" * (MAX_BYTES + 10)).text
    assert "The submitted file is empty" in upload(admin, b"").text
    assert "This field is required" in admin.post(IMPORT, {}).text
    assert Price.objects.count() == before


def test_a_used_price_is_refused_with_the_way_out(admin: Client, project: Project):
    spend(project)
    used = o1_preview()
    page = upload(admin, write_csv([row(used.effective_from, "1 1 1", "o1-preview"), row(date(2026, 1, 1))]))
    for text in ("1 refused", "give the new figures a later effective_from", "1 of its lines is refused"):
        assert text in page.text, text
    assert "Apply all of it" not in page.text
    answer = admin.post(IMPORT, hidden(page))
    assert "The file was not applied: 1 of its lines are refused." in answer.text
    assert not Price.objects.filter(model="o9").exists()


def test_back_dated_prices_warn_of_the_calls_that_keep_theirs(admin: Client, project: Project):
    record = spend(project)
    page = upload(admin, write_csv([row(date(2024, 9, 20), "1 1 1", "o1-preview")]))
    assert "1 calls since 2024-09-20 were reserved at other figures" in page.text
    assert admin.post(IMPORT, hidden(page)).status_code == 302
    assert UsageRecord.objects.get(pk=record.pk).total_usd == record.total_usd


def test_a_preview_that_has_grown_old_is_shown_anew(admin: Client):
    page = upload(admin, write_csv([row(date(2026, 1, 1))]))
    meanwhile = [row(date(2026, 3, 1))]
    price_imports.apply(meanwhile, price_imports.preview(meanwhile).digest, actor=None, origin="a test")
    again = admin.post(IMPORT, hidden(page))
    assert "Prices changed since the preview" in again.text
    assert "until 2026-03-01" in again.text
    assert Price.objects.filter(model="o9").count() == 1
    assert admin.post(IMPORT, hidden(again)).status_code == 302
    assert Price.objects.filter(model="o9").count() == 2


def test_a_forged_form_changes_nothing(admin: Client):
    form = {"content": "model\n", "digest": "0" * 64, "file_name": "x"}
    assert "6 places need mending" in admin.post(IMPORT, form).text
    form["content"] = write_csv([row(date(2026, 1, 1))])
    assert "Prices changed since the preview" in admin.post(IMPORT, form).text
    assert not Price.objects.filter(model="o9").exists()


def test_export_is_a_file_that_changes_nothing(admin: Client):
    answer = admin.get(EXPORT)
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"] == f'attachment; filename="prices-{database_now():%Y-%m-%d}.csv"'
    assert answer.text == write_csv(stored_rows())
    page = upload(admin, answer.content)
    assert f"{Price.objects.count()} unchanged" in page.text
    assert "there is nothing to apply" in page.text


def test_the_example_is_a_price_file(admin: Client):
    answer = admin.get(EXAMPLE_URL)
    assert answer.text == EXAMPLE
    assert len(read(answer.content)) == 3


def test_permissions_of_prices(staff_with, owner: User):
    changer = staff_with("billing.view_price", "billing.add_price", "billing.change_price")
    adder = staff_with("billing.view_price", "billing.add_price")
    viewer, other = staff_with("billing.view_price"), staff_with("billing.view_quota")
    expected = {
        changer: (200, 200, 200),
        adder: (403, 403, 200),
        viewer: (403, 403, 200),
        other: (403, 403, 403),
        sign_in(owner): (403, 403, 200),
        Client(): (302, 302, 302),
    }
    for client, codes in expected.items():
        assert tuple(client.get(url).status_code for url in (IMPORT, EXAMPLE_URL, EXPORT)) == codes
    text = write_csv([row(date(2026, 1, 1))])
    assert upload(adder, text).status_code == 403
    plan = price_imports.preview(read(text))
    assert adder.post(IMPORT, {"content": text, "digest": plan.digest}).status_code == 403
    assert not Price.objects.filter(model="o9").exists()
    assert IMPORT in changer.get(LIST).text
    for client in (adder, viewer):
        page = client.get(LIST).text
        assert IMPORT not in page
        assert EXPORT in page
        assert WHAT_IF not in page


# --- Rows -------------------------------------------------------------------------------------------------------------
def test_a_stored_price_keeps_its_figures(admin: Client):
    price = o1_preview()
    url = reverse("admin:billing_price_change", args=[price.pk])
    changed = {name: 1 for name in COLUMNS if name.endswith("million")}
    form = {**changed, "model": "o9", "service_tier": "flex", "effective_from": "2020-01-01", "source": "read again"}
    assert admin.post(url, form).status_code == 302
    again = Price.objects.get(pk=price.pk)
    assert again.source == "read again"
    again.source = price.source
    assert price_imports.row_of(again) == price_imports.row_of(price)


def test_a_price_by_hand_has_what_a_file_takes(admin: Client):
    url = reverse("admin:billing_price_add")
    form = {name: "1" for name in COLUMNS if name.endswith("million")}
    form |= {"model": "o9", "service_tier": "flex", "effective_from": "2026-01-01", "source": "the price page"}
    for name, text in (("model", "o 9"), ("source", "=1+1")):
        assert name in admin.post(url, {**form, name: text}).context["adminform"].errors
    assert admin.post(url, form).status_code == 302
    assert Price.objects.get(model="o9").service_tier == "flex"


# --- What if ----------------------------------------------------------------------------------------------------------
def ask(admin: Client, organization: Organization, **fields):
    today = database_now().date()
    form = {"organization": organization.pk, "start": today, "end": today + timedelta(days=1), **fields}
    return admin.post(WHAT_IF, form)


def test_what_if_asks_for_the_organization_first(admin: Client, project: Project, other_project: Project):
    page = admin.get(WHAT_IF).text
    assert "Alice" in page
    assert "Bob" in page
    page = admin.get(WHAT_IF, {"organization": project.organization_id, "project": project.pk}).text
    assert "Alice research" in page
    assert "Bob research" not in page
    month = database_now().replace(day=1)
    assert f'value="{month:%Y-%m-%d}"' in page
    for wrong in ("nonsense", project.pk):
        assert admin.get(WHAT_IF, {"organization": wrong}).status_code == 404


def test_what_if_report(admin: Client, project: Project, organization: Organization):
    spend(project)
    before = list(UsageRecord.objects.values())
    page = ask(admin, organization, service_tier="batch")
    for text in ("in the batch tier", "$0.077385", "$0.0386925", "-$0.0386925", "-50.0 %", "its first price"):
        assert text in page.text, text
    assert 'aria-label="Actual $0.077385, what if $0.0386925"' in page.text
    assert 'width="50.00"' in page.text
    assert 'style="' not in page.text[page.text.index('id="content-main"') :]
    assert list(UsageRecord.objects.values()) == before
    page = ask(admin, organization, service_tier="priority")
    assert "No priority price of o1-preview is known." in page.text
    assert "Not compared: $0.077385" in page.text


def test_what_if_of_another_model_project_and_day(admin: Client, project: Project, organization: Organization):
    second = Project.objects.create(organization=organization, name="Second", slug="second")
    spend(project)
    page = ask(admin, organization, model="o1-preview", as_model="o1-mini", prices_of="2025-02-01", project=project.pk)
    assert page.context["report"].total.what_if_usd == Decimal("0.0056749")
    assert ask(admin, organization, service_tier="batch", project=second.pk).context["report"].lines == []


def test_what_if_at_the_prices_of_a_file(admin: Client, project: Project, organization: Organization):
    spend(project)
    text = write_csv([row(date(2030, 1, 1), "0 0 100", "o1-preview")])
    page = ask(admin, organization, price_file=SimpleUploadedFile("new.csv", text.encode()))
    assert page.context["report"].total.what_if_usd == Decimal("0.1279")
    assert "of the file" in page.text
    kept = {name: page.context["form"][name].value() for name in ("file_text", "file_name")}
    assert kept["file_name"] == "new.csv"
    again = ask(admin, organization, download="csv", **kept)  # a browser sends no file twice
    rows = list(csv.DictReader(StringIO(again.text)))
    assert rows[0]["what_if_usd"] == rows[1]["what_if_usd"] == "0.1279"
    assert again["Content-Disposition"].startswith('attachment; filename="what-if-alice-')
    broken = ask(admin, organization, price_file=SimpleUploadedFile("bad.csv", b"model\n"))
    assert "the header lacks this column" in broken.text
    assert broken.context["report"] is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "Say what is different"),
        ({"service_tier": "batch", "end": "2020-01-01"}, "exclusive and comes after"),
        ({"service_tier": "batch", "start": "x"}, "Enter a valid date"),
        ({"service_tier": "slow"}, "Select a valid choice"),
        ({"model": "o1-mini"}, "Choose the model whose prices to take"),
        ({"as_model": "o9"}, "Select a valid choice"),
    ],
)
def test_what_if_form(admin: Client, organization: Organization, fields, message):
    answer = ask(admin, organization, **fields)
    assert message in answer.text
    assert answer.context["report"] is None


def test_what_if_of_a_foreign_project(admin: Client, organization: Organization, other_project: Project):
    answer = ask(admin, organization, service_tier="batch", project=other_project.pk)
    assert "Select a valid choice" in answer.text


def test_what_if_permission(staff_with, owner: User, organization: Organization, project: Project):
    allowed = staff_with("billing.view_usagerecord", "billing.view_spendrollup", "billing.view_price")
    other = staff_with("billing.view_spendrollup", "billing.view_price")
    assert allowed.get(WHAT_IF).status_code == 200
    assert ask(allowed, organization, service_tier="batch").status_code == 200
    assert other.get(WHAT_IF).status_code == 403
    assert ask(other, organization, service_tier="batch", download="csv").status_code == 403
    assert sign_in(owner).get(WHAT_IF).status_code == 200
    assert Client().get(WHAT_IF).status_code == 302
    of_organization = reverse("admin:dashboard", args=[organization.pk])
    for url in (LIST, SPEND, of_organization, reverse("admin:tables")):
        assert WHAT_IF in allowed.get(url).text, url
        assert WHAT_IF not in other.get(url).text, url
