"""Checks the requests of a file, of which most are alike: what was found good of one is not looked at in the next."""

from datetime import datetime

from accounts.models import Project
from jobs import submission
from jobs.catalogue import CatalogueEntry
from jobs.models.catalogue import Endpoint
from jobs.validation import PromptRequest
from jobs.validation.messages import check_messages

# Sets of parameters that are remembered, and how long one may be: a schema in each line is no reason to keep them all.
MOST_REMEMBERED, LONGEST_REMEMBERED = 1000, 4096


class Checker:
    """What is known of the requests of one file, for as long as it is being read."""

    def __init__(self, project: Project, now: datetime):
        self._project, self._now = project, now
        self._good: dict[tuple[str, str], CatalogueEntry] = {}

    def check(self, prompt: PromptRequest) -> CatalogueEntry:
        """The model that takes a prompt with its parameters. Raises RequestRejected, as a submission of it would."""
        key = (prompt.model, repr(prompt.parameters))
        known = self._good.get(key)
        if known is not None:
            check_messages(prompt.messages, known.model)
            return known
        entry = submission.validated(self._project, prompt, self._now)
        # Where a model is called otherwise than by chat, messages and parameters are looked at together.
        is_plain = Endpoint.CHAT in entry.model.endpoints and len(key[1]) <= LONGEST_REMEMBERED
        if is_plain and len(self._good) < MOST_REMEMBERED:
            self._good[key] = entry
        return entry
