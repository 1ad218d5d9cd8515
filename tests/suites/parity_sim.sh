#!/bin/bash
# PyTorch parity of the CUDA programs: tests/suites/parity.sh's small cases on the simulated GPU.
. tests/lib.sh

if ! "${CXX:-c++}" --version >/dev/null 2>&1; then
    skip "parity on the simulated GPU" "no C++ compiler (\$CXX or c++; Debian: apt-get install g++)"
    finish
    exit
fi
export NINC_CACHE_DIR=${NINC_CACHE_DIR:-$work/cache} NINC_SIM=checks=0
QUICK=1 DEVICE=sim tests/suites/parity.sh
