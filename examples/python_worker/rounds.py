"""Orders, merging and digests: sections 9 and 13.3 to 13.6 of docs/PROTOCOL.md."""

import functools
import struct
from hashlib import sha256
from itertools import zip_longest

import numpy as np
from xxhash import xxh3_128_digest

QUARTERS = [[4 * j + (i + j * d) % 4 for j in range(4)] for d in (0, 1) for i in range(4)]


def chacha8(key, stream, blocks=256):
    """The 32-bit words of a ChaCha8 stream, computed some blocks at a time."""
    for counter in range(0, 2**62, blocks):
        counters = np.arange(counter, counter + blocks, dtype="<u8").view("<u4")
        start = np.frombuffer(b"expand 32-byte k" + key + bytes(8) + stream, "<u4")
        start = np.repeat(start[:, None], blocks, axis=1)
        start[12], start[13] = counters[::2], counters[1::2]
        words = start.copy()
        for a, b, c, d in QUARTERS * 4:
            for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                words[x] += words[y]
                words[z] ^= words[x]
                words[z] = (words[z] << turn) | (words[z] >> (32 - turn))
        yield from (words + start).T.ravel().tolist()


def shuffle(items, seed, epoch, purpose, stream=0):
    words = chacha8(struct.pack("<QQ", seed, epoch) + purpose, struct.pack("<Q", stream))
    for i in range(len(items) - 1, 0, -1):
        bound = 2**32 - 2**32 % (i + 1)
        j = next(word for word in words if word < bound) % (i + 1)
        items[i], items[j] = items[j], items[i]
    return items


@functools.lru_cache(2)
def order(seed, epoch, examples, chunk, example_bytes, window_mib):
    """The order of the training examples in an epoch."""
    if examples * example_bytes <= window_mib << 20:
        return np.array(shuffle(list(range(examples)), seed, epoch, b"samebit/order/01"))
    size = max(1, (window_mib << 20) // (chunk * example_bytes))
    chunks, out = shuffle(list(range(-(-examples // chunk))), seed, epoch, b"samebit/chunks/1"), []
    for number, first in enumerate(range(0, len(chunks), size)):
        ranges = (range(at * chunk, at * chunk + chunk) for at in chunks[first : first + size])
        window = [example for part in ranges for example in part if example < examples]
        out += shuffle(window, seed, epoch, b"samebit/window/1", number)
    return np.array(out)


def add(left, right):
    """The sum of two results, the left one first. Adding to -0.0 or 0 changes no bit."""
    sums = {it: left["sums"].get(it, -0.0) + value for it, value in right["sums"].items()}
    both = {it: (left["counts"].get(it, []), values) for it, values in right["counts"].items()}
    counts = {it: [a + b for a, b in zip_longest(*two, fillvalue=0)] for it, two in both.items()}
    both = {"sums": left["sums"] | sums, "counts": left["counts"] | counts}
    return both | {it: left[it] + right[it] for it in ("examples", "scores")}


def tree(tensors, shards):
    """Weight, results and contributions of a block. A shard of weight 0 contributes nothing."""
    half = len(shards) // 2
    if half == 0:
        return shards[0]
    left, right, values = tree(tensors, shards[:half]), tree(tensors, shards[half:]), []
    if left[0] == 0 or right[0] == 0:
        return left if right[0] == 0 else right
    share = right[0] / (left[0] + right[0])
    for tensor, l, r in zip(tensors, left[2], right[2]):
        mean, t = tensor["rule"] == "mean", l.dtype.type(share)
        values.append(np.where(l == r, l, l + t * (r - l)) if mean else l + r)
    return left[0] + right[0], add(left[1], right[1]), values


def digest(head, weight, results, segments, shards=()):
    """The digest of a shard, or of a block with the digests of its shards."""
    data = struct.pack("<Q", results["examples"])
    for name, value in sorted(results["sums"].items()):
        data += struct.pack("<cQ", b"s", len(name)) + name.encode() + struct.pack("<d", value if value == value else float("nan"))
    for name, values in sorted(results["counts"].items()):
        data += struct.pack("<cQ", b"c", len(name)) + name.encode() + struct.pack(f"<{len(values) + 1}Q", len(values), *values)
    if scores := results["scores"]:
        data += struct.pack(f"<cQ6sQ{len(scores)}f", b"p", 6, b"scores", len(scores), *scores)
    hashes = b"".join(map(xxh3_128_digest, segments))
    partial = sha256(b"samebit-partial-2\n" + struct.pack("<Q", weight) + hashes).digest()
    return sha256(head + partial + sha256(data).digest() + b"".join(shards)).digest()
