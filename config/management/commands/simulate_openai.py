"""`manage.py simulate_openai`: the provider for people without a key. Needs neither a database nor Redis."""

import argparse
import asyncio
import gc
import signal
import sqlite3
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.simulator.models import TIERS, catalogue
from config.simulator.server import serve
from config.simulator.settings import Settings

DEFAULTS = Settings()
GARBAGE_THRESHOLD = 50_000
NOTICE = "THIS IS A SIMULATOR OF OPENAI: no real model answers, no money is spent, nothing leaves this machine."


class Command(BaseCommand):
    help = (
        "Serves the chat completions and responses APIs as OpenAI would, with its errors, rate limits, usage and "
        "stored answers, and keeps a durable bill of what it answered. Any key that begins with sk- is accepted, but "
        "for sk-invalid... "
        "Faults, counters and the bill are under /simulator/."
    )
    requires_system_checks = ()  # they would want the whole product
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("--host", default=DEFAULTS.host, help="address to listen on (%(default)s)")
        add("--port", type=int, default=DEFAULTS.port, help="port, 0 for a free one, which is printed (%(default)s)")
        add(
            "--tier",
            type=int,
            choices=TIERS,
            default=DEFAULTS.tier,
            help="usage tier of the organization: which models it has and their limits (%(default)s)",
        )
        add(
            "--latency",
            type=_latency,
            default=DEFAULTS.latency,
            metavar="SECONDS|MIN-MAX",
            help="how long an answer takes (0.2-0.6)",
        )
        add(
            "--latency-per-token",
            type=_seconds,
            default=DEFAULTS.latency_per_token,
            metavar="SECONDS",
            help="added for every completion token (%(default)s)",
        )
        add(
            "--usage-delay",
            type=_seconds,
            default=DEFAULTS.usage_delay,
            metavar="SECONDS",
            help="after which a billed call shows in the usage and costs APIs (%(default)s)",
        )
        add("--seed", type=int, default=DEFAULTS.seed, help="another seed gives other answers and tokens (%(default)s)")
        add("--bill", type=Path, default=DEFAULTS.bill, metavar="PATH", help="SQLite file of the bill (%(default)s)")
        self._add_limits(parser)
        self._add_webhooks(parser)
        add("--organization", default=DEFAULTS.organization, help="that of callers who name none (%(default)s)")
        add(
            "--verified",
            action="store_true",
            help="the organization is verified: o3, o4-mini and gpt-5 models stream for it",
        )

    def _add_limits(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("--limits", choices=("on", "off"), default="on", help="whether rate limits are enforced (%(default)s)")
        add(
            "--rpm",
            type=_model_limit,
            action="append",
            default=[],
            metavar="MODEL=N",
            help="requests per minute of a model instead of the tier's; may be repeated",
        )
        add(
            "--tpm",
            type=_model_limit,
            action="append",
            default=[],
            metavar="MODEL=N",
            help="tokens per minute of a model instead of the tier's; may be repeated",
        )
        add(
            "--requests-per-day",
            type=_model_limit,
            action="append",
            default=[],
            metavar="MODEL=N",
            help="requests per day of a model, which have no limit otherwise; may be repeated",
        )

    def _add_webhooks(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add(
            "--webhook-url",
            default=DEFAULTS.webhook_url,
            metavar="URL",
            help="where to tell that a background response has ended, signed as OpenAI signs; nowhere by default",
        )
        add(
            "--webhook-secret",
            default=DEFAULTS.webhook_secret,
            metavar="whsec_BASE64",
            help="what those webhooks are signed with",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        settings = Settings(
            host=options["host"],
            port=options["port"],
            tier=options["tier"],
            latency=options["latency"],
            latency_per_token=options["latency_per_token"],
            usage_delay=options["usage_delay"],
            seed=options["seed"],
            bill=options["bill"],
            enforce_limits=options["limits"] == "on",
            requests_per_minute=dict(options["rpm"]),
            tokens_per_minute=dict(options["tpm"]),
            requests_per_day=dict(options["requests_per_day"]),
            organization=options["organization"],
            webhook_url=options["webhook_url"],
            webhook_secret=options["webhook_secret"],
            verified=options["verified"],
        )
        try:
            asyncio.run(self._serve(settings))
        except (OSError, sqlite3.Error) as error:  # the port is taken, the bill cannot be written
            raise CommandError(f"The simulator cannot start: {error}") from error

    async def _serve(self, settings: Settings) -> None:
        stop = asyncio.Event()
        # Nothing of a call is left to the cyclic collector, which would walk over thousands of waiting ones for it.
        gc.freeze()
        gc.set_threshold(GARBAGE_THRESHOLD)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)

        def started(port: int) -> None:
            self.stdout.write(self.style.WARNING(NOTICE))
            self.stdout.write(f"listening on http://{settings.host}:{port}/v1")
            self.stdout.flush()

        await serve(settings, started=started, stop=stop)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return seconds


def _latency(text: str) -> tuple[float, float]:
    low, dash, high = text.partition("-")
    bounds = (_seconds(low), _seconds(high if dash else low))
    if bounds[0] > bounds[1]:
        raise argparse.ArgumentTypeError(f"{text!r}: the smaller number comes first")
    return bounds


def _model_limit(text: str) -> tuple[str, int]:
    model, _, number = text.partition("=")
    if model not in catalogue():
        raise argparse.ArgumentTypeError(f"{model!r} is no model of the simulator; it has {', '.join(catalogue())}")
    if not number.isdecimal() or int(number) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: write MODEL=N with N of 1 or more")
    return model, int(number)
