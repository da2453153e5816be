// SPDX-License-Identifier: MIT
#ifndef COIL_RESULT_H
#define COIL_RESULT_H

/*
 * result.h: a result without a future: an integer, a double, a pointer, or an
 * error and its detail. A future belongs to its loop; a result may be passed to
 * another thread.
 *
 *     static struct coil_result count(void *arg)
 *     {
 *         FILE *file = fopen(arg, "r");
 *         if (!file)
 *             return coil_result_error(-errno);
 *         ...
 *         return coil_result_int(lines);
 *     }
 */

#include <coil/api.h>

COIL_BEGIN_DECLS

enum coil_result_kind {
    COIL_RESULT_INT,
    COIL_RESULT_UINT, /* an integer above INT64_MAX */
    COIL_RESULT_DOUBLE,
    COIL_RESULT_POINTER,
    COIL_RESULT_ERROR
};

struct coil_result {
    enum coil_result_kind kind;
    int err; /* 0 unless the kind is COIL_RESULT_ERROR */
    uint32_t detail;
    union {
        int64_t i;
        uint64_t u;
        double d;
        void *p;
    } value;
};

/* A result of each kind. Memory behind a pointer stays its owner's. */
static inline struct coil_result coil_result_int(int64_t value)
{
    struct coil_result r = { COIL_RESULT_INT, 0, 0, { 0 } };
    r.value.i = value;
    return r;
}

static inline struct coil_result coil_result_double(double value)
{
    struct coil_result r = { COIL_RESULT_DOUBLE, 0, 0, { 0 } };
    r.value.d = value;
    return r;
}

static inline struct coil_result coil_result_pointer(void *value)
{
    struct coil_result r = { COIL_RESULT_POINTER, 0, 0, { 0 } };
    r.value.p = value;
    return r;
}

static inline struct coil_result coil_result_error_detail(int err,
                                                          uint32_t detail)
{
    struct coil_result r = { COIL_RESULT_ERROR, err, detail, { 0 } };
    return r;
}

static inline struct coil_result coil_result_error(int err)
{
    return coil_result_error_detail(err, 0);
}

COIL_END_DECLS

#endif
