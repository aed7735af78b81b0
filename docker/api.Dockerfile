# The API, the reconciler and the migrations: no torch, no ONNX. Build from the root of the repository:
#   docker build -f docker/api.Dockerfile -t secateur-api .
FROM python:3.11-slim-bookworm AS build
ENV PIP_CACHE_DIR=/var/cache/pip
WORKDIR /src
RUN python -m venv /opt/secateur
COPY pyproject.toml README.md LICENSE ./
COPY service service
RUN --mount=type=cache,target=/var/cache/pip /opt/secateur/bin/pip install .

FROM python:3.11-slim-bookworm
# The worker image has the same user: both write to the volume at /data.
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin secateur \
    && install --directory --owner secateur --group secateur --mode 0750 /data
COPY --from=build /opt/secateur /opt/secateur
ENV PATH=/opt/secateur/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SECATEUR_DATA_DIR=/data \
    SECATEUR_API__HOST=0.0.0.0 \
    SECATEUR_LOG__FORMAT=json
USER 10001:10001
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
CMD ["secateur", "api"]
