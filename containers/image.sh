#!/bin/sh
# The steps that both images share. Each is a layer of either Dockerfile:
#
#     image.sh libraries LOCK   in the build stage: /opt/function with a lock's libraries
#     image.sh function         in the build stage: the handler and its bundle made ready to serve, the bill of materials
#     image.sh seal MODULE      in the image itself: no more installing; the bundle is checked; MODULE is its runtime's
set -eu

install() { # install a lock, and keep pip's report of it for the bill of materials
    python -m pip --python /opt/function install -qq --no-input --disable-pip-version-check --no-cache-dir --no-compile \
        --root-user-action ignore --only-binary :all: --require-hashes --report "$1.json" --requirement "$1"
}

case $1 in
libraries)
    python -m venv --without-pip /opt/function
    install "$2"
    ;;
function)
    # scikit-learn where the bundle needs it, and of the model's two forms the one that serves.
    cd /opt/function/app/handler/model
    if grep -q '"runtime": "joblib"' model.json; then
        install /build/joblib.txt
        rm -f model.onnx
    else
        rm model.joblib
    fi
    /opt/function/bin/python /build/sbom.py model.json /build/*.json >/opt/function/sbom.cdx.json
    # Libraries bring tests. Bytecode is made here, as a read-only image never writes any; any user may read it all.
    rm -rf /opt/function/lib/python3*/site-packages/onnxruntime/transformers
    find /opt/function/lib -name tests -type d -prune -exec rm -rf {} +
    python -m compileall -q --invalidation-mode unchecked-hash /opt/function
    chmod -R a+rX /opt/function
    ;;
seal)
    python=$(readlink -f /opt/function/bin/python) # the base's own
    rm -rf "$("$python" -c 'import pip; print(*pip.__path__)')"* \
        "$("$python" -c 'import ensurepip; print(*ensurepip.__path__)')" \
        "$(dirname "$(command -v pip)")"/pip* /usr/bin/pip* /usr/share/python-wheels
    # The build ends here unless the bundle reproduces its golden predictions. It also leaves bytecode of Python's own
    # modules.
    python -m handler check
    python -c "import $2, handler.batch.run, obstore.store, polars"
    rm "$0"
    ;;
esac
