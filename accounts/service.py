"""Bursar itself, where the books ask who did something and nobody told it to."""

from accounts.models import User

EMAIL = "bursar@service.invalid"


def service() -> User:
    """The user in whose name the service corrects the books. Nobody can sign in as it."""
    found, is_new = User.objects.get_or_create(email=EMAIL, defaults={"first_name": "Bursar", "is_active": False})
    if is_new:
        found.set_unusable_password()
        found.save(update_fields=["password"])
    return found
