"""What people work at: requests for more quota, the review of a month, and an endpoint that was told of alerts."""

from datetime import timedelta
from decimal import Decimal

from accounts.audit import Who
from accounts.models import User
from billing import reviews
from billing.clock import database_now
from billing.models import DeliveryStatus, Quota, QuotaRequest, ReviewAct, WebhookDelivery, WebhookEndpoint, WebhookTry
from billing.models.budgets import Measure, Scope, WindowKind
from billing.periods import Window, month_of
from billing.quotas import asking
from billing.reach import reach_of
from billing.webhooks import endpoints
from jobs.demo_data.people import Cast

REFUSED = "The endpoint is being moved."


def ask_for_more(cast: Cast, command: Who) -> None:
    """A request that waits for the lead of a team, one that was approved, and one that was refused."""
    owner, lead, member = (cast.people[name] for name in ("owner", "lead", "member"))
    quotas = Quota.objects.filter(organization=cast.organization, measure=Measure.USD, window=WindowKind.MONTH)
    of_team, of_project, of_all = (
        quotas.filter(scope=scope).order_by("pk")[0] for scope in (Scope.TEAM, Scope.PROJECT, Scope.ORGANIZATION)
    )

    def ask(quota: Quota, reason: str, asker: User = member) -> QuotaRequest:
        amount = Decimal(max(round(quota.limit / 4), 1))
        by = Who(user=asker, name=command.name)
        return asking.ask(quota, amount, reason=reason, asked_by=asker, by=by)

    by = Who(user=owner, name=command.name)
    raised = ask(of_team, "The second run of the comparison, all of it by Friday.")
    asking.approve(raised, decider=owner, by=by, note="Until the month ends.")
    refused = ask(of_all, "To be on the safe side.", lead)
    asking.refuse(refused, decider=owner, by=by, note="Half of it is left, and nothing large is planned.")
    ask(of_project, "Twelve jobs have waited since this morning, and the report is due tomorrow.")
    ask(of_team, "Another three hundred questions came in.")


def review(cast: Cast, command: Who) -> None:
    """Last month: the dearest line questioned, the next answered, and of the others every other one approved."""
    finance, organization = cast.people["finance"], cast.organization
    month = _last_month()
    reach, rights = reach_of(finance, organization.pk), reviews.rights_of(finance, organization.pk)
    places = [line.place for line in reviews.lines_of(organization, month, reach) if line.amount_usd]
    acts = [
        (places[:1], ReviewAct.QUESTIONED, "Twice as much as in the month before. What changed?"),
        (places[1:2], ReviewAct.QUESTIONED, "Is this model needed for letters?"),
        (places[1:2], ReviewAct.ANSWERED, "It was a trial, and is over."),
        (places[2::2], ReviewAct.APPROVED, ""),
    ]
    by = Who(user=finance, name=command.name)
    for chosen, what, text in acts:
        reviews.act(organization, month, chosen, what, reach=reach, rights=rights, author=finance, by=by, text=text)


def _last_month() -> Window:
    return month_of(month_of(database_now()).start - timedelta(days=1))


def add_endpoint(cast: Cast, command: Who) -> WebhookEndpoint:
    """It is told of what is raised from now on in this transaction."""
    url = f"https://hooks.{cast.organization.slug}.example/bursar"
    by = Who(user=cast.people["admin"], name=command.name)
    endpoint, _ = endpoints.create(cast.organization, url, by=by, description="Finance's chat")
    endpoints.test(endpoint)
    return endpoint


def stop_endpoint(cast: Cast, endpoint: WebhookEndpoint, command: Who) -> None:
    """As if its messages had been taken but for the last. Then it is disabled, so that nothing is sent anywhere."""
    now = database_now()
    sent = list(WebhookDelivery.objects.filter(endpoint=endpoint).order_by("pk"))
    for place, delivery in enumerate(sent):
        is_last = delivery is sent[-1] and place > 0
        tries = 3 if is_last else 1
        WebhookTry.objects.bulk_create(
            WebhookTry(
                delivery=delivery,
                tried_at=now,
                milliseconds=74 + 9 * place,
                http_status=503 if is_last else 204,
                answer=REFUSED if is_last else "",
            )
            for _ in range(tries)
        )
        delivery.tries, delivery.claims = tries, tries
        if not is_last:
            delivery.status, delivery.finished_at = DeliveryStatus.DELIVERED, now
        delivery.save()
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(succeeded_at=now)
    endpoints.change(endpoint, by=Who(user=cast.people["admin"], name=command.name), is_enabled=False)
