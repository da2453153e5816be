// SPDX-License-Identifier: MIT
/*
 * test_stream_tls_tls.c: the suite of streams for TLS over TLS, as through a
 * proxy that speaks TLS itself.
 */
#include "tls_kit.h"

static int make_pair(struct coil_stream *ends[2], size_t bytes)
{
    struct coil_stream *lower[2], *between[2];
    int err = coil_stream_pair(lower, bytes);
    if (err == 0)
        err = kit_over(lower, between);
    return err < 0 ? err : kit_over(between, ends);
}

static const struct stream_kind stream_kind = {
    .make_pair = make_pair,
    .held_most = 131072,
    .half_close = true,
    .abort_resets = true,
    .tells_of_a_cut = true,
    .close_writes = true,
};

#include "net/stream_suite.h"
