"""Every setting of Bursar, read from the environment once. README.md lists them with their defaults."""

import sys
from datetime import timedelta
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured

from config import theme
from config.schedule import SCHEDULE

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
# What scrapers of /metrics send as a bearer token; empty: anybody who reaches it may read it.
METRICS_TOKEN = env.str("BURSAR_METRICS_TOKEN", default="")
# Traces by OpenTelemetry, sent by OTLP over HTTP; needs the extra `otel`.
TRACING = env.bool("BURSAR_OTEL", default=False)
OTLP_ENDPOINT = env.str("OTEL_EXPORTER_OTLP_ENDPOINT", default="http://localhost:4318")


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
# An admin key (sk-admin-...), with which the provider's own bill is read and compared; it serves for nothing else.
OPENAI_ADMIN_KEY = env.str("OPENAI_ADMIN_KEY", default="")
# The endpoint goes on serving models that OpenAI has shut down (a compatible gateway, Azure, the simulator).
PROVIDER_SERVES_SHUT_DOWN_MODELS = env.bool("BURSAR_PROVIDER_SERVES_SHUT_DOWN_MODELS", default=False)
# The provider is `manage.py simulate_openai`: no real model answers and no money is spent.
PROVIDER_IS_SIMULATOR = env.bool("BURSAR_SIMULATOR", default=False)
CALL_DEADLINE_SECONDS = env.float("BURSAR_CALL_DEADLINE_SECONDS", default=900.0)
CALL_CONNECT_TIMEOUT_SECONDS = env.float("BURSAR_CALL_CONNECT_TIMEOUT_SECONDS", default=5.0)

# --- Waiting at /v1 for answers ---------------------------------------------------------------------------------------
# Threads of one web process; all but 16 may wait for answers, and a waiting one costs little but its stack.
WEB_THREADS = env.int("BURSAR_WEB_THREADS", default=256)
# A connection that waits says nothing for so long, and then a blank now and then, which proxies and clients take for a
# sign of life. With it goes the status 200, so that a call that fails after it ends in a broken connection.
KEEPALIVE_SECONDS = env.float("BURSAR_KEEPALIVE_SECONDS", default=25.0)

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
# Whether models whose transport is `background` are called so: on, off, or auto, which is at OpenAI itself and at the
# simulator alone, since of a gateway nobody knows whether it has /v1/responses.
BACKGROUND = env.str("BURSAR_BACKGROUND", default="auto")
if BACKGROUND not in {"on", "off", "auto"}:
    raise ImproperlyConfigured(f"BURSAR_BACKGROUND is on, off or auto, not {BACKGROUND!r}.")
# What the provider signs its webhooks with (whsec_...); several while one replaces another. None: none are taken.
PROVIDER_WEBHOOK_SECRETS = env.list("BURSAR_PROVIDER_WEBHOOK_SECRET", default=[])
# Jobs of one project that may be queued at once; 0: any number.
MAX_QUEUED_JOBS = env.int("BURSAR_MAX_QUEUED_JOBS", default=1_000_000)
# The largest file of requests that is taken for a batch; 200 MB, as the provider takes.
MAX_FILE_BYTES = env.int("BURSAR_MAX_FILE_BYTES", default=200 * 1024 * 1024)
MAX_ATTEMPTS = env.int("BURSAR_MAX_ATTEMPTS", default=8)
IDEMPOTENCY_KEEP_DAYS = env.int("BURSAR_IDEMPOTENCY_KEEP_DAYS", default=7)
# Days after its end on which a month closes by itself; calls that ran over its edge are booked in it until then.
CLOSE_MONTHS_AFTER_DAYS = env.int("BURSAR_CLOSE_MONTHS_AFTER_DAYS", default=3)
# A worker touches this file every few seconds as long as it takes messages; for health checks of containers.
ALIVE_FILE = env.str("BURSAR_ALIVE_FILE", default="")
# The provider's bill of a day is taken for complete so many hours after the day's end; what is missing before is late.
PROVIDER_BILL_DELAY_HOURS = env.int("BURSAR_PROVIDER_BILL_DELAY_HOURS", default=48)
# Differences of one day between the books and the provider's bill that come to more than this raise an alert.
DRIFT_ALERT_USD = Decimal(env.str("BURSAR_DRIFT_ALERT_USD", default="0.000001"))
# Webhooks are posted to public addresses by https, at these ports, and nowhere else ...
WEBHOOK_PORTS = [int(port) for port in env.list("BURSAR_WEBHOOK_PORTS", default=["443", "8443"])]
# ... but for these networks (CIDR), at any port and without TLS if so asked: what runs inside and is to be told.
WEBHOOK_ALLOWED_NETWORKS = env.list("BURSAR_WEBHOOK_ALLOWED_NETWORKS", default=[])
for _network in WEBHOOK_ALLOWED_NETWORKS:
    try:
        ip_network(_network)
    except ValueError as error:
        raise ImproperlyConfigured(f"BURSAR_WEBHOOK_ALLOWED_NETWORKS: {error}.") from error
# Stops or kills a process at named steps of the path (jobs/crash_points.py); for tests of crashes only.
CRASH_AT = env.str("BURSAR_CRASH_AT", default="")

# --- Django -----------------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",  # the site is ours, of its kind
    "unfold.contrib.filters",
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
    "axes",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_otp.plugins.otp_static",
    "config.apps.ConfigConfig",
    "accounts",
    "billing",
    "jobs",
]

MIDDLEWARE = [
    "config.requests.RequestIdMiddleware",
    # Outside of all that may answer by itself, as a file or a redirect.
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "config.requests.WallMiddleware",
    "config.requests.DatabaseTurnMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

if TRACING:
    MIDDLEWARE.insert(0, "config.tracing.TracingMiddleware")

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

DATABASE_POOL = env.int("BURSAR_DATABASE_POOL", default=12)
DATABASES = {
    "default": {
        **env.db_url_config(DATABASE_URL or "postgres://bursar@127.0.0.1:5432/bursar"),
        # Looks at the socket of each connection that is borrowed, and so needs no CONN_HEALTH_CHECKS.
        "ENGINE": "config.postgresql",
        "OPTIONS": {
            # Values go beside the statement and not into it, which spares both sides the writing and reading of text.
            # No statement is prepared under a name, so that a pooler in between may hand out any connection.
            "server_side_binding": True,
            # A connection per worker thread would exhaust PostgreSQL: threads borrow one for each short transaction.
            # Reconnecting is given up after a second and begun anew by the next who asks: the pool's own pauses double
            # up to minutes, and would outlast the server's absence by as much.
            "pool": {
                "min_size": 0,
                "max_size": DATABASE_POOL,
                "timeout": 5,
                "reconnect_timeout": 1,
            },
            # A server that vanished without a word (its machine, or the way to it) is noticed within half a minute.
            "connect_timeout": 5,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 25_000,
            "application_name": env.str("BURSAR_PROCESS", default="bursar"),
        },
    }
}
# A second wall between organizations, in the database: auto (where its role can be taken), require, or off.
ROW_SECURITY = env.str("BURSAR_ROW_SECURITY", default="auto")
if ROW_SECURITY not in {"auto", "require", "off"}:
    raise ImproperlyConfigured(f"BURSAR_ROW_SECURITY is auto, require or off, not {ROW_SECURITY!r}.")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "accounts.sign_in.StaffPermissions"]
# Whoever works here without a membership's limits signs in with a one-time code beside the password.
REQUIRE_TOTP_FOR_STAFF = env.bool("BURSAR_REQUIRE_TOTP_FOR_STAFF", default=False)
OTP_TOTP_ISSUER = "Bursar"
# Ten wrong passwords for one e-mail address from one address on the network, and it waits for a quarter of an hour.
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_RESET_ON_SUCCESS = True
AXES_USERNAME_CALLABLE = "accounts.sign_in.name_of"
AXES_CLIENT_IP_CALLABLE = "accounts.audit.address_of"
# The audit trail says who signed in, and the form says until when it is locked: no middleware stands before the API.
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False
SILENCED_SYSTEM_CHECKS = ["axes.W002"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

UNFOLD = {
    "ACCOUNT": {"navigation": [{"title": "Second step", "link": "/admin/account/second-step/"}]},
}

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True

# How the admin looks.
UNFOLD = theme.UNFOLD

STATIC_URL = "/static/"
STATIC_ROOT = Path(env.str("BURSAR_STATIC_ROOT", default=str(VAR_DIR / "static")))
# Without a manifest a page renders before `collectstatic` has run; the finders serve the files from their packages.
WHITENOISE_USE_FINDERS = True

# On every answer: nobody guesses its type, frames it, shares its window, or tells elsewhere where it was.
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SECURE_SSL_REDIRECT = HTTPS_ONLY
# Health checks come from inside, over plain HTTP.
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz(/all)?$", r"^metrics$"]
SESSION_COOKIE_SECURE = HTTPS_ONLY
CSRF_COOKIE_SECURE = HTTPS_ONLY
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS_ONLY else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS_ONLY
SECURE_HSTS_PRELOAD = HTTPS_ONLY
# One proxy stands before Bursar: it says whether it was reached by TLS, and as the last in X-Forwarded-For from where.
BEHIND_PROXY = env.bool("BURSAR_BEHIND_PROXY", default=False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_PROXY else None
# Requests that one API key, or one address that sends no good key, may send in a minute; 0: any number.
KEY_REQUESTS_PER_MINUTE = env.int("BURSAR_KEY_REQUESTS_PER_MINUTE", default=6000)
ADDRESS_REQUESTS_PER_MINUTE = env.int("BURSAR_ADDRESS_REQUESTS_PER_MINUTE", default=120)
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
    "ENUM_NAME_OVERRIDES": {  # what stands in several components
        "AdviceRuleEnum": "accounts.models.AdviceRule",
        "ComparisonStatusEnum": "jobs.comparisons.states.ComparisonStatus",
        "JobObjectEnum": ["job"],
        "JobServiceTierEnum": "billing.models.ServiceTier",
        "JobStatusEnum": "jobs.states.JobStatus",
    },
}

# --- Celery: messages carry ids and are hints; PostgreSQL decides ----------------------------------------------------
CELERY_BROKER_URL = REDIS_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "control"
CELERY_TASK_ROUTES = {
    "jobs.tasks.call_model": {"queue": "calls"},
    # They take seconds of Python at a time, for which no dispatch has to wait (docs/decisions/0037).
    "jobs.tasks.work_on_batches": {"queue": "batches"},
    "jobs.tasks.work_on_comparisons": {"queue": "batches"},
    "jobs.tasks.work_at_provider": {"queue": "batches"},
    "jobs.tasks.erase_old_files": {"queue": "batches"},
    "jobs.tasks.learn": {"queue": "batches"},
    "jobs.tasks.prepare_waste": {"queue": "batches"},
}
CELERY_TASK_ACKS_LATE = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# For ever: a worker that gave up would only be started again. Its consumer asks once a second.
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_WORKER_CONSUMER = "config.consuming:Consumer"
# Each worker has a queue of its own, by which it hears whether it still takes messages.
CELERY_WORKER_DIRECT = True
# A submission must not wait for a broker that is away: the beat finds the job a second later.
CELERY_TASK_PUBLISH_RETRY = False
# A message that is not acknowledged so long is delivered again. Ours are as soon as they are received, and a message
# that comes twice changes nothing; all that share a broker get the shortest one of the three that Celery knows.
CELERY_VISIBILITY_TIMEOUT = 3600
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "socket_connect_timeout": 2,
    "socket_timeout": 15,
    "socket_keepalive": True,
    "visibility_timeout": CELERY_VISIBILITY_TIMEOUT,
}
CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS = {"visibility_timeout": CELERY_VISIBILITY_TIMEOUT}
CELERY_BEAT_SCHEDULE = SCHEDULE
CELERY_BEAT_SCHEDULE_FILENAME = str(VAR_DIR / "beat-schedule")

# --- Logs: ids and codes, never a prompt or a secret -----------------------------------------------------------------
# `text` for people, `json` for programs: one object a line.
LOG_FORMAT = env.str("BURSAR_LOG_FORMAT", default="text")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {"()": "config.logs.TextFormatter"},
        "json": {"()": "config.logs.JsonFormatter", "process": DATABASES["default"]["OPTIONS"]["application_name"]},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["stderr"], "level": env.str("BURSAR_LOG_LEVEL", default="INFO")},
    "loggers": {
        # The HTTP client logs each request's URL at INFO; the attempt row already says more than that.
        "httpx2": {"level": "WARNING"},
        "httpx": {"level": "WARNING"},
        "openai": {"level": "WARNING"},
        # They have handlers of their own before Django is set up.
        "gunicorn.error": {"handlers": ["stderr"], "propagate": False},
        "gunicorn.access": {"handlers": ["stderr"], "propagate": False},
    },
}
