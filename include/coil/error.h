// SPDX-License-Identifier: MIT
#ifndef COIL_ERROR_H
#define COIL_ERROR_H

/*
 * error.h: error numbers and what they say.
 *
 * An int result is 0 or a count on success, -errno for an error of the system,
 * or one of the codes below, which are smaller than -4095, where no errno is.
 * There is no global errno: it would not survive an await.
 *
 * With an error comes a 32-bit detail: the phase in which it happened, and a
 * code whose meaning depends on the error (from getaddrinfo, from a parser).
 */

#include <coil/api.h>

COIL_BEGIN_DECLS

enum {
    COIL_EEND = -4096,          /* the source has no more items */
    COIL_EINCOMPLETE = -4097,   /* the peer ended before all bytes were there */
    COIL_ELIMIT = -4098,        /* more bytes than the limit allows */
    COIL_ECLOSED = -4099,       /* the object is closed */
    COIL_ESTOPPED = -4100,      /* the loop was stopped before the end */
    COIL_ERESOLVE = -4101,      /* the name does not resolve; code: EAI_* */
    COIL_EURL = -4102,          /* not a URL that coil can fetch */
    COIL_EPROTOCOL = -4103,     /* the peer broke the protocol; code: reason */
    COIL_EDISCONNECTED = -4104, /* the peer closed before it answered */
    COIL_EBROKEN = -4105,       /* a party that it needs has gone */
    COIL_ENOTREADY = -4106,     /* the task ended before it was ready */
    COIL_ENOTHREAD = -4107,     /* no thread can be started */
    COIL_EREDIRECT = -4108,     /* a redirect that is not followed; http.h */
    COIL_ETLS = -4109,          /* TLS failed; code: alert or reason */
    COIL_ECERT = -4110          /* the peer's certificate is not believed; code:
                                   enum coil_cert_fault */
};

/*
 * The phase in which a request or a connection attempt failed; the upper 8 bits
 * of a detail.
 */
enum coil_phase {
    COIL_PHASE_NONE,
    COIL_PHASE_RESOLVE,
    COIL_PHASE_POOL,
    COIL_PHASE_CONNECT,
    COIL_PHASE_TLS,
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

/* Why a certificate is not believed; the code in the detail of COIL_ECERT. */
enum coil_cert_fault {
    COIL_CERT_OK,
    COIL_CERT_NAME,        /* it is for another host */
    COIL_CERT_TIME,        /* expired, not yet valid, or the clock is wrong */
    COIL_CERT_UNKNOWN,     /* no trusted authority signed it */
    COIL_CERT_SIGNATURE,   /* a signature is wrong */
    COIL_CERT_WEAK,        /* SHA-1, or a short key */
    COIL_CERT_PURPOSE,     /* a certificate may not do what it is used for */
    COIL_CERT_CONSTRAINT,  /* an authority may not sign for this name */
    COIL_CERT_MALFORMED,   /* not an X.509 certificate in DER */
    COIL_CERT_UNSUPPORTED, /* correct, it may be, but coil cannot check it */
    COIL_CERT_PIN          /* not one of the pinned certificates or keys */
};

/* A detail of a phase and a code, which is a signed number of 24 bits. */
#define COIL_DETAIL(phase, code) \
    ((uint32_t)(phase) << 24 | ((uint32_t)(code) & 0xffffffu))
#define COIL_DETAIL_PHASE(detail) ((enum coil_phase)((detail) >> 24))
#define COIL_DETAIL_CODE(detail) \
    ((int)(((detail) & 0xffffffu) ^ 0x800000u) - 0x800000)

/*
 * The text for an error number: that of the system for -errno, of coil for
 * COIL_E*.
 *
 * Result    a string without a newline; "Success" for err >= 0, "Unknown error"
 *           for a number that neither knows
 * Lifetime  static for COIL_E*; the C library's for -errno
 * Source    strerrordesc_np(3); with musl strerror(3)
 */
COIL_API const char *coil_strerror(int err);

/*
 * One line made of the phase, the text for the error and what its code means:
 * "connect: Connection refused". The line is cut to `size` bytes, a NUL
 * included.
 *
 * Result    `buf`
 */
COIL_API const char *coil_explain(int err, uint32_t detail, char *buf,
                                  size_t size);

/*
 * Register the function that explains the codes of another library, such as
 * coil-http, to coil_explain(). It returns a static string, "" for what it does
 * not know. It replaces the one registered before; NULL: none. Any thread may
 * call it, and it may be called in any thread. coil-http registers its own when
 * a session is made.
 *
 * Lifetime  lends `words` until another one is registered
 */
typedef const char *coil_explain_fn(int err, uint32_t detail);
COIL_API void coil_set_explain(coil_explain_fn *words);

/* Private: the same for the codes of COIL_ETLS, which coil-tls explains. */
COIL_API void coili_set_explain_tls(coil_explain_fn *words);

/*
 * The name of a phase: "resolve", "pool", "connect"...
 *
 * Result    a static string; "" for COIL_PHASE_NONE and unknown phases
 */
COIL_API const char *coil_phase_name(enum coil_phase phase);

COIL_END_DECLS

#endif
