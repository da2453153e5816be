#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
The rows of core_c.c in asyncio, for those who come from there.

    core_asyncio.py [--quick]

Python has no frame in place: call_heap is an ordinary `await child()`.
"""
import asyncio
import sys
import time
import types


@types.coroutine
def ticker():
    while True:
        yield


async def resume(n):
    step = ticker().send
    for _ in range(n):
        step(None)


async def yield_(n):
    async def task(n):
        for _ in range(n):
            await asyncio.sleep(0)
    await asyncio.gather(*[task(n // 100) for _ in range(100)])


async def await_done(n):
    done = asyncio.get_running_loop().create_future()
    done.set_result(1)
    for _ in range(n):
        await done


async def child(argument):
    return argument + 1


async def call_heap(n):
    for i in range(n):
        await child(i)


async def spawn_1(n):
    for i in range(n):
        await asyncio.create_task(child(i))


async def spawn_1000(n):
    for _ in range(n // 1000):
        children = [asyncio.create_task(child(i)) for i in range(1000)]
        for one in children:
            await one


async def main(seconds, repetitions):
    for row in (resume, yield_, await_done, call_heap, spawn_1, spawn_1000):
        n, took = 2000, 0
        while took < seconds / 2:
            n *= 2
            start = time.process_time()
            await row(n)
            took = time.process_time() - start
        ns = []
        for _ in range(repetitions):
            start = time.process_time()
            await row(n)
            ns.append((time.process_time() - start) / n * 1e9)
        ns.sort()
        print(f"peer=asyncio row={row.__name__.rstrip('_')}"
              f" ns={ns[len(ns) // 2]:.1f} best_ns={ns[0]:.1f} n={n}")


quick = "--quick" in sys.argv[1:]
asyncio.run(main(0.01 if quick else 0.05, 3 if quick else 5))
