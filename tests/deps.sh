#!/bin/sh
# Installs the Debian packages in $PACKAGES that are missing, saying which and why. Silent and
# fast when all are there. Without root: prints the one line to run, exit 1.

why() {
    case $1 in
    gcc) echo "the C compiler, for ninc and for the code that it emits" ;;
    g++) echo "runs the CUDA kernels in the simulator" ;;
    libc6-dev) echo "the C library's headers" ;;
    libyaml-dev) echo "reads model files" ;;
    libjansson-dev) echo "reads and writes JSON: safetensors headers" ;;
    libpng-dev | libjpeg-dev | libwebp-dev | libgif-dev | libstb-dev) echo "reads images" ;;
    liblapack-dev) echo "eigenvectors, in trainers of models with zca" ;;
    libarchive-dev) echo "reads archives of images" ;;
    nettle-dev | liblzma-dev | libzstd-dev | libbz2-dev) echo "what libarchive stands on" ;;
    libprotobuf-c-dev | protobuf-c-compiler) echo "writes ONNX models and TensorBoard's events" ;;
    libonnx-dev) echo "the schema of ONNX models" ;;
    zlib1g-dev) echo "reads compressed data sets" ;;
    libminizip-dev) echo "reads zip archives: data sets in .npz files" ;;
    pkg-config) echo "tells programs how to link an emitted library; for its test" ;;
    libomp-dev) echo "OpenMP for what clang compiles" ;;
    check | libsubunit-dev) echo "the unit tests" ;;
    dataset-fashion-mnist) echo "the data set of the example models" ;;
    python3-venv | python3-torch) echo "reads our files in the tests" ;;
    *) echo "needed" ;;
    esac
}

if ! command -v dpkg-query >/dev/null; then
    echo "deps: this is not Debian, so nothing was checked; ninc needs gcc, libyaml, Jansson," \
        "zlib, minizip, libpng, libjpeg, libwebp, giflib, stb, libarchive, protobuf-c, LAPACK and" \
        "ONNX's schema, its tests Check, and its examples" \
        "the Fashion-MNIST files" >&2
    exit 0
fi

missing=
for package in $PACKAGES; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)
    case $state in
    installed*) ;; # once for each architecture that it is there for
    *) missing="$missing $package" ;;
    esac
done
[ -z "$missing" ] && exit 0

echo "deps: missing packages:"
for package in $missing; do
    printf '  %-22s %s\n' "$package" "$(why "$package")"
done
if [ "$(id -u)" -ne 0 ]; then
    echo "deps: run this, then make again:"
    echo "  sudo apt-get install -y --no-install-recommends$missing"
    exit 1
fi

echo "deps: installing them with apt-get"
export DEBIAN_FRONTEND=noninteractive
install_missing() {
    # shellcheck disable=SC2086 # one word a package
    apt-get install -y -q --no-install-recommends $missing </dev/null
}
install_missing >/dev/null 2>&1 && exit 0
# Package lists that are absent or old are the usual reason.
apt-get update -q </dev/null && install_missing && exit 0
echo "deps: apt-get failed; its messages are above" >&2
exit 1
