# groupshap on CPUs. docker build --tag groupshap .    docker run --rm --volume "$PWD/work:/work" groupshap --env test
FROM python:3.11-slim

ENV PIP_NO_CACHE_DIR=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    KEDRO_DISABLE_TELEMETRY=1 \
    DO_NOT_TRACK=true \
    MLFLOW_DISABLE_TELEMETRY=true

# The CPU build first: otherwise pip takes a CUDA build of several gigabytes. A layer of its own, because it rarely changes.
RUN pip install "torch>=2.6,<3" --index-url https://download.pytorch.org/whl/cpu

WORKDIR /opt/groupshap
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install ".[emoji,huggingface]"
COPY conf ./conf

# joblib's workers and matplotlib write below HOME; /work holds conf, data and mlflow.db, and is meant to be a volume.
RUN useradd --create-home --uid 1000 groupshap \
    && mkdir /work && chown groupshap:groupshap /work \
    && printf '%s\n' '#!/bin/sh' 'set -e' \
       '[ -e conf ] || cp -r /opt/groupshap/conf conf' 'exec groupshap "$@"' > /usr/local/bin/start \
    && chmod 755 /usr/local/bin/start
USER groupshap
WORKDIR /work
VOLUME /work
ENTRYPOINT ["/usr/local/bin/start"]
