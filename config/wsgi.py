"""The web application for gunicorn: `gunicorn config.wsgi`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_wsgi_application()

from jobs.estimates import count_tokens  # noqa: E402  (only importable once Django is set up)

# Loads the vocabulary now, which takes a second, and not while the first caller waits.
count_tokens("any text")
