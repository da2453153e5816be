#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
The timer of late.h in asyncio.

    late_asyncio.py [--step US] [--seconds S]
"""
import argparse
import asyncio
import statistics
import time

TASKS, PERIOD = 20, 0.010


async def main(step, seconds):
    end = time.monotonic() + seconds
    late = []

    async def busy():
        while time.monotonic() < end:
            until = time.monotonic() + step
            while step and time.monotonic() < until:
                pass
            await asyncio.sleep(0)

    loop = asyncio.get_running_loop()
    tasks = [asyncio.create_task(busy()) for _ in range(TASKS)]
    while time.monotonic() < end:
        came = loop.create_future()
        deadline = loop.time() + PERIOD
        loop.call_at(deadline, came.set_result, None)
        await came
        late.append((loop.time() - deadline) * 1e6)
    await asyncio.gather(*tasks)
    print(f"peer=asyncio worst_us={max(late):.1f} "
          f"median_us={statistics.median(late):.1f} n={len(late)}")


parser = argparse.ArgumentParser()
parser.add_argument("--step", type=float, default=0)
parser.add_argument("--seconds", type=float, default=1)
options = parser.parse_args()
asyncio.run(main(options.step / 1e6, options.seconds))
