#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
The rows of sync_c.c in asyncio.

    sync_asyncio.py [--quick] [--uvloop]

asyncio has no queue that hands items over without storing one: no row queue_0.
"""
import asyncio
import sys
import time


async def contend(n, tasks, lock):
    async def one():
        for _ in range(n // tasks):
            async with lock:
                await asyncio.sleep(0)
    await asyncio.gather(*[one() for _ in range(tasks)])


async def lock_2(n):
    await contend(n, 2, asyncio.Lock())


async def lock_100(n):
    await contend(n, 100, asyncio.Lock())


async def semaphore(n):
    await contend(n, 100, asyncio.Semaphore(10))


async def hand_over(n, limit):
    queue = asyncio.Queue(limit)

    async def producer():
        for i in range(n):
            await queue.put(i)

    async def consumer():
        total = 0
        for _ in range(n):
            total += await queue.get()
    await asyncio.gather(producer(), consumer())


async def queue_1(n):
    await hand_over(n, 1)


async def queue_100(n):
    await hand_over(n, 100)


async def wake(n, wait, notify):
    """1000 waiters, all of them woken n / 1000 times."""
    waiting = 0

    async def waiter():
        nonlocal waiting
        for _ in range(n // 1000):
            waiting += 1
            await wait()

    waiters = [asyncio.create_task(waiter()) for _ in range(1000)]
    for _ in range(n // 1000):
        while waiting < 1000:
            await asyncio.sleep(0)
        waiting = 0
        await notify()
    await asyncio.gather(*waiters)


async def event(n):
    event = asyncio.Event()

    async def notify():
        event.set()
        event.clear()
    await wake(n, event.wait, notify)


async def condition(n):
    condition = asyncio.Condition()

    async def wait():
        async with condition:
            await condition.wait()

    async def notify():
        async with condition:
            condition.notify_all()
    await wake(n, wait, notify)


async def child(argument):
    return argument + 1


async def group(n):
    for _ in range(n // 1000):
        async with asyncio.TaskGroup() as group:
            for i in range(1000):
                group.create_task(child(i))


async def gather(n):
    total = 0
    for _ in range(n // 1000):
        for result in await asyncio.gather(*[child(i) for i in range(1000)]):
            total += result


async def generator(n):
    async def count():
        for i in range(n):
            yield i
    total = 0
    async for item in count():
        total += item


async def main(peer, seconds, repetitions):
    for row in (lock_2, lock_100, semaphore, queue_1, queue_100, event,
                condition, group, gather, generator):
        n, took = 1000, 0
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
        print(f"peer={peer} row={row.__name__} ns={ns[len(ns) // 2]:.1f}"
              f" best_ns={ns[0]:.1f} n={n}")


quick, peer = "--quick" in sys.argv[1:], "asyncio"
if "--uvloop" in sys.argv[1:]:
    import uvloop
    uvloop.install()
    peer = "uvloop"
asyncio.run(main(peer, 0.01 if quick else 0.03, 3))
