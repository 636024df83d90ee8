#!/bin/sh
# Build sklearn-function:lambda and sklearn-function:cloudrun, with the bundle in MODEL_DIR (handler/model), which must have
# learnt from real data unless SYNTHETIC=1. Words given are passed on to `docker build`: --platform linux/arm64,
# --build-arg BASE=some/python:3.13@sha256:...
set -eu
fail() {
    echo "make: $*" >&2
    exit 1
}
model=handler/model
if [ -n "${MODEL_DIR:-}" ]; then
    [ -f "$MODEL_DIR/model.json" ] || fail "there is no model at $MODEL_DIR: name a bundle's folder, or make one:" \
        "make train DATA=f.csv TARGET=column MODEL=$MODEL_DIR"
    model=$(CDPATH='' cd -- "$MODEL_DIR" && pwd)
fi
cd "$(dirname "$0")/.."
[ -f "$model/model.json" ] || fail "there is no model at $model: train one: make train DATA=f.csv TARGET=column;" \
    "or build images of the synthetic sample: make images SYNTHETIC=1"
described=$(python3 containers/needs.py describe "$model")
docker version >/dev/null 2>&1 || fail "no container engine answers: is Docker installed and running?"

repository=${REPOSITORY:-sklearn-function}
name=$(echo "$described" | sed -n 1p)
version=$(echo "$described" | sed -n 2p)

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

# The Dockerfiles copy handler/model: the context is a copy of what they need, with the named bundle there, and of its
# folder nothing but the bundle.
mkdir -p build
context=$(mktemp -d build/context.XXXXXX)
trap 'rm -rf "$context"' EXIT
trap 'exit 130' INT TERM
cp -R .dockerignore containers requirements handler "$context"
rm -rf "$context/handler/model"
python3 containers/needs.py copy "$model" "$context/handler/model"

for image in lambda cloudrun; do
    echo "building $repository:$image with $name $version, from $model"
    docker build --quiet --file "Dockerfile.$image" --tag "$repository:$image" \
        --build-arg "SYNTHETIC=${SYNTHETIC:-}" "$@" "$context"
done
