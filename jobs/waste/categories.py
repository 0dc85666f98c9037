"""What kinds of waste there are, in the order in which a dollar is looked at: the first that fits has it. Pure."""

from dataclasses import dataclass

from django.db.models import TextChoices


class Category(TextChoices):
    """A dollar is in the first of these that it fits."""

    RETRY = "retry", "Paid beside the answer"
    EMPTY = "empty", "Paid but empty"
    REFUSED = "refused", "Refused by the model"
    UNREAD = "unread", "Never read"
    LONG = "long", "Longer than usual"
    CACHE_MISS = "cache_miss", "Not from the cache"
    DEAR_MODEL = "dear_model", "A cheaper model would do"


@dataclass(frozen=True, slots=True)
class Told:
    """How a category is reckoned, and what to do about it, for people."""

    reckoned: str
    to_do: str
    is_estimate: bool = False  # an upper one


TOLD: dict[Category, Told] = {
    Category.RETRY: Told(
        "The whole cost of calls that were paid and are not the one that answered: doubts that were presumed spent, "
        "calls that were run again, and calls whose job failed or was cancelled after it had cost something.",
        "Have answers kept at the provider, so that a lost one is found again, and use models that are called in the "
        "background, where a lost connection loses nothing.",
    ),
    Category.EMPTY: Told(
        "The whole cost of answers of which nothing can be seen: reasoning used up the cap.",
        "Raise max_completion_tokens (at least 25,000 to begin with) or lower reasoning_effort.",
    ),
    Category.REFUSED: Told(
        "The whole cost of answers in which the model declined, or which a filter cut off.",
        "Look at what these prompts ask for; do not ask for the hidden reasoning.",
    ),
    Category.UNREAD: Told(
        "The whole cost of answers that nobody had fetched seven days after they came: not by the API, not by a "
        "client that waited, not in the output file of a batch.",
        "Stop submitting what nobody reads, or fetch it.",
    ),
    Category.LONG: Told(
        "The visible tokens of an answer above three times the median, and above 100, at the price of output. The "
        "median is that of the month's answers to prompts that begin alike (20 at least), else of the model's.",
        "Ask for the answer alone: “Limit yourself to the answer and don’t add explanations or introductions.”",
    ),
    Category.CACHE_MISS: Told(
        "1,024 input tokens, less those that were billed as cached, at what a cached token saves, where the project "
        "had sent the same model a prompt with the same first 1,024 tokens one second to five minutes before.",
        "Keep the beginning of prompts the same and put what varies at the end; send like prompts shortly after each "
        "other, with the same prompt_cache_key.",
    ),
    Category.DEAR_MODEL: Told(
        "What is left of a call’s cost above what the same tokens cost on a cheaper model: one that answered 20 like "
        "prompts of the project at least as often, or the successor that the catalogue names. Like are prompts that "
        "begin alike, or are as long to a power of two.",
        "Compare the two on some of these prompts, and switch where the answers are as good.",
        is_estimate=True,
    ),
}
