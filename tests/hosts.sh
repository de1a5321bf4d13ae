#!/usr/bin/env bash
# Six network namespaces as six hosts: a coordinator's and five workers', each
# on a link of 10 Mbit/s to a bridge. Breaks their network in seven ways while a run
# goes on. Every run must end in the digest of one worker alone, and its history must
# say what happened, no more and no less.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<END
Breaks the network between a coordinator and five workers, each in a network
namespace of its own, and compares digests and events.

Usage: tests/hosts.sh [--quick] [--binaries DIR] [SCENARIO]...

  --quick          all scenarios side by side, about 3 minutes
  --binaries DIR   where coordinator and worker are [default: build them]

Scenarios, all of them unless named:
  partition   two workers are cut off for 15 s
  one-way     for 15 s nothing comes from one worker, nothing gets to another
  loss        every fifth packet is dropped, in both directions
  slow        a state of 40 MB, which takes longer than the heartbeat timeout
  vanish      a worker's host goes without a word
  blackout    all workers are cut off for 15 s
  survivor    all workers but one are cut off for 15 s

Needs root, ip, tc and iptables. Where namespaces cannot be made, it says so and
ends with 0.
END
}

quick=no binaries='' names=()
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) usage && exit ;;
    --quick) quick=yes ;;
    --binaries) binaries=${2:?--binaries needs a folder} && shift ;;
    partition | one-way | loss | slow | vanish | blackout | survivor) names+=("$1") ;;
    *) usage >&2 && exit 2 ;;
    esac
    shift
done
[ ${#names[@]} -gt 0 ] || names=(partition one-way loss slow vanish blackout survivor)

# Seconds that a fault lasts: more than the heartbeat timeout of 10 s.
readonly FAULT=15
# Longest wait for anything, in seconds: a bound on hanging.
readonly PATIENCE=600
readonly HOSTS=(head node1 node2 node3 node4 node5)
readonly ADDRESS=10.77.0.1:7700
# A state of 1.2 MB takes two seconds there and back on these links: so a round
# takes as long on any computer.
readonly SMALL='model = "mlp"
replicas = 5
batch_size = 2
update_interval = 2
parameters.hidden = [2000]
dataset.source = "digits"'
readonly LARGE='model = "mlp"
replicas = 2
batch_size = 1
update_interval = 1
parameters.hidden = [2200, 2200]
dataset.source = "digits"'

# ── Hosts ────────────────────────────────────────────────────────────────────────

# The namespace of a host of this scenario; `bridge` joins them.
namespace() { echo "samebit-$$-$scenario-$1"; }
source tests/namespaces.sh
address() {
    case $1 in head) echo 10.77.0.1 ;; node*) echo "10.77.0.1${1#node}" ;; esac
}
# Limits what a device sends.
limit() { on "$1" tc qdisc add dev "$2" root tbf rate 10mbit burst 16kb latency 200ms; }

make_hosts() {
    local host
    make_bridge
    for host in "${HOSTS[@]}"; do
        add_host "$host" "$(address "$host")"
        # The coordinator's own link would be shared by five.
        [ "$host" = head ] || { limit "$host" net && limit bridge "$host"; }
    done
}

# Drops all that one host sends to another.
cut() { on "$2" iptables -A INPUT -s "$(address "$1")" -j DROP; }
heal() {
    local host
    for host in "${HOSTS[@]}"; do on "$host" iptables -F; done
}
lose_every_fifth_packet() {
    local host
    for host in "${HOSTS[@]}"; do
        on "$host" iptables -A INPUT -i net -m statistic --mode random --probability 0.2 -j DROP
    done
}

# ── A cluster, and a run on it ───────────────────────────────────────────────────

fail() {
    echo "$scenario: FAILED: $*" >&2
    tail -n 15 "$dir"/*.log >&2 || true
    exit 1
}
# Waits until a command succeeds.
await() {
    local end=$((SECONDS + PATIENCE))
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || fail "waited $PATIENCE s for: $*"
        sleep 0.2
    done
}
say() { echo "$scenario, $((SECONDS - began)) s: $*"; }

start_cluster() {
    local host keys="$work/keys.pem"
    ip netns exec "$(namespace head)" "$binaries/coordinator" serve --listen "$ADDRESS" \
        --keys "$keys" --runs "$dir/runs" >"$dir/coordinator.log" 2>&1 &
    coordinator=$!
    for host in "${HOSTS[@]:1}"; do
        ip netns exec "$(namespace "$host")" "$binaries/worker" --coordinator "$ADDRESS" \
            --keys "$keys" --name "$host" --slots 1 >"$dir/$host.log" 2>&1 &
        # Killed in one scenario, of which the shell need not tell.
        disown
    done
    await grep -qs 'listening on' "$dir/coordinator.log"
}

# Starts a run of a spec and so many rounds, once one worker alone has done it.
begin() {
    local spec=$1 rounds=$2
    printf '%s\n' "$spec" >"$dir/spec.toml"
    on head "$binaries/coordinator" run "$dir/spec.toml" --rounds "$rounds" --local 1 --json \
        >"$dir/alone" 2>"$dir/alone.log"
    began=$SECONDS
    start_cluster
    ip netns exec "$(namespace head)" "$binaries/coordinator" run "$dir/spec.toml" \
        --rounds "$rounds" --coordinator "$ADDRESS" --keys "$work/keys.pem" \
        --min-workers 5 --json >"$dir/together" 2>"$dir/client.log" &
    client=$!
    await test -s "$dir/together"
}
rounds() { grep -c '"event":"round"' "$dir/together" || true; }
has_rounds() { [ "$(rounds)" -ge "$1" ]; }
# Whether there were so many events of workers of this kind, as the client hears them.
has_heard() { [ "$(grep -c "\"what\":\"$1\"" "$dir/together")" -ge "$2" ]; }
has_ended() { ! kill -0 "$client" 2>/dev/null; }

# Waits for the run's end, and compares digests.
finish() {
    await has_ended
    wait "$client" || fail "the run: $(tail -n 1 "$dir/together")"
    seconds=$((SECONDS - began))
    digest=$(digest_in "$dir/together")
    [ -n "$digest" ] && [ "$digest" = "$(digest_in "$dir/alone")" ] ||
        fail "the digest is $digest, and $(digest_in "$dir/alone") by one worker alone"
    # In order, so that the whole history is written.
    kill "$coordinator" && wait "$coordinator" || fail "the coordinator ended with $?"
    "$binaries/coordinator" show 1 --events --runs "$dir/runs" >"$dir/events"
    ! grep -l 'shares memory' "$dir"/*.log || fail "the network was not used"
    say "digest $digest; events besides slow shards:"
    grep -vE "$(kind '(slow|duplicate)')" "$dir/events" | sed "s/^/    /"
    printf '%-10s %4d s  %-12s %4d %6d %10d %4d\n' "$scenario" "$seconds" "${digest:0:12}" \
        "$(count lost)" "$(count joined)" "$(count reassigned)" "$(count slow)" >"$dir/row"
}
digest_in() { sed -n 's/.*"event":"finished".*"digest":"\([0-9a-f]\{64\}\)".*/\1/p' "$1"; }
# A line of an event of this kind, of one worker if named.
kind() { echo "^[^ ]+ [^ ]+ +[^ ]+ +$1 +${2:-}"; }
count() { grep -cE "$(kind "$@")" "$dir/events" || true; }
expect() {
    local found
    found=$(count "${@:3}")
    [ "$found" "$1" "$2" ] || fail "events '${*:3}': expected $1 $2, found $found"
}

# ── Scenarios ────────────────────────────────────────────────────────────────────

# Waits for three rounds. `busy` is a worker that had shards of the last one, and so
# will have some of the next; `other` is another one.
go_ahead() {
    await has_rounds 3
    before=$(rounds)
    busy=$("$binaries/coordinator" show 1 --shards --runs "$dir/runs" | awk 'END { print $4 }')
    other=node1
    [ "$busy" != node1 ] || other=node2
    say "$busy is at work after $before rounds"
}
# The work of one that was cut off went to others: by a copy, while it was only slow, or
# once it was lost.
expect_work_of_to_go_on() {
    awk -v worker="$1" -v step="$before" '
        $3 >= step && ($4 == "reassigned" || $4 == "slow") && $5 == worker { found = 1 }
        END { exit !found }' "$dir/events" || fail "the work of $1 was not given to others"
}

# The workers named are cut off, are lost and come back. Meanwhile there are at least
# so many rounds more than before.
lose() {
    local more=$1 worker && shift
    sleep "$FAULT"
    await has_heard lost $#
    await has_rounds $((before + more))
    heal
    say "healed after $(rounds) rounds"
    await has_heard joined $#
    say "$* are back after $(rounds) rounds"
    finish
    for worker in "$@"; do
        expect -eq 1 lost "$worker"
        expect -eq 1 joined "$worker"
    done
    expect -eq $# lost
    expect -eq $# joined
}
cut_off() {
    local worker
    for worker in "$@"; do cut head "$worker" && cut "$worker" head; done
}

partition() {
    begin "$SMALL" 20
    go_ahead
    cut_off "$busy" "$other"
    lose 1 "$busy" "$other"
    expect_work_of_to_go_on "$busy"
}

# That all of them were lost at once is nothing against the shards that they had.
blackout() {
    begin "$SMALL" 20
    go_ahead
    cut_off "${HOSTS[@]:1}"
    lose 0 "${HOSTS[@]:1}"
}

survivor() {
    begin "$SMALL" 20
    go_ahead
    local host others=()
    for host in "${HOSTS[@]:1}"; do [ "$host" = "$busy" ] || others+=("$host"); done
    cut_off "${others[@]}"
    lose 1 "${others[@]}"
}

one-way() {
    begin "$SMALL" 20
    go_ahead
    cut "$busy" head
    cut head "$other"
    lose 1 "$busy" "$other"
    expect_work_of_to_go_on "$busy"
}

# A connection may starve by chance. Nobody comes back who was not lost.
loss() {
    lose_every_fifth_packet
    begin "$SMALL" 5
    finish
    expect -le "$(count lost)" joined
}

slow() {
    begin "$LARGE" "$([ $quick = yes ] && echo 1 || echo 2)"
    finish
    expect -eq 0 lost
    expect -eq 0 joined
}

vanish() {
    begin "$SMALL" 12
    go_ahead
    # Nothing that its system says on behalf of a process that dies gets out.
    on bridge ip link set "$busy" down
    ip netns pids "$(namespace "$busy")" | xargs kill -9
    await has_heard lost 1
    say "$busy is missed after $(rounds) rounds"
    finish
    expect -eq 1 lost "$busy"
    expect -eq 1 lost
    expect -eq 0 joined
    grep -q 'lost .*silent' "$dir/events" || fail "it was not lost by its silence"
    expect_work_of_to_go_on "$busy"
}

run_scenario() {
    scenario=$1 dir="$work/$1" began=$SECONDS
    mkdir "$dir"
    make_hosts
    "$scenario"
    remove_hosts "$scenario-"
    mv "$dir/row" "$dir/passed"
}

# ── All of it ────────────────────────────────────────────────────────────────────

work=$(mktemp -d)
clean_up() {
    trap '' INT TERM
    # shellcheck disable=SC2046
    kill $(jobs -p) 2>/dev/null || true
    remove_hosts 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# Makes and removes hosts once, with all that scenarios need.
probe() (
    scenario=probe
    set -e
    make_hosts
    lose_every_fifth_packet
)
# Not in a condition, where `set -e` has no effect.
set +e
refusal=$(probe 2>&1)
is_refused=$?
set -e
remove_hosts 2>/dev/null || true
if [ $is_refused -ne 0 ]; then
    echo "skipped: namespaces cannot be made here: $(head -n 1 <<<"$refusal")"
    exit 0
fi

if [ -z "$binaries" ]; then
    # What `cargo test` builds, so that nothing is linked twice.
    cargo build --locked --quiet --workspace --bins --tests
    binaries=${CARGO_TARGET_DIR:-target}/debug
fi
binaries=$(realpath "$binaries")
# Settings of the caller are not the test's. These hosts share a machine's memory, and
# must not make use of it.
unset "${!SAMEBIT_@}"
export SAMEBIT_NO_SHARED_MEMORY=true
"$binaries/coordinator" keys new "$work/keys.pem" >/dev/null

for name in "${names[@]}"; do
    run_scenario "$name" &
    [ $quick = yes ] || wait $! || true
done
wait

status=0
printf '\n%-10s %6s  %-12s %4s %6s %10s %4s\n' \
    scenario time digest lost joined reassigned slow
for name in "${names[@]}"; do
    cat "$work/$name/passed" 2>/dev/null || { printf '%-10s FAILED\n' "$name" && status=1; }
done
exit $status
