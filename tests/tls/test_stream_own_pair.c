// SPDX-License-Identifier: MIT
/*
 * test_stream_own_pair.c: the suite of streams for TLS of coil's own engine over the
 * in-memory pair.
 */
#define KIT_CLIENT_ENGINE coil_tls_own_engine
#define KIT_SERVER_ENGINE coil_tls_own_engine

#include "tls_kit.h"

static int make_pair(struct coil_stream *ends[2], size_t bytes)
{
    struct coil_stream *lower[2];
    int err = coil_stream_pair(lower, bytes);
    return err < 0 ? err : kit_over(lower, ends);
}

static const struct stream_kind stream_kind = {
    .make_pair = make_pair,
    .held_most = 65536,
    .half_close = true,
    .abort_resets = true,
    .tells_of_a_cut = true,
    .close_writes = true, /* a pair allocates its buffer */
};

#include "net/stream_suite.h"
