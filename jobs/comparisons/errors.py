"""What cannot be done with a comparison."""

from accounts.errors import DomainError


class WordingHasNoPlace(DomainError):
    """The wording is added to the last message of the user, and this prompt has none with a text."""

    code = "wording_has_no_place"


class ComparisonNotCancellable(DomainError):
    """The comparison has ended."""

    code = "comparison_not_cancellable"
