// SPDX-License-Identifier: MIT
#ifndef COILI_STREAM_H
#define COILI_STREAM_H

/*
 * stream.h: what stands behind a stream. TCP is in stream.c; a layer such as
 * TLS fills in the same table.
 */

#include <coil/stream.h>

struct coil_stream_ops {
    struct coil_future *(*fill)(struct coil_stream *stream, size_t want);
    size_t (*peek)(struct coil_stream *stream, char **data);
    void (*consume)(struct coil_stream *stream, size_t n);
    bool (*at_end)(const struct coil_stream *stream);
    struct coil_future *(*write)(struct coil_stream *stream, const void *buf,
                                 size_t len);
    struct coil_future *(*write_eof)(struct coil_stream *stream);
    /* A future of a class, to be detached; made without memory. */
    struct coil_future *(*close)(struct coil_stream *stream);
    int (*fd)(const struct coil_stream *stream);
};

/* The head of a stream; its own fields follow. */
struct coil_stream {
    const struct coil_stream_ops *ops;
};

#endif
