# syntax=docker/dockerfile:1

FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY reconciler ./reconciler
COPY migrations ./migrations
RUN python -m venv /opt/reconciler \
    && /opt/reconciler/bin/pip install --no-cache-dir --no-compile '.[otel]'

FROM python:3.13-slim
ENV PATH=/opt/reconciler/bin:$PATH \
    PYTHONUNBUFFERED=1
COPY --from=build /opt/reconciler /opt/reconciler
# A number, so that Kubernetes can tell that it is not root.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["reconciler"]
CMD ["run"]
