#!/usr/bin/env bash
# Measures what docs/SPIKING.md says of accuracy and merging, and prints a line
# a run. Needs the release build and MNIST:
#
#   docs/spiking/measure.sh FOLDER_OF_MNIST [PART…]
#
# Parts: choices (judged on the last 10,000 training images, the others are
# judged on the test images), sequential, parallel, rules, large (by far the
# longest). WORKERS (2) is how many workers a run has.
set -euo pipefail
mnist=$(realpath "${1:?folder of MNIST}")
shift
cd "$(dirname "$0")/../.."
workers=${WORKERS:-2}

# run NAME FLAGS… : name, accuracy, seconds, digest.
run() {
    local name=$1 text
    shift
    text=$(target/release/coordinator run --local "$workers" --model spiking \
        --dataset "idx:$mnist" --log-level error --quiet "$@")
    awk -v name="$name" '
        /^result/ { accuracy = $3 } /^time/ { seconds = $2; speed = $4 } /^digest/ { digest = $2 }
        END { printf "%-44s %6s %%  %7s s  %s\n", name, accuracy, seconds, substr(digest, 1, 16) }
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
    for seed in 1 2 3 4 5; do
        for step in 1 2; do
            run "held out: N=400, theta step $step, seed $seed" --seed "$seed" "${held[@]}" \
                $(size 400) --set "parameters.theta_step=$step"
        done
        run "held out: N=400, sequential, seed $seed" --seed "$seed" "${held[@]}" $(size 400) \
            $(round 1 256)
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
    for rule in mean mean_by sum fold; do
        run "rule $rule: N=400, R=16, U=16" $(size 400) $(round 16 16) \
            --set "merge.weights=$rule" --set "merge.theta=$rule"
    done
    for interval in 64 250; do
        run "rule fold: N=400, R=16, U=$interval" $(size 400) $(round 16 $interval)
    done
    run "published: all spikes in a step, N=100" $(size 100) --set parameters.spikes_per_step=all
    run "published: theta_plus 0.05 mV, N=100" $(size 100) --set parameters.theta_plus_mv=0.05
}
large() { # After every epoch: the lines of the run itself.
    target/release/coordinator run --local "$workers" --model spiking --dataset "idx:$mnist" \
        --log-level error $(size 6400) $(round 4 64) --epochs "${EPOCHS:-5}" \
        --set evaluation.every=1 | grep -E '^(evaluation|time|result|digest)'
}

for part in "${@:-choices sequential parallel rules large}"; do
    for name in $part; do $name; done
done
