#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
The job of http_client.h on aiohttp.

    http_aiohttp.py PORT PATH REQUESTS PARALLEL [workers | semaphore]

`workers`: PARALLEL tasks that take the next number until none is left.
`semaphore`: a task per request, admitted by a Semaphore(PARALLEL), the form
that most programs have.
"""
import asyncio
import sys
import time

import aiohttp

port, path, requests, parallel = sys.argv[1:5]
requests, parallel = int(requests), int(parallel)
form = sys.argv[5] if len(sys.argv) > 5 else "workers"
url = f"http://127.0.0.1:{port}{path}"


def proc_kib(path, field):
    with open(path) as lines:
        for line in lines:
            if line.startswith(field):
                return int(line.split()[1])
    raise SystemExit(f"{path}: no {field}")


async def fetch(session, i):
    async with session.get(url.replace("%", str(i), 1)) as response:
        if response.status != 200:
            raise SystemExit(f"status {response.status}")
        return len(await response.read())


async def run_workers(session):
    numbers = iter(range(requests))

    async def worker():
        return sum([await fetch(session, i) for i in numbers])

    return sum(await asyncio.gather(*[worker() for _ in range(parallel)]))


async def run_semaphore(session):
    limit = asyncio.Semaphore(parallel)

    async def one(i):
        async with limit:
            return await fetch(session, i)

    return sum(await asyncio.gather(*[one(i) for i in range(requests)]))


async def main():
    run = {"workers": run_workers, "semaphore": run_semaphore}[form]
    start, cpu = time.monotonic(), time.process_time()
    connector = aiohttp.TCPConnector(limit=parallel)
    async with aiohttp.ClientSession(connector=connector) as session:
        body_bytes = await run(session)
        took, cpu = time.monotonic() - start, time.process_time() - cpu
    print(f"requests={requests} parallel={parallel} bytes={body_bytes}"
          f" seconds={took:.6f} req_per_s={requests / took:.0f}"
          f" cpu_us={cpu / requests * 1e6:.3f}"
          f" peak_kib={proc_kib('/proc/self/status', 'VmHWM:')}")


asyncio.run(main())
