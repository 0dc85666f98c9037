"""Every setting of Bursar, read from the environment once. README.md lists them with their defaults."""

import sys
from pathlib import Path

import environ
from celery.schedules import crontab
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
environ.Env.read_env(BASE_DIR / ".env")

# --- Where data lives -------------------------------------------------------------------------------------------------
VAR_DIR = Path(env.str("BURSAR_VAR_DIR", default=str(BASE_DIR / "var")))
DATABASE_URL = env.str("DATABASE_URL", default="")
REDIS_URL = env.str("REDIS_URL", default="redis://127.0.0.1:6379/0")

# --- Who may reach it -------------------------------------------------------------------------------------------------
DEBUG = env.bool("BURSAR_DEBUG", default=False)
ALLOWED_HOSTS = env.list("BURSAR_ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("BURSAR_TRUSTED_ORIGINS", default=[])
HTTPS_ONLY = env.bool("BURSAR_HTTPS_ONLY", default=False)


def _secret_key() -> str:
    key = str(env.str("BURSAR_SECRET_KEY", default=""))
    if key:
        return key
    # Commands that touch neither sessions nor stored secrets may run without one, so that a checkout can be inspected.
    if {"makemigrations", "spectacular", "collectstatic", "simulate_openai", "help"} & set(sys.argv[1:2]):
        return "unset, and enough for a command that signs and encrypts nothing"
    raise ImproperlyConfigured(
        "BURSAR_SECRET_KEY is not set. It signs sessions and encrypts the provider credentials at rest; "
        "`make up` makes one in var/, a deployment sets a random string of at least 50 characters."
    )


SECRET_KEY = _secret_key()
SECRET_KEY_FALLBACKS = env.list("BURSAR_SECRET_KEY_FALLBACKS", default=[])

# --- The provider -----------------------------------------------------------------------------------------------------
OPENAI_API_KEY = env.str("OPENAI_API_KEY", default="")
OPENAI_BASE_URL = env.str("OPENAI_BASE_URL", default="https://api.openai.com/v1")
OPENAI_ORG_ID = env.str("OPENAI_ORG_ID", default="")
OPENAI_PROJECT_ID = env.str("OPENAI_PROJECT_ID", default="")
# The endpoint goes on serving models that OpenAI has shut down (a compatible gateway, Azure, the simulator).
PROVIDER_SERVES_SHUT_DOWN_MODELS = env.bool("BURSAR_PROVIDER_SERVES_SHUT_DOWN_MODELS", default=False)
# The provider is `manage.py simulate_openai`: no real model answers and no money is spent.
PROVIDER_IS_SIMULATOR = env.bool("BURSAR_SIMULATOR", default=False)
CALL_DEADLINE_SECONDS = env.float("BURSAR_CALL_DEADLINE_SECONDS", default=900.0)
CALL_CONNECT_TIMEOUT_SECONDS = env.float("BURSAR_CALL_CONNECT_TIMEOUT_SECONDS", default=5.0)

# --- Mail: alerts about money go to owners and admins ----------------------------------------------------------------
# smtp+tls://USER:PASSWORD@HOST:587, or consolemail:// to read them in the log. Without it nothing is mailed.
_MAIL = environ.Env.email_url_config(env.str("EMAIL_URL", default="") or "dummymail://")
EMAIL_BACKEND = _MAIL["EMAIL_BACKEND"]
EMAIL_HOST, EMAIL_PORT = _MAIL["EMAIL_HOST"] or "", _MAIL["EMAIL_PORT"] or 25
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _MAIL["EMAIL_HOST_USER"] or "", _MAIL["EMAIL_HOST_PASSWORD"] or ""
EMAIL_USE_TLS, EMAIL_USE_SSL = _MAIL.get("EMAIL_USE_TLS", False), _MAIL.get("EMAIL_USE_SSL", False)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.str("BURSAR_MAIL_FROM", default="bursar@localhost")

# --- The work ---------------------------------------------------------------------------------------------------------
# Calls of the model that one worker process carries out at once; the dispatcher claims no more than the live ones hold.
CALL_SLOTS = env.int("BURSAR_CALL_SLOTS", default=1000)
# A call whose turn at the provider's rate limit is further away than this goes back to the queue instead of waiting in
# a worker.
ADMISSION_HORIZON_SECONDS = env.float("BURSAR_ADMISSION_HORIZON_SECONDS", default=10.0)
# An attempt that no worker has brought to the call by then is given back: its message or its worker is gone.
CLAIM_LEASE_SECONDS = env.float("BURSAR_CLAIM_LEASE_SECONDS", default=15.0)
# Lets the provider keep answers for a month, so that one that was lost on the way can be looked up (store=true).
STORE_COMPLETIONS = env.bool("BURSAR_STORE_COMPLETIONS", default=True)
# Jobs of one project that may be queued at once; 0: any number.
MAX_QUEUED_JOBS = env.int("BURSAR_MAX_QUEUED_JOBS", default=1_000_000)
MAX_ATTEMPTS = env.int("BURSAR_MAX_ATTEMPTS", default=8)
IDEMPOTENCY_KEEP_DAYS = env.int("BURSAR_IDEMPOTENCY_KEEP_DAYS", default=7)
# Days after its end on which a month closes by itself; calls that ran over its edge are booked in it until then.
CLOSE_MONTHS_AFTER_DAYS = env.int("BURSAR_CLOSE_MONTHS_AFTER_DAYS", default=3)
# Pauses a worker at a named step of the path; for tests of crashes only.
PAUSE_AT = env.str("BURSAR_PAUSE_AT", default="")

# --- Django -----------------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "config.apps.BursarAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "config.apps.ConfigConfig",
    "accounts",
    "billing",
    "jobs",
]

MIDDLEWARE = [
    "config.requests.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
APPEND_SLASH = False
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "config" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {
    "default": {
        **env.db_url_config(DATABASE_URL or "postgres://bursar@127.0.0.1:5432/bursar"),
        "ENGINE": "config.postgresql",
        "OPTIONS": {
            # Values go beside the statement and not into it, which spares both sides the writing and reading of text.
            # No statement is prepared under a name, so that a pooler in between may hand out any connection.
            "server_side_binding": True,
            # A server that is cut off says nothing at all: after half a minute it is taken for gone.
            "tcp_user_timeout": 30_000,
            "keepalives_idle": 15,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            # A connection per worker thread would exhaust PostgreSQL: threads borrow one for each short transaction.
            "pool": {"min_size": 0, "max_size": env.int("BURSAR_DATABASE_POOL", default=12), "timeout": 10},
            "application_name": env.str("BURSAR_PROCESS", default="bursar"),
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "accounts.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = Path(env.str("BURSAR_STATIC_ROOT", default=str(VAR_DIR / "static")))
# Without a manifest a page renders before `collectstatic` has run; the finders serve the files from their packages.
WHITENOISE_USE_FINDERS = True

SECURE_SSL_REDIRECT = HTTPS_ONLY
# Health checks come from inside, over plain HTTP.
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
SESSION_COOKIE_SECURE = HTTPS_ONLY
CSRF_COOKIE_SECURE = HTTPS_ONLY
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS_ONLY else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS_ONLY
SECURE_HSTS_PRELOAD = HTTPS_ONLY
SECURE_PROXY_SSL_HEADER = (
    ("HTTP_X_FORWARDED_PROTO", "https") if env.bool("BURSAR_BEHIND_PROXY", default=False) else None
)
DATA_UPLOAD_MAX_MEMORY_SIZE = env.int("BURSAR_MAX_REQUEST_BYTES", default=4 * 1024 * 1024)

# --- REST API ---------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.authentication.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "config.errors.problem_response",
    "COERCE_DECIMAL_TO_STRING": True,
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Bursar",
    "DESCRIPTION": "Prompt jobs on OpenAI's reasoning models, and what they cost.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
}

# --- Celery: messages carry ids and are hints; PostgreSQL decides ----------------------------------------------------
CELERY_BROKER_URL = REDIS_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "control"
CELERY_TASK_ROUTES = {"jobs.tasks.call_model": {"queue": "calls"}}
CELERY_TASK_ACKS_LATE = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A submission must not wait for a broker that is away: the beat finds the job a second later.
CELERY_TASK_PUBLISH_RETRY = False
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_connect_timeout": 2, "socket_timeout": 15, "socket_keepalive": True}
CELERY_BEAT_SCHEDULE = {
    "dispatch queued jobs": {"task": "jobs.tasks.dispatch", "schedule": 1.0, "options": {"expires": 5}},
    "rescue stranded attempts": {"task": "jobs.tasks.rescue", "schedule": 5.0, "options": {"expires": 10}},
    "close months that ended": {"task": "billing.tasks.close_months", "schedule": 3600.0, "options": {"expires": 3000}},
    "mail alerts": {"task": "billing.tasks.mail_alerts", "schedule": 60.0, "options": {"expires": 50}},
    # When few calls wait for a book that is being read.
    "verify every book": {"task": "billing.tasks.verify_every_book", "schedule": crontab(hour="3", minute="17")},
    "forget old idempotency keys": {"task": "jobs.tasks.forget_idempotency_keys", "schedule": 3600.0},
}
CELERY_BEAT_SCHEDULE_FILENAME = str(VAR_DIR / "beat-schedule")

# --- Logs: ids and codes, never a prompt or a secret -----------------------------------------------------------------
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["stderr"], "level": env.str("BURSAR_LOG_LEVEL", default="INFO")},
    # The HTTP client logs each request's URL at INFO; the attempt row already says more than that.
    "loggers": {"httpx2": {"level": "WARNING"}, "httpx": {"level": "WARNING"}, "openai": {"level": "WARNING"}},
}
