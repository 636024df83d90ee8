#!/bin/sh
# Send an event to the Lambda image under the runtime interface emulator, and print the answer: invoke.sh EVENT.json
# The emulator is the one in the image's base, on the path, or in the aws-sam-cli wheel (its `sam` on the path).
# What the function is to know comes from the environment: AWS_*, INPUT_URI, OUTPUT_URI, LOG_LEVEL and so on.
set -eu
event=$1
image=${REPOSITORY:-sklearn-function}:lambda
[ -f "$event" ] || { echo "make: there is no event '$event': make invoke EVENT=events/direct.json" >&2; exit 1; }
docker image inspect "$image" >/dev/null 2>&1 || { echo "make: there is no image $image yet: run make images" >&2; exit 1; }

set -- --entrypoint aws-lambda-rie # found on the image's own path
if ! docker run --rm --entrypoint sh "$image" -c 'command -v aws-lambda-rie' >/dev/null; then
    emulator=$(command -v aws-lambda-rie || true)
    if [ -z "$emulator" ] && sam=$(command -v sam); then
        case $(docker image inspect --format '{{.Architecture}}' "$image") in
            arm64) machine=arm64 ;;
            *) machine=x86_64 ;;
        esac
        python=$(sed -n '1s/^#!//p' "$sam")
        emulator=$("$python" -c 'import pathlib, samcli, sys
print(pathlib.Path(samcli.__file__).parent / "local" / "rapid" / f"aws-lambda-rie-{sys.argv[1]}")' "$machine")
    fi
    if [ ! -f "$emulator" ]; then
        echo "make: the Lambda runtime interface emulator is missing: run pip install aws-sam-cli, which brings it, or" \
            "put aws-lambda-rie from github.com/aws/aws-lambda-runtime-interface-emulator on the path" >&2
        exit 1
    fi
    set -- --volume "$emulator:/aws-lambda-rie:ro" --entrypoint /aws-lambda-rie
fi

for variable in $(env | sed -nE 's/^((AWS|GOOGLE)_[A-Z_]+|(IN|OUT)PUT_URI|LOG_LEVEL|MAX_BODY_BYTES|BLOCK_BYTES|WORKERS)=.*/\1/p'); do
    set -- "$@" --env "$variable"
done
container=$(docker run --detach --rm --publish 127.0.0.1::8080 "$@" "$image" \
    /opt/function/bin/python -m awslambdaric handler.app.lambda_handler)
trap 'docker stop --time 2 "$container" >/dev/null' EXIT
address=$(docker port "$container" 8080 | head -n 1)
# Silent, as the emulator may refuse until it listens.
curl --silent --retry 20 --retry-delay 1 --retry-all-errors --data-binary "@$event" \
    "http://$address/2015-03-31/functions/function/invocations" ||
    { echo "make: the function did not answer; docker logs of its image may say why" >&2; exit 1; }
echo
