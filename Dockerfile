# The base is pinned by a digest, which whoever builds names, since a digest written here would age unseen:
#
#   digest=$(docker buildx imagetools inspect python:3.13-slim-trixie --format '{{.Manifest.Digest}}')
#   docker build --build-arg PYTHON_DIGEST="$digest" \
#     --build-arg VERSION=1.2.3 --build-arg REVISION="$(git rev-parse HEAD)" -t media-reconciler:1.2.3 .
#
# Without PYTHON_DIGEST the tag decides: good enough to try it, not for a release. The label
# org.opencontainers.image.base.digest of the result says which it was.
ARG PYTHON_TAG=3.13-slim-trixie
ARG PYTHON_DIGEST=

FROM docker.io/library/python:${PYTHON_TAG}${PYTHON_DIGEST:+@${PYTHON_DIGEST}} AS base

FROM base AS build
# Sweeps by inventory need `inventory` as well, which not everybody should carry: duckdb, pyarrow and pyiceberg have 270 MB.
ARG EXTRAS=events,otel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY migrations ./migrations
COPY reconciler ./reconciler
COPY media_reconciler ./media_reconciler
# The environment gets no pip of its own: the base's installs into it. A builder whose packages come from
# elsewhere mounts its pip.conf, and the authorities of its index, as secrets, which no layer keeps. Bytecode is
# made here, because nothing can be written where the image runs, and compiling at every start costs seconds; it
# is not compared with the times of the sources, so that the same sources give the same files.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=certificates \
    python -m venv --without-pip /opt/reconciler \
    && python -m pip --python /opt/reconciler/bin/python install --no-cache-dir --no-compile ".[${EXTRAS}]" \
    && /opt/reconciler/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/reconciler/lib

FROM base
# What is not there need not be patched, and cannot be used by whoever gets in.
RUN rm -rf "$(python -c 'import ensurepip; print(ensurepip.__path__[0])')" \
    && python -m pip uninstall --yes --root-user-action=ignore pip setuptools wheel
COPY --from=build /opt/reconciler /opt/reconciler
# For a shell in the container.
RUN /opt/reconciler/bin/reconciler completion bash >> /etc/bash.bashrc
ENV PATH=/opt/reconciler/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# A number, so that Kubernetes can tell that it is not root. Only /tmp needs to be writable.
USER 65532:65532
# Metrics and probes; and the admin API, where it is on.
EXPOSE 8080 8081
# No HEALTHCHECK: /healthz and /readyz on port 8080 mean different things, and the platform asks each.
ENTRYPOINT ["reconciler"]
CMD ["run"]

ARG PYTHON_TAG
ARG PYTHON_DIGEST
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="media-reconciler" \
      org.opencontainers.image.description="Keeps an S3-compatible bucket and its index table in Postgres in agreement" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/python:${PYTHON_TAG}" \
      org.opencontainers.image.base.digest="${PYTHON_DIGEST}"
