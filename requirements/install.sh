#!/bin/sh
# Install a lock into .venv, which is made if need be, and once only:
#
#     requirements/install.sh train dev
#
# installs requirements/train.txt, unless .venv holds it or one of the further locks named, which include it.
# PYTHON names the interpreter for .venv; without it, the newest tested one on the path is taken. UV names uv, to install
# with in place of pip: in seconds, from where uv is configured to.
set -eu
cd "$(dirname "$0")/.."
venv=.venv
stamp=$venv/installed.txt # a copy of the lock that was installed last
supported='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))'
identity='import sys; print(sys.version, sys.base_prefix)'

# Run a command whose output goes to $log. On a terminal a line shows $what, the seconds and, of $of libraries, how many
# pip has looked at; elsewhere $what is printed once.
watched() {
    if ! [ -t 2 ] || [ "${TERM:-dumb}" = dumb ]; then
        echo "$what" >&2
        "$@" >"$log"
        return
    fi
    "$@" >"$log" &
    trap '{ kill $! && wait $!; } 2>/dev/null || true; printf "\ninterrupted\n" >&2; exit 130' INT TERM
    started=$(date +%s)
    while kill -0 $! 2>/dev/null; do
        seen=$(grep -c -e '^Collecting' -e '^Requirement already' "$log" || true)
        [ "$seen" = 0 ] || seen="$seen of $of libraries, "
        printf '\r\033[K%s ... %s%d s' "$what" "${seen#0}" $(($(date +%s) - started)) >&2
        sleep 0.5
    done
    code=0
    wait $! || code=$?
    trap - INT TERM
    printf '\r\033[K%s: %d s\n' "$what" $(($(date +%s) - started)) >&2
    return "$code"
}

fail() {
    echo "make: $*" >&2
    exit 1
}

holds() { # whether .venv works and holds one of these locks as it is now
    "$venv/bin/python" -c '' 2>/dev/null || return 1
    for lock; do
        cmp -s "requirements/$lock.txt" "$stamp" && return
    done
    return 1
}

interpreter() { # print the first of these that can make .venv
    for python; do
        if "$python" -c "$supported" 2>/dev/null && "$python" -c 'import ensurepip, venv' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) ||
        fail "cannot run $python; Python 3.11 or newer is needed: make ... PYTHON=/path/to/python3"
    "$python" -c "$supported" ||
        fail "$python is Python $version, but 3.11 to 3.14 is needed: make ... PYTHON=/path/to/python3"
    fail "$python (Python $version) has no venv module; on Debian or Ubuntu: apt-get install python3-venv"
}

if command -v cc >/dev/null; then
    containers/compile.sh handler/kernel ||
        echo "make: it goes on without, and scores tables more slowly" >&2
fi

if [ -n "${PYTHON:-}" ]; then
    set_by_user=$(interpreter "$PYTHON")
    if [ "$("$set_by_user" -c "$identity")" != "$("$venv/bin/python" -c "$identity" 2>/dev/null)" ]; then
        rm -rf "$venv"
    fi
fi

if holds "$@"; then
    exit
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "$venv/bin/python" -c "$supported" && "$venv/bin/python" -c 'import pip'; } 2>/dev/null; then
    python=$(interpreter ${set_by_user:+"$set_by_user"} python3.13 python3.12 python3.11 python3)
    what="making $venv with $("$python" -c 'import sys; print("Python %d.%d.%d" % sys.version_info[:3])')"
    watched "$python" -m venv --clear "$venv"
fi
what="installing requirements/$1.txt into $venv (about a minute the first time)"
of=$(grep -c '^[A-Za-z0-9].*==' "requirements/$1.txt" || true)
rm -f "$stamp"
lock=requirements/$1.txt
if [ -n "${UV:-}" ]; then
    set -- "$UV" pip install --quiet --python "$venv/bin/python"
else
    set -- "$venv/bin/python" -m pip install --no-input --disable-pip-version-check --progress-bar off \
        --root-user-action ignore
fi
watched "$@" --require-hashes --only-binary :all: --requirement "$lock"
cp "$lock" "$stamp"
