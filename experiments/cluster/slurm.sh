#!/usr/bin/env bash
# A training on Slurm, which goes on by itself wherever it was stopped. From the
# checkout, with the environment activated:
#
#   sbatch --nodes=2 --ntasks-per-node=8 --gpus-per-node=8 \
#     experiments/cluster/slurm.sh --config=configs/dann.py --workdir=runs/dann
#
# What comes before the script is for Slurm, what comes after it for launch.py.
# In an array each task takes its line of a file: see sweep.sh.
#
# SIGTERM two minutes before the time limit, to the processes of the training;
# the log of all starts is one file.
#SBATCH --job-name=emojax
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@120
set -uo pipefail
shopt -s extglob

# So many starts in a row that save nothing are enough.
readonly most=3

running() {
  [[ $(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T) == RUNNING ]]
}

given=("$@")
if [[ ${SLURM_ARRAY_TASK_ID-} ]]; then
  # Quotes as in a shell; nothing else of it is heeded.
  mapfile -t given < <(grep . "$1" | sed -n "${SLURM_ARRAY_TASK_ID}p" |
    xargs -n 1 printf '%s\n')
fi
workdir=
for argument in "${given[@]}"; do
  [[ $argument == --workdir=* ]] && workdir=${argument#--workdir=}
done
if [[ ! $workdir ]]; then
  echo "error: no --workdir=RUN in: ${given[*]}" >&2
  exit 2
fi
# Its age is the start's, its content how many saved nothing before.
starts=${workdir%%+(/)}.starts
mkdir -p "$(dirname "$starts")"
futile=0
[[ ${SLURM_RESTART_COUNT:-0} == 0 ]] || futile=$(cat "$starts" || echo 0)
echo "$futile" > "$starts"

# Each process sees all devices of its node and takes its own; one that has
# ended says so itself to the others, which may have to save. srun no longer
# takes --cpus-per-task over from sbatch.
srun --kill-on-bad-exit=0 ${SLURM_CPUS_PER_TASK:+"--cpus-per-task=$SLURM_CPUS_PER_TASK"} \
  python launch.py --distributed "${given[@]}" &
step=$!
# `scancel --batch` and some sites tell this shell alone. Not by srun, which
# would kill; and once, by SIGHUP: the second signal of a kind, as SIGTERM may
# be, would mean: at once.
# shellcheck disable=SC2329  # The trap calls it.
tell() {
  told=1
  trap 'told=1' TERM
  if running; then scancel --signal=HUP "$SLURM_JOB_ID"; fi
}
trap tell TERM
told=1
while [[ $told ]]; do
  told=
  code=0
  wait "$step" || code=$?
done

# What ends it for good: a result, an error (1, 2), Ctrl-C's signal (130), and
# a job that was cancelled.
if ((code == 75 || code > 128 && code != 130)) && running; then
  saved=$(find "$workdir" -regex '.*/checkpoints/[0-9]+' -newer "$starts" \
    -print -quit 2> /dev/null)
  if [[ $saved ]]; then futile=0; else ((futile += 1)); fi
  if ((futile < most)); then
    echo "$futile" > "$starts"
    echo "exit code $code: again" >&2
    exec scontrol requeue "$SLURM_JOB_ID"
  fi
  echo "error: $most starts in a row saved nothing; the last exit code is $code" >&2
fi
rm -f "$starts"
exit "$code"
