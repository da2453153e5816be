#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
The TCP echo server on asyncio streams.

    echo_asyncio.py

Prints "listening on 127.0.0.1:PORT" and serves until it is killed.
"""
import asyncio


async def echo(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()


async def main():
    server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=4096)
    port = server.sockets[0].getsockname()[1]
    print(f"listening on 127.0.0.1:{port}", flush=True)
    await server.serve_forever()


asyncio.run(main())
