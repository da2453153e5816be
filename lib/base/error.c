// SPDX-License-Identifier: MIT
/*
 * error.c: the text for an error number.
 *
 * The codes of coil-http and coil-tls are explained there. This library does
 * not know either: each registers a function.
 */
#include <coil/error.h>

#include "base/libc.h"

#include <errno.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

static _Atomic(coil_explain_fn *) more_words, tls_words;

/* The codes of coil, in the order of error.h; then those of the system. */
const char *coil_strerror(int err)
{
    switch (err) {
    case COIL_EEND:
        return "No more items";
    case COIL_EINCOMPLETE:
        return "The peer ended before all bytes were there";
    case COIL_ELIMIT:
        return "More bytes than the limit allows";
    case COIL_ECLOSED:
        return "Closed meanwhile";
    case COIL_ESTOPPED:
        return "The loop was stopped";
    case COIL_ERESOLVE:
        return "The name does not resolve";
    case COIL_EURL:
        return "Not a URL that can be fetched";
    case COIL_EPROTOCOL:
        return "The peer broke the protocol";
    case COIL_EDISCONNECTED:
        return "The peer closed the connection before it answered";
    case COIL_EBROKEN:
        return "Broken: a party that it needs has gone";
    case COIL_ENOTREADY:
        return "The task ended before it was ready";
    case COIL_ENOTHREAD:
        return "No thread can be started";
    case COIL_EREDIRECT:
        return "The redirect is not followed";
    case COIL_ETLS:
        return "TLS failed";
    case COIL_ECERT:
        return "The certificate is not trusted";
    }
    if (err == -ETIMEDOUT)
        return "Timed out"; /* "Connection timed out" is wrong for most */
    if (err >= 0)
        return "Success";
    const char *words = err > -4096 ? coili_errno_words(-err) : NULL;
    return words ? words : "Unknown error";
}

const char *coil_phase_name(enum coil_phase phase)
{
    static const char *const names[] = {
        [COIL_PHASE_NONE] = "",           [COIL_PHASE_RESOLVE] = "resolve",
        [COIL_PHASE_POOL] = "pool",       [COIL_PHASE_CONNECT] = "connect",
        [COIL_PHASE_TLS] = "tls",         [COIL_PHASE_SEND] = "send",
        [COIL_PHASE_HEADERS] = "headers", [COIL_PHASE_BODY] = "body",
    };
    return phase <= COIL_PHASE_BODY ? names[phase] : "";
}

/* The faults of a certificate in general; coil-tls has the sentences. */
static const char *words_for_cert(int fault)
{
    static const char *const words[] = {
        [COIL_CERT_OK] = "",
        [COIL_CERT_NAME] = "it is for another name",
        [COIL_CERT_TIME] = "it has expired, or is not valid yet",
        [COIL_CERT_UNKNOWN] = "no trusted authority signed it",
        [COIL_CERT_SIGNATURE] = "a signature is wrong",
        [COIL_CERT_WEAK] = "its key or signature is too weak",
        [COIL_CERT_PURPOSE] = "it is for another purpose",
        [COIL_CERT_CONSTRAINT] = "its authority may not sign for this name",
        [COIL_CERT_MALFORMED] = "it is malformed",
        [COIL_CERT_UNSUPPORTED] = "it has parts that are not supported",
        [COIL_CERT_PIN] = "it is not the pinned one",
    };
    return fault >= 0 && fault <= COIL_CERT_PIN ? words[fault] : "";
}

void coil_set_explain(coil_explain_fn *words)
{
    atomic_store_explicit(&more_words, words, memory_order_release);
}

void coili_set_explain_tls(coil_explain_fn *words)
{
    atomic_store_explicit(&tls_words, words, memory_order_release);
}

static const char *ask(_Atomic(coil_explain_fn *) *registered, int err,
                       uint32_t detail)
{
    coil_explain_fn *words = atomic_load_explicit(registered,
                                                  memory_order_acquire);
    return words ? words(err, detail) : "";
}

/* What the code in a detail means for this error; "" if there is no more. */
static const char *words_for_code(int err, uint32_t detail)
{
    int code = COIL_DETAIL_CODE(detail);
    if (err == COIL_ERESOLVE)
        return code ? gai_strerror(code) : "";
    if (err == COIL_EBROKEN && code < 0) { /* a child, killed by a signal */
        const char *words = coili_signal_words(-code);
        return words ? words : "";
    }
    /* coil-http may know more of TLS: who the peer is, and a whole sentence. */
    const char *more = ask(&more_words, err, detail);
    if (!*more && err == COIL_ECERT)
        return words_for_cert(code & 0x3ff);
    return !*more && err == COIL_ETLS ? ask(&tls_words, err, detail) : more;
}

const char *coil_explain(int err, uint32_t detail, char *buf, size_t size)
{
    coili_check(buf || !size, "coil_explain: buf is NULL");
    const char *phase = coil_phase_name(COIL_DETAIL_PHASE(detail));
    const char *more = words_for_code(err, detail);
    int status = err == COIL_EBROKEN ? COIL_DETAIL_CODE(detail) : 0;
    char number[32] = "";
    if (status > 0) /* a child that has exited */
        snprintf(number, sizeof number, ": exit status %d", status);
    snprintf(buf, size, "%s%s%s%s%s%s", phase, *phase ? ": " : "",
             coil_strerror(err), *more ? ": " : "", more, number);
    return buf;
}
