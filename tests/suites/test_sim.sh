#!/bin/bash
# The simulator of a CUDA device: its primitives give the right numbers, each planted fault is
# reported for what it is, in any order of threads, and the same kernels without the fault pass.
# shellcheck source=tests/lib.sh
. tests/lib.sh

tool=$(realpath "$BUILD/sim_tool")
text=codegen/cuda/prelude.cuh,tests/models/sim/kernels.cu
command -v "${CXX:-g++}" >/dev/null || { skip simulator "no C++ compiler"; finish; exit; }
export NINC_CACHE_DIR=$work/cache
unset NINC_SIM

# ---- numbers ----

for settings in checks=1 checks=0; do
    NINC_SIM=$settings "$tool" numbers $text >"$work/numbers" 2>&1
    sed "s/^\(ok\|not ok\) /\1 $settings: /" "$work/numbers"
    [ "$(grep -c '^ok' "$work/numbers")" -eq 8 ] || fail "$settings: all numbers" "$work/numbers"
done
"$tool" machine $text 2>"$work/errors" | tee "$work/machine"
[ "$(grep -c '^ok' "$work/machine")" -eq 2 ] || fail "the machine's table" "$work/errors"

# ---- faults: kernel, blocks, threads, shared bytes, what the report says ----

# Runs a kernel with seeds 1 to 8. sound KERNEL BLOCKS THREADS SHARED
sound() {
    local seed
    for seed in 1 2 3 4 5 6 7 8; do
        NINC_SIM=seed=$seed "$tool" launch $text "$@" || return 1
    done
}

# reported PATTERN KERNEL BLOCKS THREADS SHARED: each seed gives a report that matches.
reported() {
    local pattern=$1 seed
    shift
    for seed in 1 2 3 4 5 6 7 8; do
        if NINC_SIM=seed=$seed "$tool" launch $text "$@" >"$work/report" 2>&1; then
            echo "no report with seed $seed"
            return 1
        fi
        cat "$work/report"
        grep -Eq -- "kernel $1, block .*($pattern).*, at line [0-9]+ of the CUDA text" \
            "$work/report" || return 1
    done
}

while read -r kernel blocks threads shared pattern; do
    case $kernel in
    sound_*) check "$kernel" sound "$kernel" "$blocks" "$threads" "$shared" ;;
    fault_*) check "$kernel" reported "$pattern" "$kernel" "$blocks" "$threads" "$shared" ;;
    esac
done <<'END'
sound_exchange 1 64 256
fault_no_syncthreads 1 64 256 race in shared memory
fault_no_second_syncthreads 1 64 256 race in shared memory
sound_exchange_in_warp 1 32 64
fault_no_syncwarp 1 32 64 race in shared memory
sound_staged 1 64 2048
fault_no_wait 1 64 2048 in flight to
fault_one_group_too_few 1 64 2048 in flight to
fault_wait_without_barrier 1 64 2048 race in shared memory|in flight to|nobody has written
fault_copy_over_reads 1 64 256 race in shared memory|in flight to
sound_tile 1 64 2048
fault_row_too_many 1 64 2048 out of range: writes 4 bytes at byte [0-9]+ of 2048 of shared memory
fault_before_shared 1 64 256 out of range: writes 4 bytes at byte -4 of 256
fault_past_end 1 256 0 out of range: reads 4 bytes outside of device memory, at argument 0 \+ 1024
fault_copy_past_buffer 1 64 1024 out of range: reads 16 bytes outside of device memory
fault_null 1 64 0 out of range: reads 4 bytes outside of device memory, at address
fault_misaligned_vector 1 64 0 misaligned: reads 16 bytes at argument 0
fault_misaligned_ldmatrix 1 32 1024 misaligned: reads 16 bytes at byte [0-9]+ of shared memory
fault_misaligned_copy 1 64 1024 misaligned: reads 16 bytes at argument 0
fault_unwritten 1 64 256 reads byte [0-9]+ of shared memory, which nobody has written
fault_unwritten_matrix 1 32 512 reads byte [0-9]+ of shared memory, which nobody has written
fault_barrier_after_exit 1 64 0 divergent barrier: 63 threads wait
fault_barrier_in_branch 1 64 0 divergent barrier: 32 threads wait
fault_lane_missing 1 64 0 divergent lanes: 31 wait at shuffle for 1 that have ended
fault_lanes_apart 1 64 0 divergent lanes: lane [0-9]+ is at (shuffle|__syncwarp) while others wait
fault_lanes_at_barrier 1 64 0 divergent lanes: 16 wait at shuffle for 16 that wait at __syncthreads
sound_tiles 4 32 0
fault_tiles_overlap 4 32 0 race in global memory: writes argument 1 .* another block wrote
fault_reads_other_block 4 64 0 race in global memory: .* another block
fault_one_sum 1 64 0 race in global memory
sound_small_elements 4 64 0
sound_global_exchange 4 64 0
END

# Without checks of plain accesses nobody knows what those wrote; what is in flight is known.
unchecked() {
    NINC_SIM=checks=0 "$tool" launch $text "$@"
}
check "checks=0: plain writes are not missed" unchecked fault_unwritten_matrix 1 32 512
in_flight() {
    ! unchecked fault_one_group_too_few 1 64 2048 >"$work/report" 2>&1 || return 1
    cat "$work/report"
    grep -q "which a cp.async is in flight to" "$work/report"
}
check "checks=0: a matrix in flight" in_flight

# ---- settings, compiler, cache ----

# The same library many times: compiled at -Og, and each start of the compiler is noted.
cat >"$work/c++" <<END
#!/bin/bash
[[ " \$* " != *" -c "* ]] || echo compiled >>"$work/compiled"
exec g++ "\${@/#-O2/-Og}"
END
chmod +x "$work/c++"
export CXX=$work/c++

one=(launch $text sound_exchange 1 64 256)

# says PATTERN COMMAND...: the command fails, and its last line matches.
says() {
    local pattern=$1
    shift
    ! "$@" >"$work/said" 2>&1 || return 1
    cat "$work/said"
    tail -n 1 "$work/said" | grep -Eq -- "$pattern"
}

for setting in sms=0 arch=7x colour=1 races seed= shared=99999999; do
    check "NINC_SIM=$setting" says "NINC_SIM: \"$setting\" is no setting" \
        env NINC_SIM="arch=86 $setting" "$tool" "${one[@]}"
done
check "no compiler" says 'neither c\+\+ nor g\+\+ runs' env -u CXX PATH="$work/none" "$tool" \
    "${one[@]}"
check "CXX that fails" says '\(\$CXX\) fails' env CXX=false "$tool" "${one[@]}"
check "too much shared memory" says 'asks for 256 bytes of shared memory, a block may have 128' \
    env NINC_SIM=shared=128 "$tool" "${one[@]}"
check "races=0" env NINC_SIM=races=0 "$tool" launch $text fault_no_second_syncthreads 1 64 256
echo 'extern "C" __global__ void broken(float *p) { p = ; }' >"$work/broken.cu"
check "text that does not compile" says 'does not compile the kernels' \
    "$tool" launch "$work/broken.cu" broken 1 1 0
check "no such kernel" says 'has no kernel nothing' "$tool" launch $text nothing 1 1 0
touch "$work/file"
check "cache that cannot be written" env NINC_CACHE_DIR="$work/file/cache" "$tool" "${one[@]}"
check "cache that may hold nothing" \
    env NINC_CACHE_DIR="$work/nothing" NINC_CACHE_MB=0 "$tool" "${one[@]}"

libraries() {
    find "$NINC_CACHE_DIR" -name 'sim-*.so' | wc -l
}

cached() {
    [ -z "$(find "$NINC_CACHE_DIR" -name '*partial*')" ] && [ "$(libraries)" -eq "$1" ]
}

# Each damage to the only library leads to a new one.
recompiled() {
    local library
    library=$(find "$NINC_CACHE_DIR" -name 'sim-*.so')
    cp "$library" "$work/good"
    "$@" "$library" && "$tool" "${one[@]}" && cmp "$library" "$work/good"
}

shorten() {
    truncate -s -100 "$1"
}

overwrite() {
    printf damage | dd of="$1" bs=1 seek=5000 conv=notrunc 2>/dev/null
}

many() {
    local i pids=()
    for i in 1 2 3 4; do
        "$tool" "${one[@]}" &
        pids+=($!)
    done
    for i in "${pids[@]}"; do
        wait "$i" || return 1
    done
}

export NINC_CACHE_DIR=$work/other TMPDIR=$work/temporary
mkdir "$TMPDIR"
check "four at once, no library yet" many
check "one library is left" cached 1
check "a shortened library" recompiled shorten
check "a damaged library" recompiled overwrite
check "nothing is left in TMPDIR" [ -z "$(find "$TMPDIR" -mindepth 1 -name 'ninc-sim-*')" ]
rm "$work/compiled"
check "from the cache" "$tool" "${one[@]}"
check "nothing was compiled" [ ! -e "$work/compiled" ]

# ---- where others can write, and names that a shell would read ----

# untrusted DIR: it is said once, nothing is put there, and the kernels run all the same.
untrusted() {
    NINC_CACHE_DIR=$1 "$tool" "${one[@]}" >"$work/said" 2>&1 || return 1
    cat "$work/said"
    [ "$(grep -c 'not trusted' "$work/said")" -eq 1 ] && [ -z "$(find "$1" -name 'sim*')" ] &&
        [ -z "$(find "$TMPDIR" -mindepth 1)" ]
}

mkdir -p "$work/open" "$work/above/own" "$work/group" "$work/sticky/own"
chmod 777 "$work/open" "$work/above"
chmod 770 "$work/group"
chmod 1777 "$work/sticky"
check "a cache that others can write" untrusted "$work/open"
check "a cache that a group can write" untrusted "$work/group"
check "a cache in a directory that others can write" untrusted "$work/above/own"
ln -s open "$work/link"
check "a link to a cache that others can write" untrusted "$work/link"
if [ "$(id -u)" -eq 0 ]; then
    mkdir "$work/foreign" && chown 12345 "$work/foreign"
    check "a cache of another user" untrusted "$work/foreign"
else
    skip "a cache of another user" "only root can make one"
fi
check "a sticky directory above is no danger" \
    env NINC_CACHE_DIR="$work/sticky/own" "$tool" "${one[@]}"
check "a new cache is its owner's alone" [ "$(stat -c %a "$NINC_CACHE_DIR")" = 700 ]

# A library that is right but that others could have written, or a link to one, is not loaded.
planted() {
    local library inode
    library=$(find "$NINC_CACHE_DIR" -name 'sim-*.so')
    "$@" "$library" && inode=$(stat -c %i "$library") && "$tool" "${one[@]}" &&
        [ "$(stat -c %i "$library")" != "$inode" ] && [ "$(stat -c %a "$library")" = 600 ]
}
behind_link() {
    mv "$1" "$work/elsewhere.so" && ln -s "$work/elsewhere.so" "$1"
}
check "a library that others can write" planted chmod 666
check "a library behind a link" planted behind_link

odd=$work/"a b'c\"d\$(touch $$)\`e\`\\f;&|#*
g"
mkdir -p "$odd/tmp" "$odd/cache"
cp "$work/c++" "$odd/my c++"
cp "$work/c++" "$work/c x"

# Compiled in, kept in, and the line of a fault sought in such a directory.
oddly() {
    (cd "$odd" && TMPDIR=tmp HOME=$odd CXX="./my c++" "$@") &&
        [ -z "$(find "$odd/tmp" -mindepth 1)" ]
}
fault_line() {
    ! oddly env "$@" "$tool" launch "$full" fault_no_second_syncthreads 1 64 256 \
        >"$work/said" 2>&1 || return 1
    cat "$work/said"
    [ "$(find "$odd/tmp" -mindepth 1 | wc -l)" -eq 0 ] && grep -q 'at line [0-9]' "$work/said"
}
here=$PWD full=$PWD/${text/,/,$PWD/}
check "blanks, quotes and all else in names" fault_line NINC_CACHE_DIR=cache
check "the library lies in that cache" [ -n "$(find "$odd/cache" -name 'sim-*.so')" ]
check "the same without a cache" fault_line NINC_CACHE_DIR="$here/README.md/none"
check "CXX of many words" env NINC_CACHE_DIR="$odd/cache" CXX="\"$work/c x\" -DA='b c' -DD=\"e f\" \
    $(printf -- '-DW%s ' {1..200})" "$tool" "${one[@]}"
check "CXX is no text for a shell" says '\(\$CXX\) fails' \
    env CXX="false; touch $work/owned #" "$tool" "${one[@]}"
check "nothing was run" [ ! -e "$work/owned" ]

finish
