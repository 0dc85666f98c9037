"""A simulator that runs somewhere on this machine, as tests and benchmarks steer and read it over HTTP."""

import json
from typing import Any
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener


class Remote:
    """The endpoints under /simulator of the one at `url`, such as http://127.0.0.1:8100."""

    def __init__(self, url: str = "") -> None:
        self._url = url
        # Proxies of the environment are not for a server on this machine.
        self._opener = build_opener(ProxyHandler({}))

    @property
    def url(self) -> str:
        return self._url

    @property
    def base_url(self) -> str:
        """What the official client takes as `base_url`."""
        return f"{self.url}/v1"

    def bill(self, *, lines: bool = False, **metadata: str) -> dict[str, Any]:
        """The bill's totals, with its lines if wanted; keyword arguments leave only calls with that metadata."""
        query = {"lines": str(int(lines))} | {f"metadata[{name}]": value for name, value in metadata.items()}
        return self._ask("GET", f"/simulator/bill?{urlencode(query)}")

    def counters(self) -> dict[str, Any]:
        return self._ask("GET", "/simulator/counters")

    def fault(self, kind: str, **options: Any) -> dict[str, Any]:
        """Sets a fault: once unless `count` says otherwise, None for always."""
        return self._ask("POST", "/simulator/faults", {"kind": kind, **options})

    def faults(self) -> list[dict[str, Any]]:
        return list(self._ask("GET", "/simulator/faults")["faults"])

    def clear_faults(self) -> None:
        self._ask("DELETE", "/simulator/faults")

    def set_latency(self, low: float, high: float | None = None) -> None:
        """Seconds that every later call takes, or something between two bounds."""
        self._ask("POST", "/simulator/latency", {"min": low, "max": low if high is None else high})

    def set_webhook(self, url: str = "", secret: str = "") -> None:
        """Whom to tell of background responses that have ended; nobody without a URL."""
        self._ask("POST", "/simulator/webhook", {"url": url, "secret": secret})

    def set_batches(self, **plan: Any) -> dict[str, Any]:
        """How batches run from now on: `seconds`, `enqueued_tokens`, `runs`, `expires`; what is not given, as usual."""
        return self._ask("POST", "/simulator/batches", plan)

    def set_usage_delay(self, seconds: float) -> None:
        """How long after a call was billed the usage and costs APIs report it."""
        self._ask("POST", "/simulator/usage-delay", {"seconds": seconds})

    def differ(self, kind: str, **options: Any) -> str:
        """Seeds a difference between the bill and its reports; the id of the line that differs."""
        return str(self._ask("POST", "/simulator/differences", {"kind": kind, **options})["id"])

    def clear_differences(self) -> None:
        self._ask("DELETE", "/simulator/differences")

    def reset(self) -> None:
        """Counters and rate limits as at the start; the bill and the faults stay."""
        self._ask("POST", "/simulator/reset", {})

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        request = Request(self.url + path, data=data, method=method, headers=headers)  # noqa: S310 (our own)
        with self._opener.open(request, timeout=30) as answer:
            return dict(json.loads(answer.read()))
