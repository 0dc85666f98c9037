"""Makes an organization for each place of a provider: run in the environment of a fleet, prints their API keys as JSON.

    python -m tests.benchmarks.load.cast_faults '{"places": {"half-open": "http://127.0.0.1:1234/v1"}}'

Each has a credential of its own, so that the provider sees them apart; the slug is what it sees.
"""

import json
import sys
from datetime import date

import django


def main(places: dict[str, str]) -> dict[str, str]:
    from django.utils import timezone

    from accounts import api_keys
    from accounts.bootstrap import bootstrap
    from accounts.models import Project, ProviderCredential

    keys = {}
    for slug, base_url in places.items():
        # One owner of all: hashing a password takes a second.
        owner, terms_on = "load@example.com", date(2024, 9, 30)
        start = bootstrap(name=slug, slug=slug, owner_email=owner, terms_on=terms_on, now=timezone.now())
        credential = ProviderCredential(organization=start.organization, base_url=base_url)
        credential.provider_organization_id, credential.serves_shut_down_models = slug, True
        credential.api_key = f"sk-simulator-{slug}"
        credential.save()
        project = Project.objects.create(organization=start.organization, name=slug, slug=f"of-{slug}")
        keys[slug] = api_keys.issue(project, name="load", created_by=start.owner).secret
    return keys


if __name__ == "__main__":
    django.setup()
    print(json.dumps(main(**json.loads(sys.argv[1]))))
