# syntax=docker/dockerfile:1

# The gateway with its embedded store. Balances live in the volume /var/lib/tollgate, unless TOLLGATE_REDIS_URL and
# TOLLGATE_DATABASE_URL name a store and a database elsewhere.

FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1
WORKDIR /src

# The tools that build the wheel, apart from what the gateway needs to run.
COPY requirements/dev.txt requirements/
RUN python -m venv /opt/build && /opt/build/bin/pip install --require-hashes --requirement requirements/dev.txt

COPY requirements/run.txt requirements/
RUN python -m venv /opt/tollgate && /opt/tollgate/bin/pip install --require-hashes --requirement requirements/run.txt

COPY pyproject.toml README.md LICENSE ./
COPY scripts scripts
COPY gateway gateway
RUN /opt/build/bin/python -m build --wheel --no-isolation --outdir /dist \
    && /opt/tollgate/bin/pip install --no-deps --no-index /dist/*.whl \
    && /opt/tollgate/bin/python -m compileall -q /opt/tollgate/lib \
    && /opt/build/bin/cyclonedx-py requirements requirements/run.txt --pyproject pyproject.toml --output-reproducible --of JSON \
        --output-file /opt/tollgate/tollgate.cdx.json


FROM python:3.11-slim-bookworm
# libjemalloc2 holds the store's memory together under load. Its version is Debian's to keep secure.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libjemalloc2 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 tollgate \
    && useradd --system --uid 10001 --gid tollgate --home-dir /var/lib/tollgate --shell /usr/sbin/nologin tollgate \
    && install --directory --owner=tollgate --group=tollgate --mode=0700 /var/lib/tollgate

COPY --from=build /opt/tollgate /opt/tollgate
ENV PATH=/opt/tollgate/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TOLLGATE_DATA_DIR=/var/lib/tollgate \
    TOLLGATE_LISTEN=0.0.0.0:50051 \
    TOLLGATE_ADMIN_LISTEN=0.0.0.0:50052 \
    TOLLGATE_HTTP_LISTEN=0.0.0.0:8080 \
    TOLLGATE_METRICS_LISTEN=0.0.0.0:9464

USER 10001:10001
WORKDIR /var/lib/tollgate
VOLUME /var/lib/tollgate
EXPOSE 50051 50052 8080 9464

# Both services, asked over gRPC; needs no token.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["tollgate", "health"]

# SIGTERM drains: give it longer than TOLLGATE_DRAIN_SECONDS (30) to end, e.g. `docker stop --time 60`.
ENTRYPOINT ["tollgate"]
CMD ["serve"]
