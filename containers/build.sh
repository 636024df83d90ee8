#!/bin/sh
# Build sklearn-function:lambda and sklearn-function:cloudrun, with the bundle in handler/model. Words given are passed
# on to `docker build`: --platform linux/arm64, --build-arg BASE=some/python:3.13.
set -eu
cd "$(dirname "$0")/.."
docker version >/dev/null 2>&1 || { echo "make: no container engine answers: is Docker installed and running?" >&2; exit 1; }

told() { python3 -c "import json; print(json.load(open('handler/model/model.json'))['$1'])"; }
repository=${REPOSITORY:-sklearn-function}
name=$(told name)
version=$(told version)
for image in lambda cloudrun; do
    echo "building $repository:$image with $name $version"
    docker build --quiet --file "Dockerfile.$image" --tag "$repository:$image" \
        --build-arg "MODEL_NAME=$name" --build-arg "MODEL_VERSION=$version" "$@" .
done
