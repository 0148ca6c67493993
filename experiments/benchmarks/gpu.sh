#!/usr/bin/env bash
# What is measured on one GPU, within five minutes, as one JSON file.
#
#   bash experiments/benchmarks/gpu.sh OUT.json
#
# Installs nothing. What each part measures and how long it may take: gpu.py.
# To try it on a CPU: JAX_PLATFORMS=cpu bash experiments/benchmarks/gpu.sh \
#   OUT.json --tiny
set -eu
out=$(realpath -m "${1:?name a JSON file for the results}")
cd "$(dirname "$0")/../.."
exec python3 -m experiments.benchmarks.gpu "$out" "${@:2}"
