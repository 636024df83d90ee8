#!/bin/sh
# Build sklearn-function:lambda and sklearn-function:cloudrun, with the bundle in handler/model. Words given are passed
# on to `docker build`: --platform linux/arm64, --build-arg BASE=some/python:3.13@sha256:...
set -eu
cd "$(dirname "$0")/.."
docker version >/dev/null 2>&1 || { echo "make: no container engine answers: is Docker installed and running?" >&2; exit 1; }

repository=${REPOSITORY:-sklearn-function}
stated() { python3 -c "import json; print(json.load(open('handler/model/model.json'))['$1'])"; }
name=$(stated name)
version=$(stated version)

# The base by its digest, where it is given or the engine knows it: what the label says is then what was built on.
base=$(sed -n 's/^ARG BASE=//p' Dockerfile.lambda)
for word; do
    case $word in
    BASE=* | --build-arg=BASE=*) base=${word#*BASE=} ;;
    esac
done
tagged=${base%@*}
case $base in
*@*) digest=${base#*@} ;;
*)
    untagged=$(echo "$base" | sed 's/:[^:/]*$//')
    digest=$(docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$base" 2>/dev/null |
        sed -n "s|^$untagged@||p" | head -n 1)
    ;;
esac

[ -z "$digest" ] || set -- "$@" --build-arg "BASE=$tagged@$digest"

# Labels as https://github.com/opencontainers/image-spec/blob/main/annotations.md has them, as far as they are known.
revision=
source=
if [ -e .git ]; then
    revision=$(git describe --always --abbrev=40 --exclude='*' --dirty 2>/dev/null || true)
    source=$(git remote get-url origin 2>/dev/null | sed 's|//[^/@]*@|//|') # less a password in it
fi
for label in "title=$name" "version=$version" "revision=$revision" "source=$source" \
    "base.name=$tagged" "base.digest=$digest"; do
    [ -z "${label#*=}" ] || set -- "$@" --label "org.opencontainers.image.$label"
done

for image in lambda cloudrun; do
    echo "building $repository:$image with $name $version"
    docker build --quiet --file "Dockerfile.$image" --tag "$repository:$image" "$@" .
done
