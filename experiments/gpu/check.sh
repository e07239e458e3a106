#!/usr/bin/env bash
# Ten minutes on one GPU: does ftlit train, resume, predict and export correctly there, and how fast is it?
#
#     bash experiments/gpu/check.sh                  # writes experiments/results/gpu.json and gpu.md
#     bash experiments/gpu/check.sh --dry            # the same with tiny shapes on a CPU
#     bash experiments/gpu/check.sh --out DIR        # writes them elsewhere; --help lists the other options
#
# It runs python3, or the Python that the variable PYTHON names.
#
# It needs no network: models have random weights, texts are made up. It stops after eight minutes, and the same command
# goes on where it stopped.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" TOKENIZERS_PARALLELISM=false
exec "${PYTHON:-python3}" experiments/gpu/check.py "$@"
