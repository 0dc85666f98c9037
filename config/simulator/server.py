"""The HTTP server: the provider's routes under /v1, those that steer the simulator under /simulator."""

import asyncio
import logging
import resource
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from config.simulator import batches, control, errors, files, replies, responses, stored, streams, usage, usage_api
from config.simulator.batches import BATCHES, Batches
from config.simulator.calls import ARRIVAL, PROVIDER, Arrival, Provider
from config.simulator.files import FILES, Files
from config.simulator.models import Model
from config.simulator.responses import RESPONSES, Responses
from config.simulator.settings import Settings
from config.simulator.webhooks import WEBHOOKS, Endpoint, Webhooks

logger = logging.getLogger(__name__)

COMPLETIONS = "/v1/chat/completions"
CREATIONS = frozenset({COMPLETIONS, responses.PATH})
BODY_BYTES_MAX = 64 * 2**20  # a prompt of a million tokens is some megabytes
BACKLOG = 4096
# How long a stop waits for answers that are just being written; calls that still wait are abandoned before that.
STOP_SECONDS = 1.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def create_app(settings: Settings) -> web.Application:
    """The whole simulator as an application; its bill opens at the start and is flushed and closed at the end."""
    app = web.Application(middlewares=[_as_provider], client_max_size=BODY_BYTES_MAX)
    app.cleanup_ctx.append(_provider(settings))
    app.on_shutdown.append(_abandon_work)
    app.add_routes(
        [
            web.post(COMPLETIONS, create_completion),
            web.get(COMPLETIONS, stored.list_completions),
            web.get(COMPLETIONS + "/{completion}", stored.retrieve_completion),
            web.get("/v1/models", list_models),
            web.get("/v1/models/{model}", retrieve_model),
            *responses.ROUTES,
            *files.ROUTES,
            *batches.ROUTES,
            web.get(usage_api.USAGE, usage_api.usage_of_completions),
            web.get(usage_api.COSTS, usage_api.costs),
            *control.ROUTES,
        ]
    )
    return app


async def serve(settings: Settings, *, started: Callable[[int], None], stop: asyncio.Event) -> None:
    """Serves until `stop` is set; calls `started` with the port once connections are accepted."""
    raise_file_limit()
    runner = web.AppRunner(
        create_app(settings), access_log=None, handler_cancellation=True, shutdown_timeout=STOP_SECONDS
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port, backlog=BACKLOG)
        await site.start()
        started(runner.addresses[0][1])
        await stop.wait()
    finally:
        await runner.cleanup()


def raise_file_limit() -> None:
    """Every waiting call holds a socket, and the usual soft limit of 1,024 files is far below the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# --- Routes of the provider -------------------------------------------------------------------------------------------
async def create_completion(http: web.Request) -> web.StreamResponse:
    provider = http.app[PROVIDER]
    order = await provider.order(http[ARRIVAL], await http.read())
    fault = provider.fault_for(order)
    if fault is not None and fault.kind == "other_model":
        order = provider.answered_by(order, fault.answers_as)
        fault = None
    if order.request.stream and streams.begins_well(fault):
        return await streams.stream(http, order, fault)
    if fault is not None and not fault.is_billed:
        with provider.counters.flight():
            return await replies.refuse(http, order, fault)
    completion = await provider.finish(order)
    if fault is not None:
        with provider.counters.flight():
            return await replies.spoil(http, order, fault, completion)
    provider.counters.answered += 1
    return replies.success(completion, replies.order_headers(order))


async def list_models(http: web.Request) -> web.StreamResponse:
    models = [_model_body(name, model) for name, model in http.app[PROVIDER].models.items()]
    return replies.success({"object": "list", "data": models}, replies.provider_headers(http[ARRIVAL]))


async def retrieve_model(http: web.Request) -> web.StreamResponse:
    name = http.match_info["model"]
    model = http.app[PROVIDER].models.get(name)
    if model is None:
        raise errors.no_such_model(name)
    return replies.success(_model_body(name, model), replies.provider_headers(http[ARRIVAL]))


def _model_body(name: str, model: Model) -> dict[str, str | int]:
    return {"id": name, "object": "model", "created": model.created, "owned_by": "system"}


# --- Around every request ---------------------------------------------------------------------------------------------
@web.middleware
async def _as_provider(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Knows the caller, and answers every error under /v1 in the provider's form."""
    if request.path.startswith(control.PREFIX):
        return await handler(request)
    counters = request.app[PROVIDER].counters
    is_call = request.method == "POST" and request.path in CREATIONS
    counters.requests += is_call
    request_id = replies.new_request_id()
    try:
        _check_route(request)
        request[ARRIVAL] = Arrival(request.app[PROVIDER].authenticate(request.headers), request_id)
        if request[ARRIVAL].caller.is_admin is not (request.path in usage_api.PATHS):
            raise errors.missing_scope()
        if is_call:
            counters.arrive(request[ARRIVAL].caller.key)
        return await handler(request)
    except errors.ApiError as error:
        refusal = error
    except web.HTTPException as error:  # a body that is too large
        refusal = errors.ApiError(error.status, error.reason)
    except Exception:
        logger.exception("the simulator failed")
        refusal = errors.server_error()
    if is_call:
        counters.reject(refusal, request[ARRIVAL].caller.key if ARRIVAL in request else None)
    known = replies.provider_headers(request[ARRIVAL]) if ARRIVAL in request else replies.FIXED_HEADERS
    return replies.failure(refusal, {**known, "x-request-id": request_id})


def _check_route(http: web.Request) -> None:
    """Raises the provider's words for a path or a method that is not served."""
    match http.match_info.http_exception:
        case None:
            return
        case web.HTTPMethodNotAllowed():
            raise errors.wrong_method(http.method, http.path)
        case _:
            raise errors.invalid_url(http.method, http.path)


def _provider(settings: Settings) -> Callable[[web.Application], AsyncIterator[None]]:
    async def provider(app: web.Application) -> AsyncIterator[None]:
        app[PROVIDER] = Provider(settings)
        endpoint = Endpoint(settings.webhook_url, settings.webhook_secret) if settings.webhook_url else None
        app[WEBHOOKS] = Webhooks(endpoint, app[PROVIDER].start)
        app[RESPONSES] = Responses(app[PROVIDER], app[WEBHOOKS])
        app[FILES] = Files()
        app[BATCHES] = Batches(app[PROVIDER], app[FILES])
        # Reading the ranks takes a fifth of a second: it begins now, and nobody waits for it before the first call.
        loading = asyncio.create_task(asyncio.to_thread(usage.encoding))
        yield
        await loading
        app[PROVIDER].close()

    return provider


async def _abandon_work(app: web.Application) -> None:
    await app[PROVIDER].abandon_work()
