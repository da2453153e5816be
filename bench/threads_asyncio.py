#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
The rows of threads_c.c in asyncio.

    threads_asyncio.py [--quick] [--uvloop]

asyncio has no channel between loops; this one is call_soon_threadsafe into a
queue, with a semaphore of 100 that is filled again 50 at a time.
"""
import asyncio
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

executor = ThreadPoolExecutor(4)


def increment(argument):
    return argument + 1


async def child(argument):
    return argument + 1


class OtherLoop:
    """A loop in a thread of its own."""

    def __enter__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        return self.loop

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


async def executor_1(n):
    loop = asyncio.get_running_loop()
    total = 0
    for i in range(n):
        total += await loop.run_in_executor(executor, increment, i)


async def executor_1000(n):
    loop = asyncio.get_running_loop()
    total = 0
    for _ in range(n // 1000):
        jobs = [loop.run_in_executor(executor, increment, i)
                for i in range(1000)]
        total += sum(await asyncio.gather(*jobs))


async def ping(n):
    here, done = asyncio.get_running_loop(), asyncio.Event()
    with OtherLoop() as there:
        left = n

        def pong():
            here.call_soon_threadsafe(back)

        def back():
            nonlocal left
            left -= 1
            if left:
                there.call_soon_threadsafe(pong)
            else:
                done.set()
        there.call_soon_threadsafe(pong)
        await done.wait()


async def submit(n):
    here = asyncio.get_running_loop()

    def thread():
        total = 0
        for i in range(n):
            total += asyncio.run_coroutine_threadsafe(child(i), here).result()
    await here.run_in_executor(executor, thread)


async def channel(n):
    here, queue = asyncio.get_running_loop(), asyncio.Queue()
    room = asyncio.Semaphore(100)

    def more_room():
        for _ in range(50):
            room.release()

    async def produce():
        for i in range(n):
            await room.acquire()
            here.call_soon_threadsafe(queue.put_nowait, i)

    with OtherLoop() as there:
        producer = asyncio.run_coroutine_threadsafe(produce(), there)
        total = 0
        for i in range(1, n + 1):
            total += await queue.get()
            if i % 50 == 0:
                there.call_soon_threadsafe(more_room)
        producer.result()


async def main(peer, seconds, repetitions):
    for row in executor_1, executor_1000, ping, submit, channel:
        n, took = 500, 0
        while took < seconds / 2:
            n *= 2
            start = time.perf_counter()
            await row(n)
            took = time.perf_counter() - start
        cpu, wall = [], []
        for _ in range(repetitions):
            start, cpu_start = time.perf_counter(), time.process_time()
            await row(n)
            cpu.append((time.process_time() - cpu_start) / n * 1e9)
            wall.append((time.perf_counter() - start) / n * 1e9)
        cpu.sort()
        wall.sort()
        print(f"peer={peer} row={row.__name__} ns={cpu[len(cpu) // 2]:.1f}"
              f" wall_ns={wall[len(wall) // 2]:.1f} n={n}")


quick, peer = "--quick" in sys.argv[1:], "asyncio"
if "--uvloop" in sys.argv[1:]:
    import uvloop
    uvloop.install()
    peer = "uvloop"
asyncio.run(main(peer, 0.01 if quick else 0.03, 3))
