"""Which Bursar, and by which key: from the command line, the environment, or the file that `bursar login` writes."""

import json
import os
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from config.command_line.endings import CommandError, Ending, UsageError

LOCAL = "http://127.0.0.1:8000"
DEFAULT = "default"
_PRIVATE = 0o600


class Server(NamedTuple):
    """Where to send requests, and the key to send."""

    url: str
    key: str


def configuration_path(environment: Mapping[str, str] = os.environ) -> Path:
    """The file of logins, below XDG_CONFIG_HOME where that is set."""
    home = environment.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "bursar" / "config.toml"


def server_of(url: str | None, profile: str | None, environment: Mapping[str, str] = os.environ) -> Server:
    """The server and its key.

    A login that is named by --profile counts whole. Otherwise --url and BURSAR_URL stand above the login's address, and
    BURSAR_API_KEY above its key. The key of a login goes to the login's own address and to no other. Raises
    CommandError where there is no key.
    """
    if profile is not None:
        login = _login(profile, environment)
        if url is not None and normal(url) != login.url:
            raise UsageError(f"The login '{profile}' is for {login.url}, not for {normal(url)}.")
        return login
    name = environment.get("BURSAR_PROFILE") or DEFAULT
    kept = _kept(environment)
    login = _login(name, environment) if name in kept or name != DEFAULT else Server(LOCAL, "")
    address = normal(url or environment.get("BURSAR_URL") or login.url)
    key = environment.get("BURSAR_API_KEY", "").strip() or (login.key if address == login.url else "")
    if not key:
        raise CommandError(
            f"There is no API key for {address}. Set BURSAR_API_KEY, or run `bursar login`.", Ending.NOT_ALLOWED
        )
    if not key.isascii() or not key.isprintable():
        raise UsageError("The API key has characters that no key has.")
    return Server(address, key)


def normal(url: str) -> str:
    """An address without its last slash. Raises UsageError for one that is none."""
    address = url.strip().rstrip("/")
    scheme, _, rest = address.partition("://")
    if scheme not in {"http", "https"} or not rest or any(sign.isspace() for sign in rest) or "@" in rest:
        raise UsageError(f"'{url}' is no address of a Bursar; one is https://bursar.example or {LOCAL}.")
    return address


def is_in_the_clear(url: str) -> bool:
    """Whether a key that is sent there can be read on its way."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in {"127.0.0.1", "localhost", "::1"}


def keep(name: str, server: Server, environment: Mapping[str, str] = os.environ) -> Path:
    """Writes a login, for nobody else to read; the others stay. Returns where."""
    path = configuration_path(environment)
    kept = {**_kept(environment), name: {"url": server.url, "key": server.key}}
    lines = []
    for profile, values in kept.items():
        lines.append(f"[profiles.{json.dumps(profile)}]")
        # A JSON text is a text of TOML, too.
        lines += [f"{field} = {json.dumps(value)}" for field, value in values.items() if isinstance(value, str)]
        lines.append("")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Made private before the key is in it, and in one step: a full disk leaves the old file.
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".config.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write("\n".join(lines))
        os.chmod(draft, _PRIVATE)
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    return path


def _login(name: str, environment: Mapping[str, str]) -> Server:
    values = _kept(environment).get(name)
    if values is None:
        raise UsageError(f"There is no login '{name}'. Make it by `bursar login --profile {name}`.")
    return Server(normal(str(values.get("url", LOCAL))), str(values.get("key", "")))


def _kept(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    path = configuration_path(environment)
    try:
        with path.open("rb") as file:
            return dict(tomllib.load(file).get("profiles", {}))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, OSError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
