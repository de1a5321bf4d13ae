#!/usr/bin/env bash
# Measures rounds of a coordinator and its workers on hosts of their own: each is in a
# network namespace, on a link to a bridge with the same rate in both directions.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<END
Measures rounds over links between hosts, with a model that does nothing.

Usage: tests/links.sh [--bench FILE] [--size MB] [--workers N] [--rounds N] RATE...

  --bench FILE   the program \`bench\` of this or of another build [default: build it]
  --size MB      of the state [default: 100]
  --workers N    each on a host of its own, and with a replica [default: 1]; of replicas
                 that take no time, the scheduler may give several to one worker
  --rounds N     of each rate; the first one does not count [default: 7]

Examples:
  tests/links.sh 1gbit 5gbit
  tests/links.sh --bench ../before/target/release/bench 1gbit

Needs root, ip and tc.
END
}

bench='' size=100 workers=1 rounds=7 rates=()
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) usage && exit ;;
    --bench) bench=$(realpath "${2:?--bench needs a file}") && shift ;;
    --size) size=${2:?--size needs a number} && shift ;;
    --workers) workers=${2:?--workers needs a number} && shift ;;
    --rounds) rounds=${2:?--rounds needs a number} && shift ;;
    -*) usage >&2 && exit 2 ;;
    *) rates+=("$1") ;;
    esac
    shift
done
[ ${#rates[@]} -gt 0 ] || { usage >&2 && exit 2; }
if [ -z "$bench" ]; then
    cargo build --locked --release --quiet -p tests --bin bench
    bench=$(realpath "${CARGO_TARGET_DIR:-target}/release/bench")
fi

namespace() { echo "samebit-$$-$1"; }
source tests/namespaces.sh
work=$(mktemp -d)
trap 'remove_hosts; rm -rf "$work"' EXIT

limit() { on "$1" tc qdisc add dev "$2" root tbf rate "$rate" burst 1mb latency 50ms; }
make_hosts() {
    local host
    make_bridge
    for host in $(seq 0 "$workers"); do
        add_host "host$host" "10.77.0.$((host + 1))"
        limit "host$host" net
        limit bridge "host$host"
    done
}

printf '[parameters]\nelements = %d\n[dataset]\nsource = "digits"\n' $((size * 250000)) >"$work/rest"
{
    printf 'model = "ballast"\nreplicas = %d\nbatch_size = 1\nrounds = %d\n' "$workers" "$rounds"
    cat "$work/rest"
} >"$work/spec.toml"
for rate in "${rates[@]}"; do
    make_hosts
    on host0 "$bench" coordinator serve --listen 10.77.0.1:7700 --insecure --runs "$work/runs" \
        >"$work/listening" 2>"$work/log" &
    until grep -qs listening "$work/listening"; do sleep 0.1; done
    for host in $(seq "$workers"); do
        on "host$host" "$bench" worker --coordinator 10.77.0.1:7700 --slots 1 \
            --no-shared-memory >"$work/worker" 2>&1 &
        disown
    done
    on host0 timeout 600 "$bench" coordinator run "$work/spec.toml" --coordinator 10.77.0.1:7700 \
        --min-workers "$workers" --json >"$work/events"
    python3 - "$rate" "$size MB" "workers: $workers" "$work/events" <<'END'
import json, statistics, sys
events = [json.loads(line) for line in open(sys.argv.pop())]
times = [it["compute_ms"] + it["synchronisation_ms"] for it in events if it["event"] == "round"][1:]
median, least, most = statistics.median(times), min(times), max(times)
print(*sys.argv[1:], f"{median:.0f} ms per round, from {least:.0f} to {most:.0f}", sep=", ")
END
    remove_hosts
done
