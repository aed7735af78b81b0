# The worker: torch, ONNX Runtime and the engine. Build from the root of the repository:
#   docker build -f docker/worker.Dockerfile -t secateur-worker --build-arg TORCH_INDEX_URL=… .
# TORCH_INDEX_URL names an index with the build of torch that fits the machines; without it pip's own index is asked,
# which serves the CUDA build on x86 Linux.
FROM python:3.11-slim-bookworm AS build
ARG TORCH_INDEX_URL=""
ENV PIP_CACHE_DIR=/var/cache/pip
WORKDIR /src
RUN python -m venv /opt/secateur
COPY pyproject.toml ./
# torch alone comes from that index, in a layer of its own that only a new version of it rebuilds.
RUN --mount=type=cache,target=/var/cache/pip \
    torch="$(sed -n 's/^ *"\(torch==[^"]*\)".*/\1/p' pyproject.toml)" \
    && /opt/secateur/bin/pip install ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} "$torch"
COPY README.md LICENSE ./
COPY service service
COPY worker worker
RUN --mount=type=cache,target=/var/cache/pip /opt/secateur/bin/pip install ".[worker]"

FROM python:3.11-slim-bookworm
# The API image has the same user: both write to the volume at /data.
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin secateur \
    && install --directory --owner secateur --group secateur --mode 0750 /data
COPY --from=build /opt/secateur /opt/secateur
# What libraries cache goes to /tmp: the root may be read-only.
ENV PATH=/opt/secateur/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp/matplotlib \
    SECATEUR_DATA_DIR=/data \
    SECATEUR_LOG__FORMAT=json
USER 10001:10001
VOLUME /data
# No HEALTHCHECK: a worker listens on no port. Its lease in the database is its sign of life, and `/readyz` of the API
# says whether one was seen.
CMD ["secateur", "worker"]
