#!/bin/sh
# Refresh every lock: hashed, for all supported Pythons and platforms, one version of each package throughout.
# dev.txt is resolved first, as it includes all the others; they take its versions. The benchmarks' contenders are
# programs of their own, which take from it the libraries that read the same pickle alone.
set -eu
cd "$(dirname "$0")/.."

"${PYTHON:-python3}" -m venv --clear build/lock
build/lock/bin/python -m pip install -qq --no-input --disable-pip-version-check uv

compile() {
    echo "$1.txt"
    name=$1
    shift
    build/lock/bin/uv pip compile --quiet --no-config --upgrade --universal --python-version 3.11 \
        --fork-strategy fewest --generate-hashes --no-annotate --custom-compile-command "make lock" \
        --output-file "$name.txt" "$name.in" "$@"
}

compile requirements/dev
for name in serve lambda cloudrun joblib train boosters; do
    compile "requirements/$name" --constraints requirements/dev.txt
done
for file in requirements/compiler.in requirements/sklearn-*.in; do # environments of their own
    compile "${file%.in}"
done
grep -oE '^(joblib|numpy|pandas|scikit-learn)==[^ ;]+' requirements/dev.txt >build/lock/pickles.txt
for folder in benchmarks/contenders/*/; do
    case $folder in
    */emulator/ | */census/) compile "${folder}requirements" --no-deps ;; # files of theirs are used, no code
    */__pycache__/) ;;
    *) compile "${folder}requirements" --constraints build/lock/pickles.txt ;;
    esac
done
