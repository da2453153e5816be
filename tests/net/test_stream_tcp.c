// SPDX-License-Identifier: MIT
/*
 * test_stream_tcp.c: the suite of streams over TCP, with receive buffers that
 * are larger than most of what is sent.
 */
#include "stream_kind.h"

/* With a window of 4 KiB the kernel waits 40 ms for each acknowledgement. */
static int make_pair(struct coil_stream *ends[2], size_t bytes)
{
    return streams_over(tcp_pair(bytes ? 65536 : 0), ends);
}

static const struct stream_kind stream_kind = {
    .make_pair = make_pair,
    .held_most = 1 << 20,
    .half_close = true,
    .abort_resets = true,
};

#include "stream_suite.h"
