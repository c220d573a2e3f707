# One image a tier: `docker build --build-arg TIER=edge .`; TIER is device, edge or cloud.
# And one that learns: `docker build --target training .`
ARG BASE=python:3.13-slim
FROM ${BASE} AS base
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin ddnn \
 && install -d -o ddnn -g ddnn /var/lib/ddnn /watch /out /site /site/authority /site/cloud-0 \
      $(seq -f /site/edge-%g 0 7) $(seq -f /site/device-%g 0 31)  # where the volumes of a site are mounted

# What every tier needs, by version and hash, the same layer in all three images.
FROM base AS dependencies
RUN python -m venv --without-pip /opt/ddnn
COPY requirements.lock /tmp/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/ddnn/bin/python install --quiet --require-hashes --requirement /tmp/requirements.lock

# What learns, with torch, which no tier has: the build without a GPU's libraries, which are gigabytes.
FROM dependencies AS training
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY shared/ddnn shared/ddnn
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/ddnn/bin/python install --quiet --extra-index-url ${TORCH_INDEX} ".[train,private]"
ENV PATH=/opt/ddnn/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /
USER 10001:10001
ENTRYPOINT ["ddnn"]

# The library and this tier's own package; the other tiers' folders are never copied.
FROM dependencies AS package
RUN --mount=type=cache,target=/root/.cache/pip pip --python /opt/ddnn/bin/python install --quiet hatchling
ARG TIER
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY shared/ddnn shared/ddnn
COPY ${TIER} ${TIER}
RUN pip --python /opt/ddnn/bin/python install --quiet --no-deps --no-build-isolation --target /srv/ddnn .

FROM base
COPY --from=dependencies /opt/ddnn /opt/ddnn
COPY --from=package /srv/ddnn /srv/ddnn
ENV PATH=/srv/ddnn/bin:/opt/ddnn/bin:$PATH \
    PYTHONPATH=/srv/ddnn \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DDNN_HOST=0.0.0.0 \
    DDNN_PORT=8000 \
    DDNN_STATE_DIR=/var/lib/ddnn
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# -I -S: no site-packages, so that a probe costs 20 ms and not a tenth of a core.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-I", "-S", "/srv/ddnn/ddnn/fleet/probe.py"]
ENTRYPOINT ["ddnn"]
