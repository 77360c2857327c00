#!/bin/sh
# Puts the programs that tests/checkers.rs asks for into the folder $1, without root and without starting anything:
# promtool and prometheus from Debian's package, and the Python package prometheus_client.
# What is there already, in the folder or on this machine, is not fetched again.
set -eu
mkdir -p "$1"
cd "$1"
export PATH="$PWD/usr/bin:$PATH" PYTHONPATH="$PWD/python"
if ! command -v promtool >/dev/null || ! command -v prometheus >/dev/null; then
    # The lists may be missing or old; only root can fetch them.
    apt-get download prometheus || { apt-get update && apt-get download prometheus; }
    dpkg -x prometheus_*.deb .
fi
"${NG_PYTHON:-python3}" -c 'import prometheus_client' 2>/dev/null ||
    "${NG_PYTHON:-python3}" -m pip install --quiet --target python prometheus-client==0.26.0
