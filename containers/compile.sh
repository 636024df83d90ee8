#!/bin/sh
# Compile the kernel in a folder, as a library beside its sources, unless the library that is there was made so:
#
#     compile.sh handler/kernel         with cc
#     compile.sh handler/kernel LOCK    with cc, or else with zig's compiler, which is installed from the lock and for
#                                       this alone
#
# The library runs on every processor of the machine's kind, and fuses no product with a sum: its sums have the bits of
# those that numpy makes without it.
set -eu
folder=$1
lock=${2:-}
library=$folder/libkernel.so # not kernel.so, which Python would import
stamp=$library.from

made_of() {
    uname -sm
    cat "$0" "$folder"/*.c
}

compile() { # with this command; whoever has the old library open keeps it
    "$@" -std=c11 -O3 -ffp-contract=off -fPIC -shared -Wall -Wextra -o "$work/library" "$folder/kernel.c" &&
        mv "$work/library" "$library" &&
        made_of >"$stamp" &&
        echo "compiled $library with $1" >&2
}

zig() { # for any processor rather than this one, and without a runtime of zig's own, which it would first compile
    PYTHONPATH=$work ZIG_GLOBAL_CACHE_DIR=$work/cache ZIG_LOCAL_CACHE_DIR=$work/cache \
        python -m ziglang cc -mcpu=baseline -nostdlib -Wl,-s "$@"
}

if [ -e "$library" ] && made_of | cmp -s - "$stamp"; then
    exit
fi
rm -f "$library" "$stamp"
work=$(mktemp -d "$library.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
if command -v cc >/dev/null && compile cc; then
    exit
fi
if [ -n "$lock" ] && python -m pip install -qq --no-input --disable-pip-version-check --no-cache-dir --no-compile \
    --root-user-action ignore --only-binary :all: --require-hashes --target "$work" --requirement "$lock" &&
    compile zig; then
    exit
fi
echo "make: $folder was not compiled; a C compiler is needed, such as gcc and libc6-dev of Debian" >&2
exit 1
