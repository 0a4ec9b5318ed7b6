# Four images from one source tree:
#
#   docker build --target server     --tag convscope-server .
#   docker build --target server-gpu --tag convscope-server-gpu .
#   docker build --target exporter   --tag convscope-exporter .
#   docker build --target web        --tag convscope-web .
#
# The GPU's image has CUDA's libraries and cuDNN from pip. The host needs NVIDIA's driver and
# its container toolkit: docker run --gpus all convscope-server-gpu --provider cuda
#
# On x86-64, pip installs PyTorch with CUDA packages of several gigabytes. With
# --build-arg TORCH=cpu, the exporter gets PyTorch's wheels for the CPU instead.
#
# Each image copies only a virtual environment from its builder. It contains
# neither pip's caches nor the sources. Only the exporter contains PyTorch.
#
# The servers and the web app consist of the exact versions in deploy/requirements/,
# which `make requirements` writes, and pip checks the hash of each file. The files name
# every package, so pip need not look for dependencies. The versions of the exporter come from the ranges in pyproject.toml.

ARG TORCH=default

FROM python:3.11-slim AS sources
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python -m venv /opt/venv
RUN python -m venv /opt/build
COPY deploy/requirements/ deploy/requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/build/bin/python -m pip install --require-hashes --requirement deploy/requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY proto/ proto/
COPY bundle/ bundle/
COPY client/ client/
COPY server/ server/
COPY exporter/ exporter/
COPY web/ web/
RUN /opt/build/bin/python -m pip wheel --no-index --no-build-isolation --no-deps --wheel-dir dist .

FROM sources AS server-builder
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/venv/bin/python -m pip install --require-hashes --no-deps --requirement deploy/requirements/server.txt
RUN /opt/venv/bin/python -m pip install --no-index --no-deps --find-links dist convscope
RUN /opt/venv/bin/python -m pip check

# onnxruntime-gpu has wheels for x86-64 only.
FROM sources AS server-gpu-builder
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/venv/bin/python -m pip install --require-hashes --no-deps --requirement deploy/requirements/server-gpu.txt
RUN /opt/venv/bin/python -m pip install --no-index --no-deps --find-links dist convscope
RUN /opt/venv/bin/python -m pip check

FROM sources AS torch-default

FROM sources AS torch-cpu
# The versions of this index end with +cpu, which pip takes for newer than those without.
ENV PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu

FROM torch-${TORCH} AS exporter-builder
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/venv/bin/python -m pip install '.[exporter]'

FROM sources AS web-builder
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/venv/bin/python -m pip install --require-hashes --no-deps --requirement deploy/requirements/web.txt
RUN /opt/venv/bin/python -m pip install --no-index --no-deps --find-links dist convscope
RUN /opt/venv/bin/python -m pip check

FROM python:3.11-slim AS runtime
# ONNX Runtime 1.29 and later send telemetry by default. This disables it.
ENV ORT_DISABLE_TELEMETRY=1 \
    PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# A new volume gets the owner of the directory on which it is mounted.
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin convscope \
    && install --directory --owner convscope --group convscope /models
USER 10001

FROM runtime AS exporter
COPY --from=exporter-builder /opt/venv /opt/venv
# PyTorch writes caches to the home directory. They need not persist.
ENV HOME=/tmp
WORKDIR /tmp
ENTRYPOINT ["convscope-exporter"]
CMD ["--help"]

FROM runtime AS web
COPY --from=web-builder /opt/venv /opt/venv
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 \
    CMD ["python", "-m", "convscope.web.health_check", "127.0.0.1:8080"]
# Publishing the port controls the access, as for the server.
ENTRYPOINT ["convscope", "web", "--http-address", "0.0.0.0:8080"]
CMD ["--server", "server:8001"]

FROM runtime AS any-server
# The server writes only to these paths, so the file system may be read-only elsewhere.
ENV CONVSCOPE_TUNING_CACHE=/tmp/tuning.json \
    CONVSCOPE_REPOSITORY_CACHE=/tmp/repositories
EXPOSE 8001 8002
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=2m --retries=3 \
    CMD ["python", "-m", "convscope.server.process.health_check", "127.0.0.1:8001"]
# The loopback interface of a container can't be reached from outside, so the
# server listens on all interfaces. Publishing the ports controls the access.
ENTRYPOINT ["convscope-server", "--models", "/models", \
    "--grpc-address", "0.0.0.0:8001", "--metrics-address", "0.0.0.0:8002", "--allow-insecure"]

FROM any-server AS server-gpu
COPY --from=server-gpu-builder /opt/venv /opt/venv
# Which of the driver's libraries the container toolkit mounts.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# The last stage is the one that a build without --target makes.
FROM any-server AS server
COPY --from=server-builder /opt/venv /opt/venv
