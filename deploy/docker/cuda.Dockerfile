# docker build -f deploy/docker/cuda.Dockerfile -t carsearch:cuda .
# CUDA's libraries come with TensorFlow's packages; the host needs only its driver and the container toolkit.
FROM python:3.12-slim-bookworm
WORKDIR /opt/carsearch
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY carcls carcls
COPY search search
RUN pip install --no-cache-dir --constraint constraints.txt '.[cluster,gpu]'
ENV RAY_USAGE_STATS_ENABLED=0 RAY_memory_monitor_refresh_ms=0 TF_CPP_MIN_LOG_LEVEL=3
RUN useradd --create-home carsearch
USER carsearch
WORKDIR /home/carsearch
CMD ["carsearch", "--help"]
