#!/usr/bin/env bash
# Builds the shipped image, brings the compose cluster up, kills one worker's
# process and pauses another during a run, and compares digests. Nobody without the
# cluster's keys gets in.
#
#   docker/test.sh
#
# Needs a container engine and compose (v2 or 1.29). Where no registry can be
# reached, stand-in base images are made first.
set -euo pipefail
cd "$(dirname "$0")/.."

export COMPOSE_PROJECT_NAME=samebit-test
export SAMEBIT_PORT=17700
if docker compose version >/dev/null 2>&1; then
    compose() { docker compose "$@"; }
else
    compose() { docker-compose "$@"; }
fi

fail() {
    echo "FAILED: $*" >&2
    compose logs --tail 50 >&2 || true
    exit 1
}
# Waits until a command succeeds, at most so many seconds.
await() {
    local seconds=$1 end
    shift
    end=$((SECONDS + seconds))
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || fail "waited $seconds s for: $*"
        sleep 0.2
    done
}
digest_in() { sed -n 's/.*\([0-9a-f]\{64\}\).*/\1/p' "$1" | tail -n 1; }
run_in_coordinator() { compose exec -T coordinator coordinator run "$@"; }

work=$(mktemp -d)
finish() {
    compose down --volumes --timeout 5 >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap finish EXIT

docker/stand-in-images.sh
docker build -q -f docker/Dockerfile -t samebit/samebit:latest .
size=$(docker image inspect --format '{{.Size}}' samebit/samebit:latest)
echo "image: $((size / 1000000)) MB with its base"
# They say the commit that they were built of, and have no symbols any more.
commit=""
[ ! -d .git ] || commit="+$(git rev-parse --short=12 HEAD)"
for binary in samebit coordinator worker; do
    version=$(docker run --rm samebit/samebit:latest "$binary" --version)
    [[ $version == "$binary "*"$commit" ]] || fail "not of commit $commit: $version"
    docker run --rm samebit/samebit:latest cat "/usr/local/bin/$binary" >"$work/$binary"
    ! grep -q '\.symtab' "$work/$binary" || fail "$binary is not stripped"
done

# The default run starts by itself once the workers are there.
compose up --detach --no-build
first=$(compose ps --quiet first-run)
await 120 sh -c "[ \"\$(docker inspect --format '{{.State.Status}}' $first)\" = exited ]"
docker logs "$first" >"$work/first" 2>&1
cat "$work/first"
expected=$(sed -n 's/^ *digest *\([0-9a-f]\{64\}\).*/\1/p' README.md | head -n 1)
[ "$(digest_in "$work/first")" = "$expected" ] || fail "the first run's digest is not the README's"
[ "$(docker inspect --format '{{.State.ExitCode}}' "$first")" = 0 ] || fail "the first run's exit code"
[ "$(docker inspect --format '{{.Config.User}}' "$first")" = samebit ] || fail "the image runs as root"

# One worker dies and one freezes during a longer run.
long=(--model mlp --dataset digits --replicas 8 --batch-size 10 --update-interval 18 --rounds 60
    --seed 5 --set 'parameters.hidden=[512,512]' --json)
run_in_coordinator --local 1 "${long[@]}" >"$work/alone"
await 60 sh -c "[ \$(docker ps -q --filter label=com.docker.compose.project=$COMPOSE_PROJECT_NAME \
    --filter label=com.docker.compose.service=worker | wc -l) = 3 ]"
run_in_coordinator "${long[@]}" --min-workers 3 >"$work/together" &
client=$!
await 60 grep -q '"event":"round"' "$work/together"
mapfile -t workers < <(compose ps --quiet worker)
docker pause "${workers[1]}" >/dev/null
kill -9 "$(docker inspect --format '{{.State.Pid}}' "${workers[0]}")"
await 60 grep -q '"what":"lost"' "$work/together"
await 60 sh -c "[ \"\$(docker inspect --format '{{.RestartCount}}' ${workers[0]})\" -ge 1 ]"
docker unpause "${workers[1]}" >/dev/null
wait "$client" || fail "the run with a dead and a frozen worker"
[ "$(digest_in "$work/together")" = "$(digest_in "$work/alone")" ] || fail "digests differ"
echo "killed one worker, paused another: $(digest_in "$work/together") both times"

# The keys are in their volume, and without them there is no way in.
compose exec -T coordinator coordinator status | grep -q INSECURE && fail "the cluster has no keys"
if compose exec -T -e SAMEBIT_KEYS=/tmp/other.pem coordinator sh -c \
    'coordinator keys new $SAMEBIT_KEYS && coordinator status' >"$work/foreign" 2>&1; then
    fail "a client of another cluster got in"
fi
grep -q 'belongs to another cluster' "$work/foreign" || fail "the words for a foreign client"
docker run --rm --network none samebit/samebit:latest sh -c '
    coordinator keys new $SAMEBIT_KEYS --if-missing && coordinator keys show $SAMEBIT_KEYS' |
    grep '^cluster  [0-9a-f]\{64\}$' >/dev/null || fail "the image makes no keys of its own"
echo "keys: foreign clients stay out"

# Five workers, on the same cluster.
compose up --detach --no-build --scale worker=5 >/dev/null 2>&1
run_in_coordinator --min-workers 5 >"$work/five"
[ "$(digest_in "$work/five")" = "$expected" ] || fail "five workers gave another digest"
echo "five workers: the digest of the README"
echo "compose test passed"
