// SPDX-License-Identifier: MIT
/*
 * error.c: numbers to words.
 */
#include <coil/error.h>

#include <netdb.h>
#include <stdio.h>
#include <string.h>

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
    }
    if (err >= 0)
        return "Success";
    const char *words = err > -4096 ? strerrordesc_np(-err) : NULL;
    return words ? words : "Unknown error";
}

const char *coil_phase_name(enum coil_phase phase)
{
    static const char *const names[] = {
        [COIL_PHASE_NONE] = "",           [COIL_PHASE_RESOLVE] = "resolve",
        [COIL_PHASE_POOL] = "pool",       [COIL_PHASE_CONNECT] = "connect",
        [COIL_PHASE_SEND] = "send",       [COIL_PHASE_HEADERS] = "headers",
        [COIL_PHASE_BODY] = "body",
    };
    return phase <= COIL_PHASE_BODY ? names[phase] : "";
}

const char *coil_explain(int err, uint32_t detail, char *buf, size_t size)
{
    const char *phase = coil_phase_name(COIL_DETAIL_PHASE(detail));
    int code = COIL_DETAIL_CODE(detail);
    const char *more = err == COIL_ERESOLVE && code ? gai_strerror(code) : "";
    snprintf(buf, size, "%s%s%s%s%s", phase, *phase ? ": " : "",
             coil_strerror(err), *more ? ": " : "", more);
    return buf;
}
