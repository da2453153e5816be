// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_stream_unix.c: the suite of streams over Unix sockets. All that is lent
 * is four receive buffers of 64 bytes: most bytes have to be joined.
 */
#include "stream_kind.h"

static int make_pair(struct coil_stream *ends[2], size_t bytes)
{
    struct pair pair = unix_pair();
    if (bytes) {
        set_int(pair.a, SOL_SOCKET, SO_SNDBUF, (int)bytes);
        set_int(pair.b, SOL_SOCKET, SO_SNDBUF, (int)bytes);
    }
    return streams_over(pair, ends);
}

static const struct stream_kind stream_kind = {
    .make_pair = make_pair,
    .options = { .recv_buffers = 4, .recv_buffer_bytes = 64 },
    .held_most = 1 << 20,
    .half_close = true,
    .is_sent_when_read = true,
};

#include "stream_suite.h"
