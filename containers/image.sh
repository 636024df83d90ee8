#!/bin/sh
# The steps that both images share. Each is a layer of either Dockerfile:
#
#     image.sh libraries LOCK   in the build stage: /opt/function with a lock's libraries, compiled
#     image.sh function         in the build stage: the handler and its bundle made ready to serve, the bill of materials
#     image.sh start            in the build stage of Lambda's: what a first prediction runs, in one file, as in the zip;
#                               tests and benchmarks name another folder than the image's in APP
#     image.sh seal MODULE      in the image itself: no more installing; the bundle is checked; MODULE is its runtime's
set -eu

install() { # install a lock, and keep pip's report of it for the bill of materials
    python -m pip --python /opt/function install -qq --no-input --disable-pip-version-check --no-cache-dir --no-compile \
        --root-user-action ignore --only-binary :all: --require-hashes --report "$1.json" --requirement "$1"
}

pinned_as_in_training() { # what the lock lacks, or has in another version than the model was fitted with
    python /build/needs.py libraries model.json >/build/needs.txt
    /opt/function/bin/python -c 'import importlib.metadata as m; [print(f"{d.name}=={d.version}".lower()) for d in m.distributions()]' |
        grep -vixFf - /build/needs.txt >/build/more.txt || return 0
    python -m pip --python /opt/function install -qq --no-input --disable-pip-version-check --no-cache-dir --no-compile \
        --root-user-action ignore --only-binary :all: --report /build/more.json \
        --constraint /build/needs.txt --requirement /build/more.txt || {
        echo "the model was fitted with $(tr '\n' ' ' </build/more.txt)and $(python --version) has no wheels of them:" \
            "build on the Python of training, such as: containers/build.sh --build-arg BASE=python:3.11-slim" >&2
        exit 1
    }
}

compiled() { # what is new among the libraries, less their tests: a read-only image writes no bytecode, and any user reads it
    site=$(echo /opt/function/lib/python3*/site-packages)
    rm -rf "$site/onnxruntime/transformers"
    find "$site" -name tests -type d -prune -exec rm -rf {} +
    find "$site" -mindepth 1 -maxdepth 1 -newer /build/compiled \
        -exec python -m compileall -q --invalidation-mode unchecked-hash {} + -exec chmod -R a+rX {} +
    touch /build/compiled
}

own_modules() { # the user's modules that the pickle imports, beside the handler
    for name in $(python -c 'import json; print(*json.load(open("model.json")).get("needs", {}).get("modules", []))'); do
        for each in "modules/$name" "modules/$name.py"; do
            [ ! -e "$each" ] || mv "$each" /opt/function/app/
        done
        [ -e "/opt/function/app/$name" ] || [ -e "/opt/function/app/$name.py" ] || {
            echo "the model needs your own module $name: build with make images, which copies it, or put $name.py" \
                "into handler/model/modules" >&2
            exit 1
        }
    done
    rm -rf modules
}

case $1 in
libraries)
    touch -d @0 /build/compiled
    python -m venv --without-pip /opt/function
    install "$2"
    compiled
    ;;
function)
    # scikit-learn where the bundle needs it, and of the model's two forms the one that serves.
    cd /opt/function/app/handler/model
    python /build/needs.py describe . >/dev/null
    if grep -q '"runtime": "joblib"' model.json; then
        own_modules
        install /build/joblib.txt
        pinned_as_in_training
        compiled
        rm -f model.onnx
    else
        rm model.joblib
    fi
    /opt/function/bin/python /build/sbom.py model.json /build/*.json >/opt/function/sbom.cdx.json
    python -m compileall -q --invalidation-mode unchecked-hash /opt/function/app
    chmod -R a+rX /opt/function/app /opt/function/sbom.cdx.json
    ;;
start)
    # Where one row needs no library. Elsewhere, import finds each module.
    tools=$(cd "$(dirname "$0")" && pwd)
    cd "${APP:-/opt/function/app}"
    grep -q '"one": "scalar"' handler/model/model.json || exit 0
    printf '\n\n' | cat - "$tools/start.py" >>handler/__init__.py
    python -m compileall -qf --invalidation-mode unchecked-hash handler/__init__.py
    PYTHONHASHSEED=0 python -S -B -P -X no_debug_ranges "$tools/first_answer.py" . "$PWD"
    chmod a+r handler/__init__.py handler/__pycache__/__init__.* handler/start.bin
    ;;
seal)
    python=$(readlink -f /opt/function/bin/python) # the base's own
    rm -rf "$("$python" -c 'import pip; print(*pip.__path__)')"* \
        "$("$python" -c 'import ensurepip; print(*ensurepip.__path__)')" \
        "$(dirname "$(command -v pip)")"/pip* /usr/bin/pip* /usr/share/python-wheels
    # LightGBM asks the system for OpenMP, which a slim base lacks: scikit-learn's wheel has it.
    openmp=$(ls /opt/function/lib/python3*/site-packages/scikit_learn.libs/libgomp* 2>/dev/null || true)
    if [ -n "$openmp" ] && ! "$python" -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null; then
        for folder in /usr/lib /usr/lib64; do # glibc's own folders
            [ ! -d "$folder" ] || ln -s "$openmp" "$folder/libgomp.so.1"
        done
    fi
    # The build ends here unless the bundle reproduces its golden predictions. It also leaves bytecode of Python's own
    # modules.
    python -m handler check
    python -c "import ctypes, $2, handler.batch.run, handler.scoring.trees, obstore.store, polars; ctypes.CDLL('handler/kernel/libkernel.so')"
    rm "$0"
    ;;
esac
