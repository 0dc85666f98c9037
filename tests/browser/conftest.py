"""A browser, the admin over the database of the tests, and people who sign in to it as anybody does.

Nothing is blocked and nothing is replaced: pages, styles and scripts come over the socket. Tests are skipped where
there is no Chromium, and fail there when BURSAR_NEEDS_BROWSER (or else CI) is set to anything but 0.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from django.db import connection
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from accounts.models import Membership, Role, User
from tests.admin.conftest import Finished, fill_world, finish_job
from tests.conftest import Tenant, make_tenant

PASSWORD = "a password for tests"
DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
expect.set_options(timeout=20_000)  # a machine that does much else is slow; nothing waits longer than it must


def chromium() -> str:
    """Where this machine has a Chromium; the test is skipped, or fails, when it has none."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        reason = "no chromium on this machine: `apt-get install chromium`"
        if os.environ.get("BURSAR_NEEDS_BROWSER", os.environ.get("CI", "")) not in {"", "0", "false"}:
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="module")
def browser(django_db_setup) -> Iterator[Browser]:
    executable = chromium()
    migrated = connection._test_serialized_contents
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright keeps an event loop in this thread, where Django refuses to query; nothing here is asynchronous.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        # A running loop has a connection of its own, which must know, too, what every test begins with.
        connection._test_serialized_contents = migrated
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Site:
    """The admin of a filled world, and who signs in to it."""

    url: str
    superuser: User
    alice: Tenant
    finished: Finished


@pytest.fixture
def site(live_server, transactional_db, settings) -> Site:
    """One row at least of every model, as other connections see it too, with the simulator behind it."""
    settings.PROVIDER_IS_SIMULATOR = True
    superuser = User.objects.create_superuser("root@bursar.example", PASSWORD)
    alice = make_tenant("Alice")
    finished = fill_world(alice.organization, alice.owner, finish_job(alice.project, alice.owner))
    return Site(live_server.url, superuser, alice, finished)


def a_member(tenant: Tenant, role: Role, name: str = "") -> User:
    """Somebody of the tenant's organization in this role, who signs in with PASSWORD."""
    user = User.objects.create_user(f"{name or role.value}@{tenant.organization.slug}.example", PASSWORD)
    Membership.objects.create(organization=tenant.organization, user=user, role=role)
    return user


@dataclass
class Visit:
    """A browser window of one person, who notes what goes wrong in it."""

    page: Page
    url: str
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.faults.append(f"error in a script: {error}"))
        self.page.on("request", self._asked)

    def sign_in(self, email: str, password: str = PASSWORD) -> None:
        self.page.goto(f"{self.url}/admin/login/?next=/admin/")
        self.page.get_by_label("E-mail").fill(email)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Log in").click()
        # Where that leads is another question: to the dashboard of the one organization, or to the choice of them.
        self.page.wait_for_url(re.compile(r"^[^?]*/admin/(?!login/)"))

    def open(self, path: str) -> int:
        """The status of the page, which is loaded then with everything in it."""
        answer = self.page.goto(f"{self.url}{path}", wait_until="load")
        assert answer is not None
        return answer.status

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.faults.append(f"{message.type} on the console: {message.text}")

    def _asked(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in {"http", "https"} and parts.netloc != urlsplit(self.url).netloc:
            self.faults.append(f"asked another host: {request.url}")


@pytest.fixture
def windows(browser: Browser, live_server) -> Iterator[Callable[[], Visit]]:
    """Opens as many as there are people; each has cookies of its own."""
    with ExitStack() as open_ones:

        def open_one() -> Visit:
            context = browser.new_context(viewport=DESKTOP)
            open_ones.callback(context.close)
            context.set_default_timeout(20_000)
            return Visit(context.new_page(), live_server.url)

        yield open_one


@pytest.fixture
def window(windows: Callable[[], Visit]) -> Visit:
    """Nobody's yet."""
    return windows()


@pytest.fixture
def root(window: Visit, site: Site) -> Visit:
    """A superuser's window."""
    window.sign_in(site.superuser.email)
    return window
