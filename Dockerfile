# docker build -t fgvc .                                           PyTorch's default build: CPU, and the CUDA it comes with
# docker build -t fgvc --build-arg PIP_EXTRA_INDEX_URL=ADDRESS .   PyTorch from one of its own indexes: CPU alone, or one version of CUDA
# docker run --rm -v "$PWD:/work" fgvc train --method probe --dataset folder --data-dir photos      (with a GPU: --gpus all)
FROM python:3.12-slim

# opencv's shared libraries: Debian's current ones, whatever their version
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY fgvc_cli fgvc_cli
# pip reads it by itself; of two builds of one version it takes the one with a suffix, such as +cpu
ARG PIP_EXTRA_INDEX_URL
# hadolint ignore=DL3013
RUN pip install --no-cache-dir ".[weights,onnx,labels,parquet,serve]"

RUN useradd --create-home --uid 1000 fgvc && mkdir /work && chown fgvc /work
USER 1000
WORKDIR /work
ENTRYPOINT ["fgvc"]
CMD ["--help"]
