"""The model `softmax`, with its own `exp` and `ln`: sections 13.7 and 13.8 of docs/PROTOCOL.md."""

import numpy as np

F32, F64, U32, U64 = np.float32, np.float64, np.uint32, np.uint64
HIGH, LOW, INVERSE, P1, P2 = np.array(
    [0x3F317200, 0x35BFBE8E, 0x3FB8AA3B, 0x3E2AAA8F, 0xBB355215], U32
).view(F32)
LN2_HIGH, LN2_LOW, *LG = np.array(
    [0x3FE62E42FEE00000, 0x3DEA39EF35793C76, 0x3FE5555555555593, 0x3FD999999997FA04,
     0x3FD2492494229359, 0x3FCC71C51D8E78AF, 0x3FC7466496CB03DE, 0x3FC39A09D078C69F,
     0x3FC2F112DF3E5244], U64).view(F64)  # fmt: skip


def exp(x):
    """`exp` of f32 values that are not above 0, or NaN."""
    size = x.view(U32) & U32(0x7FFFFFFF)
    k = np.where(size > 0x3F851592, np.trunc(INVERSE * x + F32(-0.5)), F32(-1))
    k = np.where((size > 0x3EB17218) & (size < 0x42CFF1B5), k, F32(0))
    high, low = x - k * HIGH, k * LOW
    r = high - low
    c = r - r * r * (P1 + r * r * P2)
    y = np.ldexp((F32(1) + (r * c / (F32(2) - c) - low + high)).astype(F64), k.astype(np.int32))
    y = np.where(size <= 0x39000000, F32(1) + x, np.where(size >= 0x42CFF1B5, F32(0), y.astype(F32)))
    return np.where(size > 0x7F800000, x, y)


def ln(x):
    """`ln` of f64 values from 1 up, or NaN."""
    bits = x.view(U64)
    top = (bits >> U64(32)) + U64(0x3FF00000 - 0x3FE6A09E)
    k = (top >> U64(20)).astype(F64) - 1023
    top = (top & U64(0xFFFFF)) + U64(0x3FE6A09E)
    f = ((top << U64(32)) | (bits & U64(0xFFFFFFFF))).view(F64) - 1.0
    half, s = 0.5 * f * f, f / (2.0 + f)
    z, w = s * s, (s * s) * (s * s)
    even = w * (LG[1] + w * (LG[3] + w * LG[5]))
    odd = z * (LG[0] + w * (LG[2] + w * (LG[4] + w * LG[6])))
    y = s * (half + (odd + even)) + k * LN2_LOW - half + f + k * LN2_HIGH
    return np.where(np.isfinite(x), y, x)


class Softmax:
    """A replica that computes one shard."""

    def __init__(self, parameters, base):
        self.rate, self.decay = F32(parameters["learning_rate"]), F32(parameters["weight_decay"])
        self.state = {name: values.copy() for name, values in base.items()}

    def process(self, features, labels, task):
        """Evaluates or predicts a batch, or learns from it, and returns its results."""
        weights, bias, rows = self.state["weights"], self.state["bias"], np.arange(len(labels))
        outputs, found = np.zeros((len(labels), len(bias)), F32), np.zeros(len(labels), np.int64)
        for at, row in enumerate(weights):
            outputs += features[:, at, None] * row
        outputs += bias
        for at in range(1, len(bias)):
            found = np.where(outputs[:, at] > outputs[rows, found], at, found)
        largest = outputs[rows, found]
        above, delta = largest - outputs[rows, labels], exp(outputs - largest[:, None])
        total = np.add.accumulate(delta, axis=1)[:, -1]
        losses = np.add.accumulate(ln(total.astype(F64)) + above.astype(F64))
        delta /= total[:, None]
        if task == "predict":
            scores = delta.ravel().tolist()
            return {"examples": len(rows), "sums": {}, "counts": {}, "scores": scores}
        delta[rows, labels] -= F32(1)
        counts = {"correct": [int((found == labels).sum())]}
        if len(bias) <= 128:
            pairs = np.bincount(labels * len(bias) + found, minlength=len(bias) ** 2)
            counts["confusion"] = pairs.tolist()
        if task == "train":
            for_weights, for_bias = np.zeros_like(weights), np.zeros_like(bias)
            for inputs, change in zip(features, delta):
                for_weights += inputs[:, None] * change
                for_bias += change
            for it, decay, change in ((weights, self.decay, for_weights), (bias, F32(0), for_bias)):
                it -= self.rate * (change * (F32(1) / F32(len(labels))) + decay * it)
                it[np.abs(it) < F32(1e-20)] = 0  # NaN stays.
            self.state["examples"] += U64(len(labels))
        return {"examples": len(rows), "sums": {"loss": float(losses[-1])}, "counts": counts}
