// SPDX-License-Identifier: MIT
#ifndef COIL_ERROR_H
#define COIL_ERROR_H

/*
 * error.h: one int says how it went.
 *
 * 0 or a count is success; -errno is the system's word; the codes below stand
 * under -4095, where no errno reaches. There is no global errno: it would not
 * survive an await.
 *
 * Beside an error travels a 32-bit detail: in which phase it happened and a
 * code of that phase (a getaddrinfo code, a parser's reason).
 */

#include <coil/api.h>

COIL_BEGIN_DECLS

enum {
    COIL_EEND = -4096,          /* the source has no more items */
    COIL_EINCOMPLETE = -4097,   /* the peer ended before all bytes were there */
    COIL_ELIMIT = -4098,        /* more bytes than the limit allows */
    COIL_ECLOSED = -4099,       /* the object was closed meanwhile */
    COIL_ESTOPPED = -4100,      /* the loop was stopped before the end */
    COIL_ERESOLVE = -4101,      /* the name does not resolve; code: EAI_* */
    COIL_EURL = -4102,          /* not a URL that coil can fetch */
    COIL_EPROTOCOL = -4103,     /* the peer broke the protocol; code: reason */
    COIL_EDISCONNECTED = -4104, /* the peer closed before it answered */
    COIL_EBROKEN = -4105,       /* a party that it needs has gone */
    COIL_ENOTREADY = -4106,     /* the task ended before it was ready */
    COIL_ENOTHREAD = -4107      /* no thread can be started */
};

/* Where a request was when it failed; upper 8 bits of a detail. */
enum coil_phase {
    COIL_PHASE_NONE,
    COIL_PHASE_RESOLVE,
    COIL_PHASE_POOL,
    COIL_PHASE_CONNECT,
    COIL_PHASE_SEND,
    COIL_PHASE_HEADERS,
    COIL_PHASE_BODY
};

/* Why a task was cancelled; the code in the detail of -ECANCELED. */
enum coil_cancel_reason {
    COIL_CANCEL_USER,
    COIL_CANCEL_TIMEOUT,
    COIL_CANCEL_GROUP,
    COIL_CANCEL_INTERRUPT
};

#define COIL_DETAIL(phase, code) \
    ((uint32_t)(phase) << 24 | ((uint32_t)(code) & 0xffffffu))
#define COIL_DETAIL_PHASE(detail) ((enum coil_phase)((detail) >> 24))
#define COIL_DETAIL_CODE(detail) \
    ((int)(((detail) & 0xffffffu) ^ 0x800000u) - 0x800000)

/*
 * The words for an error number: the system's for -errno, ours for COIL_E*.
 *
 * Result    a string without a newline; "Success" for err >= 0
 * Lifetime  static for COIL_E*; the C library's for -errno
 * Source    strerrordesc_np(3)
 */
COIL_API const char *coil_strerror(int err);

/*
 * One line that says what failed, where and why:
 * "connect: Connection refused".
 *
 * Result    `buf`, always ended by a NUL, cut to `size`
 * Lifetime  copies
 */
COIL_API const char *coil_explain(int err, uint32_t detail, char *buf,
                                  size_t size);

/*
 * Give coil_explain() the words for the codes of a library above this one. The
 * last caller wins; coil-http calls it when a session is made.
 *
 * Lifetime  lends `words`: a function that returns a static string, "" for
 *           what it does not know. May be called by any thread
 */
typedef const char *coil_explain_fn(int err, uint32_t detail);
COIL_API void coil_explain_with(coil_explain_fn *words);

/* The name of a phase: "resolve", "pool", "connect"...; "" for none. */
COIL_API const char *coil_phase_name(enum coil_phase phase);

COIL_END_DECLS

#endif
