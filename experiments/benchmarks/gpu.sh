#!/usr/bin/env bash
# The benchmarks and the three demos on one GPU; what tells most comes first.
#
#   bash experiments/benchmarks/gpu.sh FOLDER
#
# FOLDER receives a JSON of each benchmark, the demos' summaries and a log.
# Each part has a limit of its own, so that one that fails leaves the others.
set -u
folder=$(realpath "${1:?name a folder for the results}")
mkdir -p "$folder"

part() {
  local name=$1 limit=$2 start=$SECONDS
  shift 2
  timeout "$limit" "$@" >"$folder/$name.log" 2>&1
  echo "$name: exit code $?, $((SECONDS - start)) s" | tee -a "$folder/parts.txt"
  tail -n 4 "$folder/$name.log"
}

benchmark() {
  local name=$1 limit=$2
  shift 2
  part "$name" "$limit" python3 -m "experiments.benchmarks.$name" \
    --output="$folder/$name-gpu.json" "$@"
}

demo() {
  local name=$1 limit=$2
  part "$name-demo" "$limit" python3 launch.py --config="configs/$name.py" \
    --workdir="$folder/runs/$name"
  cp "$folder/runs/$name/summary.json" "$folder/$name-demo-gpu.json"
}

demo dann 120
demo speech 120
demo rlps 120
benchmark dann 120
benchmark rlps 150
benchmark encoders 200 --turns=3
benchmark whisper 240 --size=base --batch=16 --dtype=bfloat16 --turns=5
