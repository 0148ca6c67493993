# emojax for a CPU or a GPU; docs/install.md says how to build and run it.
#
#   docker build --tag emojax .
#   docker build --tag emojax:cuda --build-arg JAX=cuda13 .
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS wheel
COPY . /source
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /source

FROM python:${PYTHON}-slim
# An extra of JAX: cpu, cuda12, cuda13 or tpu. NVIDIA's libraries come with it.
ARG JAX=cpu
ARG EXTRAS=live,faces,export
# What emojax requires, before emojax: that layer stays when its source changes.
COPY requirements.txt /tmp/requirements.txt
RUN pip install --no-cache-dir "jax[${JAX}]>=0.10" -r /tmp/requirements.txt
COPY --from=wheel /wheels /tmp/wheels
# Bounds, not pins: they are those of every other installation.
# hadolint ignore=DL3013
RUN wheel=$(echo /tmp/wheels/*.whl) \
  && pip install --no-cache-dir "${wheel}[${EXTRAS}]" \
  && useradd --create-home --uid=1000 emojax \
  && install --directory --owner=emojax /cache /work
# Of NVIDIA's container runtime, where there is one.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
# Clips, features, compiled programs and checkpoints of the hub.
ENV XDG_CACHE_HOME=/cache HF_HOME=/cache/huggingface
VOLUME /cache
USER 1000
WORKDIR /work
ENTRYPOINT ["emojax"]
CMD ["--help"]
