// SPDX-License-Identifier: MIT
#ifndef STREAM_KIND_H
#define STREAM_KIND_H

/* stream_kind.h: what stream_suite.h has to know of a kind of stream. */

#include "peer.h"

struct stream_kind {
    /*
     * Make two connected streams, each of which buffers about `bytes`; 0: the
     * size does not matter. Result: 0, or -ENOMEM with nothing made.
     */
    int (*make_pair)(struct coil_stream *ends[2], size_t bytes);
    /* Of the loop. */
    struct coil_loop_options options;
    /* The most that two streams of 4096 bytes hold for a reader that waits. */
    size_t held_most;
    /* After write_eof a stream can read on. */
    bool half_close;
    /* The peer of a stream that aborts gets -ECONNRESET; else it may see the
     * end. */
    bool abort_resets;
    /* is_sent is false until the peer has received. */
    bool is_sent_when_read;
    /* The peer of a stream whose write was cancelled in the middle, and that
     * is closed then, gets COIL_EINCOMPLETE; else the end. */
    bool tells_of_a_cut;
    /* To close writes to another stream, which allocates. */
    bool close_writes;
    /* A watch is a fill of another stream, which allocates. */
    bool watch_fills;
};

/* Two streams, which take the descriptors. 0, or -ENOMEM. */
static inline int streams_over(struct pair pair, struct coil_stream *ends[2])
{
    ends[0] = coil_stream_new(pair.a);
    ends[1] = coil_stream_new(pair.b);
    if (ends[0] && ends[1])
        return 0;
    for (int i = 0; i < 2; i++) {
        if (ends[i])
            coil_stream_close_soon(ends[i]);
        else
            close(i == 0 ? pair.a : pair.b);
    }
    return -ENOMEM;
}

#endif
