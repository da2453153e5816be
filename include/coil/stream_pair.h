// SPDX-License-Identifier: MIT
#ifndef COIL_STREAM_PAIR_H
#define COIL_STREAM_PAIR_H

/*
 * stream_pair.h: two connected streams in the memory of one loop. What is
 * written to one of them is read from the other. There is no descriptor and no
 * system call, so each test of a protocol sees the same order of events:
 *
 *     COROUTINE(greeting_is_answered, struct coil_stream *ends[2];
 *               struct coil_task *server; char answer[6];)
 *     {
 *         ASYNC(greeting_is_answered, my) {
 *             if (coil_stream_pair(my->ends, 0) < 0)
 *                 FAIL(-ENOMEM);
 *             my->server = SPAWN(serve, .peer = my->ends[1]);
 *             AWAIT(coil_stream_write(my->ends[0], "hello\n", 6));
 *             AWAIT(coil_stream_read_exactly(my->ends[0], my->answer, 6));
 *             assert(memcmp(my->answer, "world\n", 6) == 0);
 *
 *         FINALLY;
 *             AWAIT(coil_stream_close(my->ends[0])); // and serve() closes its
 *         }
 *     }
 *
 * To see how serve() takes a peer that is slow, read little by little; one that
 * dies, coil_stream_abort().
 */

#include <coil/api.h>
#include <coil/stream.h>

COIL_BEGIN_DECLS

/*
 * Make two connected streams. Each does what stream.h says, and exactly:
 *
 *   - a write is done when its last byte is in the buffer of the other stream,
 *     which holds at most `buffer_bytes`; while a coil_stream_fill() waits for
 *     more, as many as it wants. A byte in that buffer has been received;
 *   - after coil_stream_close() the other stream reads what it has received,
 *     and then the end; its writes fail with -EPIPE;
 *   - after coil_stream_abort() the other stream reads what it has received;
 *     then its fills fail with -ECONNRESET, and so do its writes at once;
 *   - coil_stream_is_sent() is true when the other stream has consumed all
 *     bytes, or is closed;
 *   - coil_stream_fd() is -1.
 *
 * A stream has a buffer only while it holds bytes, so a pair that is idle has
 * none. A write that begins while there is none allocates it.
 *
 * Units     buffer_bytes: of each of the two streams; 0: 65536
 * Result    0: ends[0] and ends[1] are the streams
 * Errors    -ENOMEM
 * Lifetime  gives both (coil_stream_close). The loop's memory: a stream that is
 *           still open when the loop is closed is freed, and not reported
 * Source    trio.testing.memory_stream_pair(), tokio::io::duplex();
 *           socketpair(2)
 */
COIL_API COIL_NODISCARD int coil_stream_pair(struct coil_stream *ends[2],
                                             size_t buffer_bytes);

COIL_END_DECLS

#endif
