#!/usr/bin/env bash
# Measures what docs/SPIKING.md says of accuracy and merging, and prints a line
# a run. Needs the release build and MNIST:
#
#   docs/spiking/measure.sh FOLDER_OF_MNIST [PART…]
#
# Parts: choices (judged on the last 10,000 training images, the others are
# judged on the test images), sequential, parallel, rules, published, scaling,
# large (by far the longest). WORKERS (2) is how many workers a run has.
set -euo pipefail
mnist=$(realpath "${1:?folder of MNIST}")
shift
cd "$(dirname "$0")/../.."
workers=${WORKERS:-2}

# run NAME FLAGS… : name, accuracy, seconds and examples a second of the whole
# run, labels and test included, and the digest.
run() {
    local name=$1 text
    shift
    text=$(target/release/coordinator run --local "$workers" --model spiking \
        --dataset "idx:$mnist" --log-level error --quiet "$@")
    awk -v name="$name" '
        /^result/ { accuracy = $3 } /^time/ { seconds = $2; speed = $4 } /^digest/ { digest = $2 }
        END {
            printf "%-46s %6s %%  %7s s  %5s /s  %s\n", name, accuracy, seconds, speed,
                substr(digest, 1, 16)
        }
    ' <<<"$text"
}
seeds() { # seeds NAME FLAGS… : five seeds.
    local name=$1
    shift
    for seed in 1 2 3 4 5; do run "$name, seed $seed" --seed "$seed" "$@"; done
}
size() { echo --set "parameters.neurons=$1"; }
# A round of R replicas that process U examples each.
round() { echo --replicas "$1" --update-interval "$2"; }

choices() {
    local held=(--set dataset.test_examples=10000)
    for neurons in 100 400; do
        for step in 1 2; do
            seeds "held out: N=$neurons, theta step $step" "${held[@]}" $(size $neurons) \
                --set "parameters.theta_step=$step"
        done
        seeds "held out: N=$neurons, sequential" "${held[@]}" $(size $neurons) $(round 1 256)
    done
    for interval in 1 4 64 250; do
        run "held out: N=400, R=16, U=$interval, seed 1" "${held[@]}" $(size 400) $(round 16 $interval)
    done
}
sequential() {
    for neurons in 100 400; do
        seeds "sequential: N=$neurons" $(size $neurons) $(round 1 256)
    done
    run "sequential: N=1600, seed 1" $(size 1600) $(round 1 256)
}
parallel() {
    for neurons in 100 400; do
        seeds "16 replicas: N=$neurons" $(size $neurons) $(round 16 16)
    done
    run "16 replicas: N=1600, seed 1" $(size 1600) $(round 16 16)
}
rules() {
    local of_round
    for of_round in "4 64" "16 4" "16 16" "16 64"; do
        for rule in mean mean_by sum fold; do
            run "rule $rule: N=400, R=${of_round% *}, U=${of_round#* }" $(size 400) \
                $(round $of_round) --set "merge.weights=$rule" --set "merge.theta=$rule"
        done
    done
    for of_round in "1 256" "16 1" "64 4" "16 250"; do
        run "rule fold: N=400, R=${of_round% *}, U=${of_round#* }" $(size 400) $(round $of_round)
    done
}
published() {
    run "published: all spikes in a step, N=100" $(size 100) --set parameters.spikes_per_step=all
    run "published: theta_plus 0.05 mV, N=100" $(size 100) --set parameters.theta_plus_mv=0.05
    seeds "published: no clean start, N=100" $(size 100) --set parameters.clean_start=false
}
scaling() { # Three times one worker of one slot and two: training alone.
    for workers in 1 2 1 2 1 2; do
        echo -n "scaling: $workers worker(s) of one slot, N=400, R=16: "
        target/release/coordinator run --local "$workers" --slots 1 --model spiking \
            --dataset "idx:$mnist" --log-level error --json --rounds 230 \
            --set evaluation.labelling=false --set dataset.test_examples=0 | awk '
            function field(name) { match($0, "\"" name "\":[^,}]*")
                return substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3) }
            /"event":"round"/ { rounds++; compute += field("compute_ms")
                synchronisation += field("synchronisation_ms"); bytes += field("partial_bytes") }
            /"event":"finished"/ { speed = field("examples") / field("seconds") }
            END { printf "%.0f examples/s, computing %.1f ms a round and %.1f ms of synchronisation, %.2f MB\n",
                speed, compute / rounds, synchronisation / rounds, bytes / rounds / 1e6 }'
    done
}
large() {
    local tuned=(--set parameters.theta_plus_mv=0.4 --set parameters.post_rate=0.03
        --set parameters.theta_step=1 --epochs 2)
    run "held out: N=6400, 2 epochs" $(size 6400) $(round 4 64) "${tuned[@]}" \
        --set dataset.test_examples=10000
    run "N=6400, 2 epochs" $(size 6400) $(round 4 64) "${tuned[@]}"
}

for part in "${@:-choices sequential parallel rules published scaling large}"; do
    for name in $part; do $name; done
done
