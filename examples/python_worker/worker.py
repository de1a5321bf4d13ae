"""A worker in Python, which follows docs/PROTOCOL.md: worker.py HOST:PORT NAME"""

import queue
import secrets
import signal
import socket
import struct
import sys
import threading
import time
import tomllib
from hashlib import sha256
from resource import RUSAGE_SELF, getrusage

import msgpack
import numpy as np
from xxhash import xxh3_64_digest

import rounds
from softmax import Softmax

HANDSHAKE_FRAME, FRAME, INLINE = 16 << 10, (1 << 20) + (64 << 10), 512 << 10
PROFILE, BLOCK, SHARD = "samebit-f32-2/libm-0.2.16", b"samebit-block-1\n", b"samebit-shard-1\n"
CANNOT = "the Python worker only has `softmax`, version 2, with small states, `mean` and `sum`"
TYPES = {it: np.dtype(f"<{it[0]}{int(it[1:]) // 8}") for it in "f32 f64 u64 i64 u8".split()}
EMPTY = (0, {"examples": 0, "sums": {}, "counts": {}, "scores": []}, [])  # A shard without any.


class Split:
    """The examples of a split, received chunk by chunk."""

    def __init__(self, manifest):
        self.manifest, self.lacking = manifest, len(manifest["chunks"])
        self.width, self.dtype = manifest["features"], TYPES[manifest["element"]]
        self.example_bytes = self.width * self.dtype.itemsize + 4
        self.features = np.zeros((manifest["examples"], self.width), np.float32)
        self.labels = np.zeros(manifest["examples"], np.int64)

    def take(self, chunk, data):
        if sha256(data).digest() != self.manifest["chunks"][chunk]:
            raise OSError(f"chunk {chunk} does not have the digest in the manifest")
        first, count = chunk * self.manifest["chunk_examples"], len(data) // self.example_bytes
        features = np.frombuffer(data, self.dtype, count * self.width).reshape(count, self.width)
        self.features[first:][:count] = features.astype("<f4") / np.float32(self.manifest["scale"])
        self.labels[first:][:count] = np.frombuffer(data[-4 * count :], "<u4")
        self.lacking -= 1


class Session:
    """One connection. A method with a capital letter handles the message of that name."""

    def __init__(self, address, name, process):
        self.socket = socket.create_connection(address, 5)
        self.stream, self.sending = self.socket.makefile("rb"), threading.Lock()
        self.runs, self.bases, self.incoming = {}, {}, b""
        self.messages, self.assigned, self.progress = queue.SimpleQueue(), [], []
        memory = {"memory_limit": 1 << 30, "cache_limit": 1 << 29}
        hello = {"magic": "samebit", "protocol": 12, "build": "python-1", "numeric_profile": PROFILE}
        self.send(hello | {"role": {"Worker": memory | {"name": name, "process": process, "slots": 1}}})
        answer, fields = self.receive(HANDSHAKE_FRAME)
        if answer == "Refused":
            raise (OSError if fields["may_pass"] else SystemExit)(fields["reason"])
        self.socket.settimeout(fields["heartbeat_timeout_ms"] / 1000)
        for task in (self.read_messages, self.send_heartbeats):
            threading.Thread(target=task, daemon=True).start()

    def send(self, message):
        body = msgpack.packb(message)
        length = struct.pack(">I", len(body))
        with self.sending:
            self.socket.sendall(length + xxh3_64_digest(length + body) + body)

    def receive(self, limit=FRAME):
        """The name and the fields of the next message."""
        head = self.stream.read(12)
        size = int.from_bytes(head[:4], "big")
        body = self.stream.read(size) if size <= limit else b""
        if len(head) < 12 or len(body) < size or head[4:] != xxh3_64_digest(head[:4] + body):
            raise OSError("the connection was closed, or a frame was damaged")
        message = msgpack.unpackb(body)
        return (message, {}) if isinstance(message, str) else next(iter(message.items()))

    def read_messages(self):
        try:
            while True:
                self.messages.put(self.receive())
        except OSError as error:
            self.messages.put(("Goodbye", {"reason": str(error)}))

    def send_heartbeats(self):
        try:
            while True:
                memory = getrusage(RUSAGE_SELF).ru_maxrss << 10  # The maximum so far.
                self.say("Heartbeat", memory=memory, progress=self.progress)
                time.sleep(1)
        except OSError:
            pass  # `read_messages` gets the error, too.

    def say(self, name, **fields):
        self.send({name: fields})

    def work(self):
        while True:
            ready = [at for at, it in enumerate(self.assigned) if self.is_ready(**it)]
            if ready and self.messages.empty():
                self.process(**self.assigned.pop(ready[0]))
                continue
            name, fields = self.messages.get()
            if name == "Goodbye":
                raise OSError(fields["reason"])
            if name not in ("Heartbeat", "OffersMemory"):
                getattr(self, name)(**fields)

    def OpenRun(self, run, spec, model_version, layout, train, test, **_):
        spec, tensors = tomllib.loads(spec), layout["tensors"]
        size = sum(TYPES[it["element"]].itemsize * np.prod(it["shape"]) for it in tensors)
        is_known = (spec["model"], model_version) == ("softmax", 2) and size <= INLINE
        is_plain = {t["rule"] for t in tensors} <= {"mean", "sum"} and "classes" in train["targets"]
        if not is_known or not is_plain or spec["evaluation"]["labelling"]:
            return self.say("Cannot", run=run, reason=f"{CANNOT}: use another worker")
        self.runs[run] = (spec, tensors, {"train": Split(train), "test": Split(test)})
        self.say("Opened", run=run)
        for split, manifest in ("train", train), ("test", test):
            self.say("NeedChunks", run=run, split=split, chunks=[*range(len(manifest["chunks"]))])

    def CloseRun(self, run):
        self.StepDone({"run": run, "index": 2**64})
        self.runs.pop(run, None)

    def StepDone(self, step):
        run, last = step["run"], step["index"]
        self.bases = {at: it for at, it in self.bases.items() if at[0] != run or at[1] > last}

    def StateSegment(self, step, segment, payload):
        tensors = self.runs[step["run"]][1] if step["run"] in self.runs else []
        self.incoming = payload if segment == 0 else self.incoming + payload
        if segment + 1 == len(tensors):  # A small tensor is one segment.
            base, data = {}, self.incoming
            for it in tensors:
                values = np.frombuffer(data, TYPES[it["element"]], np.prod(it["shape"]))
                base[it["name"]], data = values.reshape(it["shape"]), data[values.nbytes :]
            self.bases[step["run"], step["index"]] = base

    def SameState(self, step, as_of):
        if step["run"] in self.runs:
            self.bases[step["run"], step["index"]] = self.bases[as_of["run"], as_of["index"]]

    def Chunk(self, run, split, chunk, payload):
        if run in self.runs:
            self.runs[run][2][split].take(chunk, payload)

    def Assign(self, **assign):
        if assign["step"]["run"] in self.runs:  # Otherwise the answer was `Cannot`.
            self.assigned.append(assign)

    def Revoke(self, assignment):
        self.assigned = [it for it in self.assigned if it["assignment"] != assignment]

    def is_ready(self, step, plan, **_):
        has_base = (step["run"], step["index"]) in self.bases
        return has_base and self.runs[step["run"]][2][plan["split"]].lacking == 0

    def shard(self, step, plan, first, end):
        """Computes one replica: weight, results and contributions."""
        (spec, tensors, splits), learns = self.runs[step["run"]], plan["task"] == "train"
        split, base = splits[plan["split"]], self.bases[step["run"], step["index"]]
        examples, size, results = np.arange(first, end), max(spec["batch_size"], 64), EMPTY[1]
        if learns:
            cut = split.manifest["examples"], split.manifest["chunk_examples"], split.example_bytes
            window, size = spec["dataset"]["shuffle_window"], spec["batch_size"]
            examples = rounds.order(spec["seed"], plan["epoch"], *cut, window)[first:end]
        replica, values = Softmax(spec["parameters"], base), []
        for at in range(0, len(examples), size):
            batch = examples[at : at + size]
            of = split.features[batch], split.labels[batch], plan["task"]
            results = rounds.add(results, {"scores": []} | replica.process(*of))
        for name, rule in [(it["name"], it["rule"]) for it in tensors if learns]:
            values.append(replica.state[name] - (base[name] if rule == "sum" else 0))
            if not np.isfinite(values[-1]).all():
                raise FloatingPointError(f"tensor `{name}`: expected finite values")
        return len(examples), results, values

    def process(self, assignment, step, block, plan, confirm):
        if confirm:
            self.say("Started", assignment=assignment)
        begun, bounds, tensors = time.monotonic_ns(), plan["positions"], self.runs[step["run"]][1]
        outcomes, told = [EMPTY] * (1 << block["level"]), []
        for place, (first, end) in enumerate(zip(bounds, bounds[1:])):
            replica = (block["index"] << block["level"]) + place
            of = {"assignment": assignment, "shards_done": place, "running": [replica]}
            self.progress, since = [of | {"examples_done": first - bounds[0]}], time.monotonic_ns()
            try:
                outcomes[place] = self.shard(step, plan, first, end) if first < end else EMPTY
            except FloatingPointError as error:
                why = {"replica": replica, "fatal": True, "error": str(error)}
                return self.say("ShardFailed", assignment=assignment, step=step, **why)
            shard = rounds.digest(SHARD, *self.encoded(tensors, *outcomes[place]))
            told.append([shard, (time.monotonic_ns() - since) // 1000])
        weight, results, segments = self.encoded(tensors, *rounds.tree(tensors, outcomes))
        head = struct.pack("<QQBI", step["run"], step["index"], block["level"], block["index"])
        shards, self.progress = [shard for shard, _ in told], []
        digest = rounds.digest(BLOCK + head, weight, results, segments, shards)
        done = {"step": step, "block": block, "weight": weight, "results": results, "shards": told}
        done |= {"digest": digest, "partial_bytes": sum(map(len, segments)), "is_inline": True}
        done["payload"] = b"".join(len(it).to_bytes(4, "big") + it for it in segments)
        self.say("BlockDone", **done, compute_us=(time.monotonic_ns() - begun) // 1000)

    def encoded(self, tensors, weight, results, values):
        """Values as merge segments. A small tensor is one segment."""
        return weight, results, [it.tobytes() for it in values] or [b""] * len(tensors)


def main():
    where, name = sys.argv[1:] if len(sys.argv) == 3 else sys.exit(__doc__)
    (host, port), process, session = where.rsplit(":", 1), secrets.randbits(64), None
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while True:
            try:
                session = Session((host, int(port)), name, process)
                session.work()
            except OSError as error:
                print(f"no connection to {where}: {error}", file=sys.stderr)
                time.sleep(1)
    except KeyboardInterrupt:
        return session and session.send("Goodbye")


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
