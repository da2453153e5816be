#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
The rows of primes_c.c in asyncio and concurrent.futures.

    primes_asyncio.py [--quick]

A job takes twenty times as long as in C, so there are fewer of them.
"""
import asyncio
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

PRIME = 9999999967


def is_prime(n):
    if n % 2 == 0:
        return n == 2
    divisor = 3
    while divisor * divisor <= n:
        if n % divisor == 0:
            return False
        divisor += 2
    return n > 1


async def pool(executor, jobs):
    loop = asyncio.get_running_loop()
    return sum(await asyncio.gather(*[
        loop.run_in_executor(executor, is_prime, PRIME)
        for _ in range(jobs)]))


async def serial(_, jobs):
    return sum(is_prime(PRIME) for _ in range(jobs))


async def main(jobs):
    with ProcessPoolExecutor(2) as processes, ThreadPoolExecutor(2) as threads:
        await pool(processes, 2)  # they are made at first use
        for row, run, executor in (("serial", serial, None),
                                   ("threads", pool, threads),
                                   ("processes", pool, processes)):
            start = time.perf_counter()
            found = await run(executor, jobs)
            took = time.perf_counter() - start
            assert found == jobs
            print(f"peer=asyncio row={row} wall_ns={took / jobs * 1e9:.0f}")


if __name__ == "__main__":
    asyncio.run(main(20 if "--quick" in sys.argv[1:] else 60))
