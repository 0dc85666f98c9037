"""The provider, as the keys reach it, and what the catalogue says of its models."""

from collections.abc import Iterator
from datetime import date, timedelta

import openai
from django.conf import settings

from accounts.models import ProviderCredential
from billing.clock import database_now
from billing.errors import UnknownPrice
from billing.models import ModelRollup, ServiceTier
from billing.prices import price_on
from config.doctor.findings import Finding, fail, ok, warn
from jobs.catalogue import CatalogueEntry, provider_price_names
from jobs.models import LanguageModel

PATIENCE_SECONDS = 10.0
# Credentials that are tried: a look at the provider takes up to ten seconds.
MOST_TRIED = 20
# A model that was asked for this lately is in use.
IN_USE_DAYS = 45


def access() -> Iterator[Finding]:
    """Whether the provider answers to each key."""
    if settings.PROVIDER_IS_SIMULATOR:
        yield warn(
            "the provider is the simulator: no real model answers", "set OPENAI_API_KEY and unset BURSAR_SIMULATOR"
        )
    own = ProviderCredential.objects.select_related("organization").order_by("pk")
    if settings.OPENAI_API_KEY:
        yield _answers("the deployment's key", settings.OPENAI_BASE_URL, settings.OPENAI_API_KEY)
    elif not own.exists():
        yield fail("there is no key of the provider", "set OPENAI_API_KEY, or add Admin > Provider credentials")
    for row in own[:MOST_TRIED]:
        yield _answers(f"the key of {row.organization.slug}", row.base_url or settings.OPENAI_BASE_URL, row.api_key)


def _answers(whose: str, base_url: str, key: str) -> Finding:
    try:
        with openai.OpenAI(api_key=key, base_url=base_url, timeout=PATIENCE_SECONDS, max_retries=0) as client:
            count = len(client.models.list().data)
    except openai.AuthenticationError:
        return fail(f"the provider refuses {whose}", "replace it; OpenAI shows a key only once")
    except openai.PermissionDeniedError:
        return warn(f"{whose} may not list models", "allow it `models:read`, or see that calls succeed")
    except openai.APIStatusError as error:
        return fail(f"the provider answers {error.status_code} to {whose}", "see its status page")
    except openai.OpenAIError as error:
        return fail(f"{base_url} does not answer ({type(error).__name__})", "see OPENAI_BASE_URL, DNS and the firewall")
    return ok(f"the provider offers {count} models to {whose}")


def _has_price(model: LanguageModel, day: date) -> bool:
    try:
        price_on(provider_price_names(CatalogueEntry(model)), ServiceTier.STANDARD, day)
    except UnknownPrice:
        return False
    return True


def catalogue() -> Iterator[Finding]:
    """Models that are called and no longer served; models that are served and have no price."""
    day = database_now().date()
    # Rollups, which are of months, so that this costs little however many jobs there are.
    used = set(ModelRollup.objects.filter(day__gt=day - timedelta(days=IN_USE_DAYS)).values_list("model", flat=True))
    gone, unpriced, priced = [], [], 0
    for model in LanguageModel.objects.all():
        if model.is_shut_down_on(day):
            if model.name in used and not settings.PROVIDER_SERVES_SHUT_DOWN_MODELS:
                gone.append(f"{model.name} (now {model.successor})" if model.successor else model.name)
        elif _has_price(model, day):
            priced += 1
        else:
            unpriced.append(model.name)
    if gone:
        yield warn(f"asked for lately, and shut down by the provider: {', '.join(gone)}", "tell whoever calls them")
    if unpriced:
        yield fail(f"no price, so that every job is refused: {', '.join(unpriced)}", "add it in Admin > Prices")
    yield ok(f"{priced} models are served and have a price")
