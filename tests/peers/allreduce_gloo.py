"""Rounds of gloo's allreduce: every process gets the sum of what all have, in float32.

Usage: allreduce_gloo.py WORKERS BYTES ROUNDS
The first process prints the milliseconds of each round, one per line.
"""

import multiprocessing
import os
import sys
import tempfile
import time

import torch
import torch.distributed


def work(rank, workers, values, rounds, rendezvous):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=workers
    )
    result = torch.empty(values)
    for _ in range(rounds):
        # It is replaced by the sum, and must stay finite.
        result.fill_(1.0)
        start = time.perf_counter()
        torch.distributed.all_reduce(result)
        if rank == 0:
            print(f"{(time.perf_counter() - start) * 1e3:.6f}", flush=True)
    torch.distributed.destroy_process_group()


def main():
    if len(sys.argv) != 4:
        sys.exit("usage: allreduce_gloo.py WORKERS BYTES ROUNDS")
    workers, size, rounds = map(int, sys.argv[1:])
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    # Forked, so that the library is loaded once.
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        arguments = (workers, size // 4, rounds, os.path.join(folder, "rendezvous"))
        processes = [context.Process(target=work, args=(rank, *arguments)) for rank in range(workers)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    sys.exit(any(process.exitcode for process in processes))


main()
