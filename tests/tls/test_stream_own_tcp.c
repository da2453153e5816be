// SPDX-License-Identifier: MIT
/*
 * test_stream_own_tcp.c: the suite of streams for TLS of coil's own engine
 * over TCP.
 */
#define KIT_CLIENT_ENGINE coil_tls_own_engine
#define KIT_SERVER_ENGINE coil_tls_own_engine

#include "tls_kit.h"

/* With a window of 4 KiB the kernel waits 40 ms for each acknowledgement. */
static int make_pair(struct coil_stream *ends[2], size_t bytes)
{
    struct coil_stream *lower[2];
    int err = streams_over(tcp_pair(bytes ? 65536 : 0), lower);
    return err < 0 ? err : kit_over(lower, ends);
}

static const struct stream_kind stream_kind = {
    .make_pair = make_pair,
    .held_most = 1 << 20,
    .half_close = true,
    .abort_resets = true,
    .tells_of_a_cut = true,
};

#include "net/stream_suite.h"
