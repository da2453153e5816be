// SPDX-License-Identifier: MIT
/*
 * words.c: what the code of COIL_ETLS means, as a sentence.
 *
 * An alert says what its sender found wrong, mostly in words of the standard.
 * The sentences here say what that means for the person who reads them, and
 * which side it was.
 */
#include "words.h"

#include <coil/error.h>
#include <coil/tls.h>

/* An alert that coil sends, because of the peer; an alert of the peer's. */
struct alert {
    int code;
    const char *ours, *theirs;
};

/* Alerts without a sentence of their own: the name that the standard gives. */
#define ALERT(code, name) \
    { \
        (code), "what the peer sent was refused (" name ")", \
            "the peer refused what was sent (" name ")" \
    }

static const char their_certificate[] = "the peer does not accept our "
                                        "certificate";

static const struct alert alerts[] = {
    { 0, "the connection was closed", "the peer closed the connection" },
    { 10, "the peer sent a message that may not stand there",
      "the peer did not expect one of our messages" },
    { 20, "a record of the peer was changed on the way",
      "one of our records was changed on the way" },
    { 22, "the peer sent a record that is too long",
      "one of our records is too long for the peer" },
    { 40, "no common cipher, group or signature",
      "no common cipher, group or signature" },
    { 42, "the peer's certificate cannot be used", their_certificate },
    { 43, "the peer's certificate is not supported", their_certificate },
    { 44, "the peer's certificate was revoked", their_certificate },
    { 45, "the peer's certificate has expired", their_certificate },
    { 46, "the peer's certificate is not accepted", their_certificate },
    { 47, "the peer sent a value that is not allowed",
      "the peer does not allow a value that was sent" },
    { 48, "no trusted authority signed the peer's certificate",
      their_certificate },
    { 49, "the peer is not allowed to connect", their_certificate },
    { 50, "the peer sent a message that cannot be read",
      "the peer cannot read one of our messages" },
    { 51, "a signature or a Finished message of the peer is wrong",
      "the peer finds a signature or a Finished message wrong" },
    { 70, "the peer speaks none of our TLS versions (1.2, 1.3)",
      "the peer speaks none of our TLS versions (1.2, 1.3)" },
    { 71, "the peer's ciphers or keys are too weak",
      "our ciphers or keys are too weak for the peer" },
    { 80, "coil's TLS engine failed", "the peer failed (internal_error)" },
    { 86, "the client repeats with an older version than both know",
      "the server knows a newer version than was offered" },
    { 90, "the handshake was cancelled", "the peer cancelled the handshake" },
    ALERT(100, "no_renegotiation"),
    ALERT(109, "missing_extension"),
    ALERT(110, "unsupported_extension"),
    { 112, "the client asks for a name that is refused",
      "the peer does not know the name" },
    ALERT(113, "bad_certificate_status_response"),
    ALERT(115, "unknown_psk_identity"),
    { 116, "the client has no certificate",
      "the peer wants a client certificate" },
    { 120, "no common protocol (ALPN)", "no common protocol (ALPN)" },
};

static const char *alert_words(int alert, bool by_peer)
{
    for (size_t i = 0; i < sizeof alerts / sizeof *alerts; i++)
        if (alerts[i].code == alert)
            return by_peer ? alerts[i].theirs : alerts[i].ours;
    return by_peer ? "the peer sent an alert that is not known" : "";
}

const char *coili_tls_words(int code)
{
    switch (code) {
    case COIL_TLS_PLAIN_HTTP:
        return "the port speaks plain HTTP, not TLS";
    case COIL_TLS_DOWNGRADED:
        return "somebody between prevents TLS 1.3";
    case COIL_TLS_RENEGOTIATES:
        return "the server wants to renegotiate (mostly for a client "
               "certificate), which coil does not";
    case COIL_TLS_NOT_TLS:
        return "the port does not speak TLS";
    }
    if (code >= COIL_TLS_BY_PEER && code < 2 * COIL_TLS_BY_PEER)
        return alert_words(code - COIL_TLS_BY_PEER, true);
    return alert_words(code, false);
}

static const char *explain(int err, uint32_t detail)
{
    (void)err;
    return detail ? coili_tls_words(COIL_TLS_CODE(detail)) : "";
}

void coili_tls_register_words(void)
{
    coili_set_explain_tls(explain);
}
