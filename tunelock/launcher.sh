#!/bin/sh
# `tunelock`, as the Makefile puts it beside the Python of the venv: runs the tunelock of the repository in which you
# stand (the nearest folder above with dvc.yaml and tunelock/__main__.py), never an installed one, so that a copy made by
# `dvc exp run --temp` runs its own. Paths that you type are read from where you stand.
python=$(dirname "$(readlink -f "$0")")/python
root=$(pwd -P)
while [ ! -f "$root/dvc.yaml" ] || [ ! -f "$root/tunelock/__main__.py" ]; do
    if [ -z "$root" ]; then
        [ -n "$_TUNELOCK_COMPLETE" ] || echo "tunelock: this folder is in no repository of tunelock; go into one." >&2
        exit 1
    fi
    root=${root%/*}
done
TUNELOCK_FROM=$(pwd -P)
export TUNELOCK_FROM
cd "$root/" && exec "$python" -m tunelock "$@"
