#!/usr/bin/env bash
# build.sh fetch|unpack|make|collect: one step of the image's build each, so that Docker caches each for itself.
# Reads KOBOLDCPP_BACKEND, KOBOLDCPP_BUILD, KOBOLDCPP_COMMIT, KOBOLDCPP_REPOSITORY, CUDA_ARCHES, JOBS; run as root in the build.
set -euo pipefail

readonly source_dir=/src
readonly out=/out

_fail() {
    echo "build.sh: $*" >&2
    exit 1
}

# fetch: one commit of the upstream repository, without its history.
_fetch() {
    local commit=${KOBOLDCPP_COMMIT:-}
    if [ -z "$commit" ]; then
        commit=$(awk -F '\t' -v backend="$KOBOLDCPP_BACKEND" '$1 == backend { print $3 }' /build/pins.tsv)
    fi
    [ -n "$commit" ] || _fail "KOBOLDCPP_BACKEND=$KOBOLDCPP_BACKEND has no line in pins.tsv"
    # A network that inspects TLS signs with its own authority; the build gets the host's bundle as a secret.
    if [ -s /run/secrets/ca ]; then
        export GIT_SSL_CAINFO=/run/secrets/ca
    fi
    git init --quiet "$source_dir"
    git -C "$source_dir" fetch --quiet --depth 1 "$KOBOLDCPP_REPOSITORY" "$commit" \
        || _fail "commit $commit cannot be fetched from $KOBOLDCPP_REPOSITORY; where it cannot be reached, set KOBOLDCPP_SOURCE to a copy"
    git -C "$source_dir" checkout --quiet FETCH_HEAD
    rm -rf "$source_dir/.git"
}

# unpack TARBALL: the operator's source. A tarball from a code host has one top folder, one made of a folder has none.
_unpack() {
    mkdir -p "$source_dir"
    tar -xf "$1" -C "$source_dir" --no-same-owner
    local top
    if [ ! -e "$source_dir/koboldcpp.py" ]; then
        top=$(find "$source_dir" -mindepth 2 -maxdepth 2 -name koboldcpp.py -printf '%h\n' | head -n 1)
        [ -n "$top" ] || _fail "KOBOLDCPP_SOURCE holds no koboldcpp.py"
        mv "$top" /src.top
        rm -rf "$source_dir"
        mv /src.top "$source_dir"
    fi
    [ -f "$source_dir/Makefile" ] || _fail "KOBOLDCPP_SOURCE holds no Makefile"
    # Objects that were built elsewhere would be taken for up to date.
    find "$source_dir" \( -name '*.o' -o -name 'koboldcpp_*.so' \) -delete
}

# make: the default target builds what the flags ask for, in every version: the plain library, the backend's, and for a
# portable build those for processors without AVX2.
_make() {
    local flags=()
    case $KOBOLDCPP_BACKEND in
        cpu) ;;
        openblas) flags+=(LLAMA_OPENBLAS=1) ;;
        clblast) flags+=(LLAMA_CLBLAST=1) ;;
        vulkan) flags+=(LLAMA_VULKAN=1) ;;
        # Without named architectures nvcc would look for the GPU of the machine that builds, and a build has none.
        cuda) flags+=(LLAMA_CUBLAS=1 "LLAMA_ARCHES_$CUDA_ARCHES=1") ;;
        *) _fail "KOBOLDCPP_BACKEND=$KOBOLDCPP_BACKEND is none of cpu, openblas, clblast, cuda, vulkan" ;;
    esac
    case $KOBOLDCPP_BUILD in
        portable) flags+=(LLAMA_PORTABLE=1) ;;
        native) ;;
        *) _fail "KOBOLDCPP_BUILD=$KOBOLDCPP_BUILD is neither portable nor native" ;;
    esac
    # Downloaded archives lose the executable bit of the bundled shader compiler.
    find "$source_dir" -name 'glslc-linux' -exec chmod +x {} +
    make -C "$source_dir" -j "$(_jobs)" "${flags[@]}" default
    local wanted=koboldcpp_$KOBOLDCPP_BACKEND.so
    case $KOBOLDCPP_BACKEND in
        cpu) wanted=koboldcpp_default.so ;;
        cuda) wanted=koboldcpp_cublas.so ;;
    esac
    [ -f "$source_dir/$wanted" ] || _fail "make ended well but made no $wanted: this source no longer has the backend $KOBOLDCPP_BACKEND"
}

# One compiler takes up to 2 GB (nvcc more): fewer jobs than cores where the memory is small.
_jobs() {
    if [ -n "${JOBS:-}" ]; then
        echo "$JOBS"
        return
    fi
    local per_job=2000000
    [ "$KOBOLDCPP_BACKEND" = cuda ] && per_job=3000000
    local by_memory=$(($(awk '/MemAvailable/ { print $2 }' /proc/meminfo) / per_job))
    local cores
    cores=$(nproc)
    local jobs=$((by_memory < cores ? by_memory : cores))
    echo $((jobs > 1 ? jobs : 1))
}

# collect: only what runs. The web pages lie in embd_res/ since 1.107, before that beside the program.
_collect() {
    mkdir -p "$out/lib"
    cd "$source_dir"
    cp koboldcpp.py ./koboldcpp_*.so "$out/"
    local part
    for part in embd_res kcpp_adapters; do
        if [ -d "$part" ]; then
            cp -r "$part" "$out/"
        fi
    done
    find . -maxdepth 1 -type f \( -name '*.embd' -o -name '*LICENSE*' \) -exec cp -t "$out" {} +
    # CUDA's own libraries are not in Debian: those that are linked travel along. The driver's come from the host.
    ldd "$out"/koboldcpp_*.so | awk '/=> \/usr\/local\/cuda/ { print $3 }' | sort -u | xargs -r cp -L -t "$out/lib"
}

case ${1:-} in
    fetch) _fetch ;;
    unpack) _unpack "$2" ;;
    make) _make ;;
    collect) _collect ;;
    *) _fail "usage: build.sh fetch|unpack TARBALL|make|collect" ;;
esac
