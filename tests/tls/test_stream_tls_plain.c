// SPDX-License-Identifier: MIT
/*
 * test_stream_tls_plain.c: the suite of streams for TLS over streams whose
 * tables have nothing that may be NULL but abort: they cannot be watched.
 */
#include "tls_kit.h"

static struct coil_stream_ops plain_ops;

static int make_pair(struct coil_stream *ends[2], size_t bytes)
{
    struct coil_stream *lower[2];
    int err = coil_stream_pair(lower, bytes);
    if (err < 0)
        return err;
    plain_ops = *lower[0]->ops;
    plain_ops.watch = NULL;
    plain_ops.is_reusable = NULL;
    plain_ops.is_sent = NULL;
    lower[0]->ops = lower[1]->ops = &plain_ops;
    return kit_over(lower, ends);
}

static const struct stream_kind stream_kind = {
    .make_pair = make_pair,
    .held_most = 65536,
    .half_close = true,
    .abort_resets = true,
    .tells_of_a_cut = true,
    .close_writes = true,
    .watch_fills = true,
};

#include "net/stream_suite.h"
