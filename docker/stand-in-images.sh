#!/usr/bin/env bash
# Makes stand-ins for the Dockerfile's two base images where no registry can be
# reached: a minimal Debian by debootstrap, and this machine's own Rust
# toolchain on top of it. An image that is already there is left alone.
#
#   docker/stand-in-images.sh
set -euo pipefail

BUILD_IMAGE=rust:1.95-bookworm
RUNTIME_IMAGE=debian:bookworm-slim
PACKAGES=gcc,libc6-dev,pkg-config,ca-certificates

have() { docker image inspect "$1" >/dev/null 2>&1; }

if have "$BUILD_IMAGE" && have "$RUNTIME_IMAGE"; then
    exit 0
fi
if [ -z "${SAMEBIT_STAND_IN_ONLY:-}" ] &&
    timeout 120 docker pull -q "$RUNTIME_IMAGE" >/dev/null 2>&1 &&
    timeout 600 docker pull -q "$BUILD_IMAGE" >/dev/null 2>&1; then
    exit 0
fi

echo "no registry answers: making stand-ins for $BUILD_IMAGE and $RUNTIME_IMAGE"
if ! command -v debootstrap >/dev/null; then
    apt-get update -q >/dev/null
    apt-get install -y -q --no-install-recommends debootstrap >/dev/null
fi
# The same mirror that this machine's own packages come from.
mirror=$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -n 1)
[ -n "$mirror" ] || mirror=$(sed -n 's/^deb \(\[[^]]*\] \)\?\([^ ]*\) .*/\2/p' /etc/apt/sources.list | head -n 1)

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
debootstrap --variant=minbase --include="$PACKAGES" bookworm "$root/debian" "$mirror" >"$root/log" 2>&1 ||
    { tail -n 20 "$root/log"; exit 1; }
rm -rf "$root"/debian/var/cache/apt/archives/*.deb

# Certificates that this machine trusts beyond Debian's own.
cp -L /etc/ssl/certs/ca-certificates.crt "$root/debian/etc/ssl/certs/ca-certificates.crt"
tar -C "$root/debian" -c . | docker import - "$RUNTIME_IMAGE" >/dev/null

sysroot=$(rustc --print sysroot)
mkdir -p "$root/debian/usr/local/rust"
cp -a "$sysroot/bin" "$sysroot/lib" "$root/debian/usr/local/rust/"
tar -C "$root/debian" -c . | docker import \
    --change 'ENV PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'ENV CARGO_HOME=/usr/local/cargo' \
    --change 'ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt' \
    - "$BUILD_IMAGE" >/dev/null
