"""The web application for gunicorn: `gunicorn config.wsgi`."""

import gc
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_wsgi_application()

from config import tracing, urls  # noqa: E402, F401  (these are only importable once Django is set up)
from jobs.estimates import count_tokens  # noqa: E402

# Loads the vocabulary now, which takes a second, and not while the first caller waits.
count_tokens("any text")
tracing.start()
# All that is loaded by now stays: a collection of garbage that looked at it again would stop every request for 0.1 s.
gc.collect()
gc.freeze()
