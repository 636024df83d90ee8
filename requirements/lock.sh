#!/bin/sh
# Refresh every lock: hashed, for all supported Pythons and platforms, one version of each package throughout.
# dev.txt is resolved first, as it includes all the others; they take its versions.
set -eu
cd "$(dirname "$0")/.."

"${PYTHON:-python3}" -m venv --clear build/lock
build/lock/bin/python -m pip install -qq --no-input --disable-pip-version-check uv

compile() {
    echo "requirements/$1.txt"
    name=$1
    shift
    build/lock/bin/uv pip compile --quiet --no-config --upgrade --universal --python-version 3.11 \
        --fork-strategy fewest --generate-hashes --no-annotate --custom-compile-command "make lock" \
        --output-file "requirements/$name.txt" "requirements/$name.in" "$@"
}

compile dev
for name in serve lambda cloudrun joblib train; do
    compile "$name" --constraints requirements/dev.txt
done
