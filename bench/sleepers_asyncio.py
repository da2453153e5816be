#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
The sleeping tasks of sleepers.h in asyncio.

    sleepers_asyncio.py [--tasks N] [--seconds S]

100,000 tasks unless told otherwise: a million takes 1.3 GB and 20 seconds.
"""
import argparse
import asyncio
import time


def proc_bytes(path, field):
    with open(path) as lines:
        for line in lines:
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    raise SystemExit(f"{path}: no {field}")


async def main(tasks, seconds):
    ended = 0

    async def sleeper(delay):
        nonlocal ended
        await asyncio.sleep(delay)
        ended += 1

    empty = proc_bytes("/proc/self/smaps_rollup", "Rss:")
    start, cpu = time.monotonic(), time.process_time()
    handles = [asyncio.create_task(sleeper(seconds + i % 1000 / 1000))
               for i in range(tasks)]
    await asyncio.sleep(0)  # every sleeper takes its first step
    spawned = time.process_time()
    asleep = proc_bytes("/proc/self/smaps_rollup", "Rss:")
    if ended:
        raise SystemExit("some were awake before all slept: "
                         "give more --seconds")
    await asyncio.gather(*handles)
    peak = proc_bytes("/proc/self/status", "VmHWM:")
    print(f"peer=asyncio tasks={tasks}"
          f" bytes_per_task={(asleep - empty) / tasks:.1f}"
          f" peak_bytes_per_task={(peak - empty) / tasks:.1f}"
          f" spawn_ns={(spawned - cpu) / tasks * 1e9:.1f}"
          f" cpu_s={time.process_time() - cpu:.3f}"
          f" wall_s={time.monotonic() - start:.3f}")


parser = argparse.ArgumentParser()
parser.add_argument("--tasks", type=int, default=100000)
parser.add_argument("--seconds", type=float, default=2)
options = parser.parse_args()
asyncio.run(main(options.tasks, options.seconds))
