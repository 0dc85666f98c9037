"""How a project reaches the provider: by its organization's own credential, else by the deployment's."""

import pytest

from accounts.models import ProviderCredential
from jobs.credentials import Access, access_of
from jobs.limiter import account_of


@pytest.fixture(autouse=True)
def _deployment(settings) -> None:
    settings.OPENAI_API_KEY = "sk-of-the-deployment"
    settings.OPENAI_BASE_URL = "https://deployment.example/v1"
    settings.OPENAI_ORG_ID = "org-deployment"
    settings.OPENAI_PROJECT_ID = "proj_deployment"
    settings.PROVIDER_SERVES_SHUT_DOWN_MODELS = True


def own(organization, **fields) -> ProviderCredential:
    credential = ProviderCredential(organization=organization, **fields)
    credential.api_key = "sk-of-alice"
    credential.save()
    return credential


def test_without_a_credential_of_its_own_the_deployments_serves(project):
    assert access_of(project) == Access(
        "https://deployment.example/v1", "sk-of-the-deployment", "org-deployment", "proj_deployment", True
    )


def test_a_projects_own_id_goes_before_the_deployments(project):
    project.provider_project_id = "proj_alice"
    assert access_of(project).provider_project_id == "proj_alice"


def test_what_is_empty_is_not_sent(project, settings):
    settings.OPENAI_ORG_ID = settings.OPENAI_PROJECT_ID = ""
    access = access_of(project)
    assert (access.provider_organization_id, access.provider_project_id) == (None, None)


def test_an_organizations_own_credential_goes_before_the_deployments_and_is_not_mixed_with_it(project):
    own(project.organization)
    assert access_of(project) == Access("https://deployment.example/v1", "sk-of-alice", None, None, False)


def test_an_own_credential_has_its_own_address_ids_and_models(project):
    own(
        project.organization,
        base_url="https://alice.example/v1",
        provider_organization_id="org-alice",
        serves_shut_down_models=True,
    )
    project.provider_project_id = "proj_alice"
    assert access_of(project) == Access("https://alice.example/v1", "sk-of-alice", "org-alice", "proj_alice", True)


def test_a_credential_serves_its_own_organization_alone(project, other_project):
    own(project.organization)
    assert access_of(other_project).api_key == "sk-of-the-deployment"


def test_the_key_is_not_shown(project):
    access = access_of(project)
    assert "sk-of" not in repr(access) + str(access)


def test_calls_that_the_provider_counts_together_share_an_account(project, other_project):
    assert account_of(access_of(project)) == account_of(access_of(other_project))
    credential = own(project.organization)
    alone = account_of(access_of(project))
    assert alone != account_of(access_of(other_project))
    assert "sk-of-alice" not in alone
    credential.provider_organization_id = "org-deployment"
    credential.save()
    # another key of the same organization of the provider has the same limits
    assert account_of(access_of(project)) == account_of(access_of(other_project))
    credential.base_url = "https://elsewhere.example/v1"
    credential.save()
    assert account_of(access_of(project)) != account_of(access_of(other_project))
