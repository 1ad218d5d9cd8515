#!/bin/sh
# Makes $BUILD/python, a virtual environment with the Python packages that some tests read our files
# with. PyTorch is that of Debian's own Python, built for CPUs. Silent and fast when all is there;
# exit 1 when something cannot be had.
cd "$(dirname "$0")/.." || exit 1
venv=${BUILD:-build}/python
packages="onnx onnxruntime tensorboard safetensors pillow"

"$venv/bin/python" \
    -c 'import torch, torchvision, onnx, onnxruntime, tensorboard, safetensors, PIL' 2>/dev/null &&
    exit 0
PACKAGES="python3-venv python3-torch python3-torchvision" tests/deps.sh || exit 1
/usr/bin/python3 -m venv --system-site-packages "$venv" || exit 1
# Debian's PyTorch was built with the first NumPy.
# shellcheck disable=SC2086 # one word a package
"$venv/bin/pip" install -q --disable-pip-version-check 'numpy<2' $packages || exit 1
"$venv/bin/python" -c 'import torch, torchvision, onnx, onnxruntime, tensorboard, safetensors, PIL'
