#!/bin/bash
# What `make demo` shows: the seed network for 100 steps, then a small network for one epoch of the
# real Fashion-MNIST, which must pass 0.75 test accuracy. $NINC names the compiler.
set -eu
NINC=${NINC:-./ninc}

say() {
    printf '\n\033[1m$ %s\033[0m\n' "$*"
    "$@"
}

say "$NINC" models/nin.yaml -o nin_kernels
say nin_kernels/trainer train --max-steps 100 --no-eval --log-every 10

say "$NINC" models/nin_fashion.yaml -o nin_fashion_kernels
say nin_fashion_kernels/trainer train --epochs 1 --log nin_fashion_kernels/demo.jsonl \
    --save nin_fashion_kernels/demo.safetensors

accuracy=$(sed -n 's/.*"event": *"eval".*"accuracy": *\([0-9.e-]*\).*/\1/p' \
    nin_fashion_kernels/demo.jsonl | tail -n 1)
if ! awk -v a="${accuracy:-0}" 'BEGIN { exit !(a > 0.75) }'; then
    echo "demo: test accuracy after one epoch is ${accuracy:-unknown}; it should be above 0.75" >&2
    exit 1
fi

cat <<END

Test accuracy after one epoch: $accuracy. The rest:
  nin_fashion_kernels/trainer train --save nin_fashion.safetensors    all epochs, above 0.90
  nin_kernels/trainer train --save nin.safetensors                    the seed network, 3 epochs
  nin_kernels/trainer info                                            its parameters and memory
  $NINC models/nin.yaml --emit=ir                                      the compiled graph
END
