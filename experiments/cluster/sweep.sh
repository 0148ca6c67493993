#!/usr/bin/env bash
# Many trainings on Slurm, and the table of all of them in the end.
#
#   bash experiments/cluster/sweep.sh LINES TABLE [--gpus=1 --array=1-9%3 …]
#
# The file LINES has the arguments of one training a line, each with a --workdir
# of its own; TABLE is the folder for what `emojax report` makes of those that
# have ended well. What comes next is for their sbatch; what the table's job
# needs, too, says SBATCH_PARTITION, SBATCH_ACCOUNT and so on. By hand, also
# before all have ended:
#
#   bash experiments/cluster/sweep.sh --report LINES TABLE
set -euo pipefail

report() {
  local ended=() workdir
  while read -r workdir; do
    if [[ -s $workdir/summary.json ]]; then
      ended+=("$workdir")
    else
      echo "not in the table, as it has not ended well: $workdir" >&2
    fi
  done < <(xargs -n 1 printf '%s\n' < "$1" | sed -n 's/^--workdir=//p')
  exec python -m emojax report "${ended[@]}" --output="$2"
}

: "${2:?usage: sweep.sh LINES TABLE [OPTIONS OF sbatch]}"

if [[ $1 == --report ]]; then
  report "$2" "${3:?usage: sweep.sh --report LINES TABLE}"
fi
lines=$1
table=$2
shift 2
folder=$(dirname "$0")
array=$(sbatch --parsable --array="1-$(grep -c . "$lines")" "$@" \
  "$folder/slurm.sh" "$lines")
table=$(sbatch --parsable --dependency="afterany:$array" --job-name=table \
  "$0" --report "$lines" "$table")
echo "the trainings are job $array, their table is job $table"
