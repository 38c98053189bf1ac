# docker build -t fgvc .                                                     CPU
# docker build -t fgvc --build-arg TORCH_INDEX=<PyTorch's wheel index> .     another build of PyTorch: CPU only, or a version of CUDA
# docker run --rm -v "$PWD:/work" fgvc train --method probe --dataset folder --data-dir photos
FROM python:3.12-slim

# opencv's shared libraries
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY fgvc_cli fgvc_cli
ARG TORCH_INDEX=""
RUN if [ -n "$TORCH_INDEX" ]; then pip install --no-cache-dir --index-url "$TORCH_INDEX" torch torchvision; fi \
    && pip install --no-cache-dir ".[weights,onnx,labels,parquet,serve]"

RUN useradd --create-home fgvc && mkdir /work && chown fgvc /work
USER fgvc
WORKDIR /work
ENTRYPOINT ["fgvc"]
CMD ["--help"]
