"""The admin's sidebar: the pages of the index that this person may open, grouped as people need them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.urls import reverse


@dataclass(frozen=True, slots=True)
class Group:
    """A part of the sidebar: pages and models by their object names in the index, with signs of Material Symbols."""

    title: str
    entries: Sequence[tuple[str, str]]
    is_folded: bool = False


# What the index has and no group names stands in the last one.
GROUPS = (
    Group(
        "Spend",
        (
            ("Dashboard", "payments"),
            ("Expectations", "insights"),
            ("WhatIf", "alt_route"),
            ("Waste", "delete_sweep"),
            ("Reconciliation", "receipt_long"),
            ("Statementsandreviews", "fact_check"),
            ("ClosedMonth", "event_available"),
            ("Alert", "notifications"),
            ("AlertSettings", "notification_settings"),
            ("WebhookEndpoint", "webhook"),
            ("WebhookDelivery", "outbox"),
        ),
    ),
    Group(
        "Limits",
        (
            ("Quotas", "account_tree"),
            ("QuotaRequest", "front_hand"),
            ("Quota", "speed"),
            ("Budget", "data_usage"),
            ("ProjectRateLimit", "timer"),
        ),
    ),
    Group(
        "Work",
        (
            ("Job", "work"),
            ("Batch", "stacks"),
            ("Comparison", "balance"),
            ("Undelivered", "mark_email_unread"),
            ("Queue", "format_list_numbered"),
            ("Doubt", "help"),
            ("Breaker", "power_off"),
        ),
    ),
    Group(
        "People",
        (
            ("Organization", "domain"),
            ("Project", "folder"),
            ("Team", "groups"),
            ("Membership", "badge"),
            ("User", "person"),
            ("ApiKey", "key"),
        ),
    ),
    Group(
        "Catalogue",
        (
            ("LanguageModel", "neurology"),
            ("Price", "sell"),
            ("UsageTier", "stairs"),
            ("RateLimit", "network_check"),
            ("TierOverride", "tune"),
            ("Payment", "credit_card"),
        ),
        is_folded=True,
    ),
    Group(
        "Books",
        (
            ("Book", "menu_book"),
            ("LedgerEntry", "list_alt"),
            ("UsageRecord", "token"),
            ("Reservation", "lock_clock"),
            ("Hold", "front_hand"),
            ("SpendRollup", "functions"),
            ("Verification", "verified"),
            ("ReconciliationLine", "difference"),
            ("ReconciledDay", "today"),
            ("ReconciliationRun", "sync"),
            ("ReconciliationDecision", "gavel"),
        ),
        is_folded=True,
    ),
    Group(
        "Operations",
        (
            ("Worker", "dns"),
            ("JobContent", "article"),
            ("IdempotencyRecord", "fingerprint"),
            ("ProviderCredential", "vpn_key"),
            ("AdminCredential", "admin_panel_settings"),
            ("AuditEntry", "history"),
            ("AuditTrail", "link"),
            ("ReviewedLine", "rule"),
            ("Group", "lock"),
        ),
        is_folded=True,
    ),
)


def sidebar(apps: Iterable[dict[str, Any]], path: str) -> list[dict[str, Any]]:
    """The groups as unfold reads them, from `AdminSite.get_app_list`: nothing that this person may not open."""
    found = {model["object_name"]: model for app in apps for model in app["models"] if model.get("admin_url")}
    index = reverse("admin:index")
    overview = {**_item("Overview", index, "space_dashboard"), "active": path == index}
    shown: list[dict[str, Any]] = [{"title": "", "items": [overview]}]
    for group, entries in _with_the_rest(found):
        items = [
            {**_item(model["name"], model["admin_url"], icon), "active": path.startswith(model["admin_url"])}
            for model, icon in entries
        ]
        if items:
            shown.append({"title": group.title, "items": items, "collapsible": group.is_folded})
    return shown


def _item(name: object, url: str, icon: str) -> dict[str, Any]:
    # Lists have the names of their models in capitals as Django makes them; names of people's never come here.
    text = str(name)
    return {"title": text[:1].upper() + text[1:], "link": url, "icon": icon, "has_permission": True}


def _with_the_rest(found: dict[str, Any]) -> Iterator[tuple[Group, list[tuple[dict[str, Any], str]]]]:
    named = {name for group in GROUPS for name, _ in group.entries}
    rest = tuple((name, "chevron_right") for name in found if name not in named)
    for group in (*GROUPS[:-1], Group(GROUPS[-1].title, (*GROUPS[-1].entries, *rest), GROUPS[-1].is_folded)):
        yield group, [(found[name], icon) for name, icon in group.entries if name in found]
