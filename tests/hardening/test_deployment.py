"""A deployment as documented: the checks of Django find nothing, and every answer has its headers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.test import Client

CHECKOUT = Path(__file__).resolve().parents[2]
PRODUCTION = {
    "BURSAR_SECRET_KEY": "c5f1!kq92m#8v_x0pz7b3w-a6d4n@h$e%y^u&j*t(r)g=s+l-and-more",
    "BURSAR_ALLOWED_HOSTS": "bursar.example.org",
    "BURSAR_TRUSTED_ORIGINS": "https://bursar.example.org",
    "BURSAR_HTTPS_ONLY": "true",
    "BURSAR_BEHIND_PROXY": "true",
    "OPENAI_API_KEY": "sk-example",
}
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


def test_the_checks_for_deployments_find_nothing():
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=CHECKOUT,
        env=kept | PRODUCTION,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/jobs",
        "/api/v1/schema",
        "/api/v1/docs",
        "/v1/models",
        "/admin/login/",
        "/healthz",
        "/nothing",
        "/static/x",
    ],
)
def test_every_answer_has_its_headers(db, path):
    response = Client().get(path)
    assert {name: response.headers.get(name) for name in HEADERS} == HEADERS
    assert response["X-Request-Id"]


def test_an_answer_by_tls_alone_has_them_too(db, settings):
    settings.SECURE_SSL_REDIRECT, settings.SECURE_HSTS_SECONDS = True, 31_536_000
    settings.SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    away = Client().get("/api/v1/jobs")
    assert (away.status_code, away["Location"]) == (301, "https://testserver/api/v1/jobs")
    assert away["X-Frame-Options"] == "DENY"
    secure = Client().get("/api/v1/jobs", secure=True)
    assert "max-age=31536000" in secure["Strict-Transport-Security"]
