# Network namespaces as hosts that a bridge joins. To be sourced by a script that has
# `namespace`, which prints the name of a host's namespace: `samebit-$$-` and more.

# Runs a command on a host.
on() { ip netns exec "$(namespace "$1")" "${@:2}"; }

make_bridge() {
    ip netns add "$(namespace bridge)"
    on bridge ip link add name bridge type bridge
    on bridge ip link set bridge up
}

# Adds a host with an address. Its own device is `net`, the bridge's is named as the host.
add_host() {
    ip netns add "$(namespace "$1")"
    on bridge ip link add name "$1" type veth peer name net netns "$(namespace "$1")"
    on bridge ip link set "$1" master bridge up
    on "$1" ip address add "$2/24" dev net
    on "$1" ip link set net up
    on "$1" ip link set lo up
}

# Ends what runs on all hosts whose names begin so, and removes them.
remove_hosts() {
    local name
    for name in $(ip netns list | sed -n "s/^\(samebit-$$-${1:-}[^ ]*\).*/\1/p"); do
        ip netns pids "$name" | xargs -r kill -9 2>/dev/null || true
        ip netns delete "$name"
    done
}
