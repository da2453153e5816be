#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
tls_echo_coil.c in asyncio: an echo server over TLS, with a timer beside it.

    tls_echo_asyncio.py CERTIFICATE-AND-KEY
"""
import asyncio
import signal
import ssl
import statistics
import sys

PERIOD = 0.010
late = []
counts = {"open": 0, "handshakes": 0}


class Echo(asyncio.Protocol):
    def connection_made(self, transport):  # after the handshake
        self.transport = transport
        counts["open"] -= 1
        counts["handshakes"] += 1

    def data_received(self, data):
        self.transport.write(data)


def new_connection():  # when TCP is accepted
    counts["open"] += 1
    return Echo()


async def tick(loop):
    while True:
        deadline = loop.time() + PERIOD
        await asyncio.sleep(PERIOD)
        if counts["open"] > 0:
            late.append((loop.time() - deadline) * 1e6)


async def main():
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(sys.argv[1])
    server = await loop.create_server(new_connection, "127.0.0.1", 0,
                                      backlog=4096, ssl=context)
    port = server.sockets[0].getsockname()[1]
    print(f"listening on 127.0.0.1:{port}", flush=True)
    end = loop.create_future()
    loop.add_signal_handler(signal.SIGTERM, end.set_result, None)
    ticks = asyncio.create_task(tick(loop))
    await end
    ticks.cancel()
    print(f"handshakes={counts['handshakes']}")
    if late:
        print(f"peer=asyncio worst_us={max(late):.1f} "
              f"median_us={statistics.median(late):.1f} n={len(late)}",
              flush=True)
    sys.stdout.flush()


asyncio.run(main())
