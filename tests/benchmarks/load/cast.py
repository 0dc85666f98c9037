"""Makes who submits: run in the environment of a fleet, prints the API key of each project as JSON.

    python -m tests.benchmarks.load.cast '{"projects": 2, "model": "o1-mini", "requests": 500, "tokens": 30000000}'

One organization at tier 5 in September 2024's terms, whose limits for the model are those that are named.
"""

import json
import sys
from datetime import date

import django

MONTHLY_LIMIT_USD = 10**9


def main(projects: int, model: str, requests: int, tokens: int) -> dict[str, str]:
    from django.utils import timezone

    from accounts import api_keys
    from accounts.bootstrap import bootstrap
    from accounts.models import Project, RateLimit, UsageTier

    start = bootstrap(
        name="Load", slug="load", owner_email="load@example.com", terms_on=date(2024, 9, 30), now=timezone.now()
    )
    UsageTier.objects.filter(number=5).update(monthly_limit_usd=MONTHLY_LIMIT_USD)
    changed = RateLimit.objects.filter(tier=5, model=model).update(
        requests_per_minute=requests, tokens_per_minute=tokens, requests_per_day=None, tokens_per_day=None
    )
    assert changed, f"no rate limit of {model} to change"
    keys = {}
    for number in range(projects):
        project = Project.objects.create(organization=start.organization, name=f"Load {number}", slug=f"load-{number}")
        issued = api_keys.issue(project, name="load", created_by=start.owner)
        keys[project.slug] = issued.secret
    return keys


if __name__ == "__main__":
    django.setup()
    print(json.dumps(main(**json.loads(sys.argv[1]))))
