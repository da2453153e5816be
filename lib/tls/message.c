// SPDX-License-Identifier: MIT
/*
 * message.c: the handshake messages behind the hellos, of TLS 1.3 and 1.2.
 *
 * Each message is read to its last byte: bytes behind the end mean that the two
 * sides understand the message differently. What a number means, a reader
 * decides only where the message itself forbids it; whether a signature is right
 * or a ticket of use is seen elsewhere.
 */
#include "message.h"

#include "hello.h"

/* ---- Certificate ------------------------------------------------------ */

/*
 * The extensions of one entry. We ask for none, so the first one decides; but
 * a list that is malformed is that first.
 */
static int judge_entry_extensions(struct coili_bytes list)
{
    struct coili_bytes data;
    unsigned type;
    int alert = coili_extensions_check(list);
    if (alert || !coili_take_extension(&list, &type, &data))
        return alert;
    return coili_extension_alert(type);
}

int coili_tls_read_certificates(struct coili_bytes body, unsigned version,
                                bool may_be_none,
                                struct coili_tls_certificates *certificates)
{
    struct coili_bytes context, list, cert, extensions;
    certificates->n = 0;
    if (version == COILI_TLS13) {
        if (!coili_take_vector8(&body, &context))
            return COILI_ALERT_DECODE_ERROR;
        if (context.len > 0)
            return COILI_ALERT_ILLEGAL_PARAMETER;
    }
    if (!coili_take_only(&body, 3, &list) || (list.len == 0 && !may_be_none))
        return COILI_ALERT_DECODE_ERROR;
    size_t n = 0;
    while (list.len > 0) {
        if (!coili_take_vector24(&list, &cert) || cert.len == 0)
            return COILI_ALERT_DECODE_ERROR;
        if (version == COILI_TLS13) {
            if (!coili_take_vector16(&list, &extensions))
                return COILI_ALERT_DECODE_ERROR;
            int alert = extensions.len ? judge_entry_extensions(extensions) : 0;
            if (alert)
                return alert;
        }
        if (n < COILI_TLS_CERTIFICATES_MAX)
            certificates->certs[n++] = (struct coili_der){ cert.at, cert.len };
    }
    certificates->n = n;
    return 0;
}

void coili_tls_write_certificates(struct coili_writer *w, unsigned version,
                                  const struct coili_der *certs, size_t n)
{
    size_t message = coili_put_message(w, COILI_TLS_CERTIFICATE);
    if (version == COILI_TLS13)
        coili_put_u8(w, 0); /* an empty context */
    size_t list = coili_put_begin(w, 3);
    for (size_t i = 0; i < n; i++) {
        coili_put_vector(w, 3,
                         (struct coili_bytes){ certs[i].at, certs[i].len });
        if (version == COILI_TLS13)
            coili_put_u16(w, 0); /* no extensions */
    }
    coili_put_end(w, 3, list);
    coili_put_message_end(w, message);
}

/* ---- CertificateRequest ----------------------------------------------- */

/* Names of authorities: each with a length, and none empty. */
static bool are_names(struct coili_bytes list)
{
    struct coili_bytes name;
    while (list.len > 0)
        if (!coili_take_vector16(&list, &name) || name.len == 0)
            return false;
    return true;
}

static int read_request_extension(unsigned type, struct coili_bytes data,
                                  struct coili_tls_certificate_request *request)
{
    bool ok = true;
    switch (type) {
    case COILI_EXT_SIGNATURE_ALGORITHMS:
        ok = coili_take_only_list(&data, 2, &request->schemes);
        break;
    case COILI_EXT_SIGNATURE_ALGORITHMS_CERT:
        ok = coili_take_only_list(&data, 2, &request->schemes_cert);
        break;
    case COILI_EXT_CERTIFICATE_AUTHORITIES:
        ok = coili_take_only(&data, 2, &request->authorities) &&
             request->authorities.len > 0 && are_names(request->authorities);
        break;
    default: /* unknown ones are passed over, and those of other messages not */
        if (coili_extension_alert(type) == COILI_ALERT_ILLEGAL_PARAMETER)
            return COILI_ALERT_ILLEGAL_PARAMETER;
    }
    return ok ? 0 : COILI_ALERT_DECODE_ERROR;
}

static int read_request13(struct coili_bytes body,
                          struct coili_tls_certificate_request *request)
{
    struct coili_bytes context, list, data;
    unsigned type;
    if (!coili_take_vector8(&body, &context) ||
        !coili_take_only(&body, 2, &list))
        return COILI_ALERT_DECODE_ERROR;
    if (context.len > 0)
        return COILI_ALERT_ILLEGAL_PARAMETER;
    int alert = coili_extensions_check(list);
    while (!alert && coili_take_extension(&list, &type, &data))
        alert = read_request_extension(type, data, request);
    if (!alert && request->schemes.len == 0)
        alert = COILI_ALERT_MISSING_EXTENSION;
    return alert;
}

static int read_request12(struct coili_bytes body,
                          struct coili_tls_certificate_request *request)
{
    if (!coili_take_vector8(&body, &request->types) ||
        request->types.len == 0 ||
        !coili_take_vector16(&body, &request->schemes) ||
        request->schemes.len == 0 || request->schemes.len % 2 ||
        !coili_take_only(&body, 2, &request->authorities) ||
        !are_names(request->authorities))
        return COILI_ALERT_DECODE_ERROR;
    return 0;
}

int coili_tls_read_certificate_request(
    struct coili_bytes body, unsigned version,
    struct coili_tls_certificate_request *request)
{
    static const struct coili_tls_certificate_request none;
    *request = none;
    int alert = version == COILI_TLS13 ? read_request13(body, request)
                                       : read_request12(body, request);
    if (alert)
        *request = none;
    return alert;
}

void coili_tls_write_certificate_request(
    struct coili_writer *w, unsigned version,
    const struct coili_tls_certificate_request *request)
{
    size_t message = coili_put_message(w, COILI_TLS_CERTIFICATE_REQUEST);
    if (version == COILI_TLS13) {
        coili_put_u8(w, 0); /* an empty context */
        size_t list = coili_put_begin(w, 2);
        coili_put_vector_extension(w, COILI_EXT_SIGNATURE_ALGORITHMS, 2,
                                   request->schemes);
        if (request->schemes_cert.len > 0)
            coili_put_vector_extension(w, COILI_EXT_SIGNATURE_ALGORITHMS_CERT,
                                       2, request->schemes_cert);
        if (request->authorities.len > 0)
            coili_put_vector_extension(w, COILI_EXT_CERTIFICATE_AUTHORITIES, 2,
                                       request->authorities);
        coili_put_end(w, 2, list);
    } else {
        coili_put_vector(w, 1, request->types);
        coili_put_vector(w, 2, request->schemes);
        coili_put_vector(w, 2, request->authorities);
    }
    coili_put_message_end(w, message);
}

/* ---- CertificateVerify ------------------------------------------------ */

/* Scheme and signature, which `body` ends with. */
static int read_signature(struct coili_bytes body, struct coili_bytes offered,
                          struct coili_tls_signature *signature)
{
    struct coili_tls_signature found;
    if (!coili_take_u16(&body, &found.scheme) ||
        !coili_take_only(&body, 2, &found.bytes))
        return COILI_ALERT_DECODE_ERROR;
    if (!coili_list_has(offered, found.scheme))
        return COILI_ALERT_ILLEGAL_PARAMETER;
    *signature = found;
    return 0;
}

static void put_signature(struct coili_writer *w,
                          const struct coili_tls_signature *signature)
{
    coili_put_u16(w, signature->scheme);
    coili_put_vector(w, 2, signature->bytes);
}

int coili_tls_read_certificate_verify(struct coili_bytes body,
                                      struct coili_bytes offered,
                                      struct coili_tls_signature *signature)
{
    return read_signature(body, offered, signature);
}

void coili_tls_write_certificate_verify(
    struct coili_writer *w, const struct coili_tls_signature *signature)
{
    size_t message = coili_put_message(w, COILI_TLS_CERTIFICATE_VERIFY);
    put_signature(w, signature);
    coili_put_message_end(w, message);
}

/* ---- ServerKeyExchange, ClientKeyExchange (1.2) ----------------------- */

enum { NAMED_CURVE = 3 };

int coili_tls_read_server_key_exchange(
    struct coili_bytes body, struct coili_tls_server_key_exchange *exchange)
{
    struct coili_tls_server_key_exchange found;
    struct coili_bytes rest = body;
    unsigned kind;
    if (!coili_take_u8(&rest, &kind))
        return COILI_ALERT_DECODE_ERROR;
    if (kind != NAMED_CURVE) /* and what follows has another form */
        return COILI_ALERT_ILLEGAL_PARAMETER;
    if (!coili_take_u16(&rest, &found.group) ||
        !coili_take_vector8(&rest, &found.share) || found.share.len == 0)
        return COILI_ALERT_DECODE_ERROR;
    found.is_signed = (struct coili_bytes){ body.at, body.len - rest.len };
    int alert = read_signature(rest, coili_tls_schemes12, &found.signature);
    if (!alert && !coili_tls_is_share(found.group, found.share))
        alert = COILI_ALERT_ILLEGAL_PARAMETER;
    if (!alert)
        *exchange = found;
    return alert;
}

void coili_tls_write_signed_share(struct coili_writer *w, unsigned group,
                                  struct coili_bytes share)
{
    coili_put_u8(w, NAMED_CURVE);
    coili_put_u16(w, group);
    coili_put_vector(w, 1, share);
}

void coili_tls_write_server_key_exchange(
    struct coili_writer *w,
    const struct coili_tls_server_key_exchange *exchange)
{
    size_t message = coili_put_message(w, COILI_TLS_SERVER_KEY_EXCHANGE);
    coili_tls_write_signed_share(w, exchange->group, exchange->share);
    put_signature(w, &exchange->signature);
    coili_put_message_end(w, message);
}

int coili_tls_read_client_key_exchange(struct coili_bytes body, unsigned group,
                                       struct coili_bytes *share)
{
    struct coili_bytes found;
    if (!coili_take_only(&body, 1, &found) || found.len == 0)
        return COILI_ALERT_DECODE_ERROR;
    if (!coili_tls_is_share(group, found))
        return COILI_ALERT_ILLEGAL_PARAMETER;
    *share = found;
    return 0;
}

void coili_tls_write_client_key_exchange(struct coili_writer *w,
                                         struct coili_bytes share)
{
    size_t message = coili_put_message(w, COILI_TLS_CLIENT_KEY_EXCHANGE);
    coili_put_vector(w, 1, share);
    coili_put_message_end(w, message);
}

/* ---- NewSessionTicket ------------------------------------------------- */

/* Extensions of a ticket: early_data, which we do not use, and unknown ones. */
static int judge_ticket_extensions(struct coili_bytes list)
{
    struct coili_bytes data;
    unsigned type;
    int alert = coili_extensions_check(list);
    while (!alert && coili_take_extension(&list, &type, &data)) {
        if (type == COILI_EXT_EARLY_DATA && data.len != 4)
            alert = COILI_ALERT_DECODE_ERROR;
        if (coili_extension_alert(type) == COILI_ALERT_ILLEGAL_PARAMETER)
            alert = COILI_ALERT_ILLEGAL_PARAMETER;
    }
    return alert;
}

int coili_tls_read_ticket(struct coili_bytes body, unsigned version,
                          struct coili_tls_ticket *ticket)
{
    struct coili_tls_ticket found = { .lifetime = 0 };
    struct coili_bytes extensions;
    if (!coili_take_u32(&body, &found.lifetime))
        return COILI_ALERT_DECODE_ERROR;
    if (version == COILI_TLS13) {
        if (!coili_take_u32(&body, &found.age_add) ||
            !coili_take_vector8(&body, &found.nonce) ||
            !coili_take_vector16(&body, &found.ticket) ||
            found.ticket.len == 0 || !coili_take_only(&body, 2, &extensions))
            return COILI_ALERT_DECODE_ERROR;
        int alert = judge_ticket_extensions(extensions);
        if (alert)
            return alert;
    } else if (!coili_take_only(&body, 2, &found.ticket)) {
        return COILI_ALERT_DECODE_ERROR;
    }
    *ticket = found;
    return 0;
}

void coili_tls_write_ticket(struct coili_writer *w, unsigned version,
                            const struct coili_tls_ticket *ticket)
{
    size_t message = coili_put_message(w, COILI_TLS_NEW_SESSION_TICKET);
    coili_put_u32(w, ticket->lifetime);
    if (version == COILI_TLS13) {
        coili_put_u32(w, ticket->age_add);
        coili_put_vector(w, 1, ticket->nonce);
    }
    coili_put_vector(w, 2, ticket->ticket);
    if (version == COILI_TLS13)
        coili_put_u16(w, 0); /* no extensions */
    coili_put_message_end(w, message);
}

/* ---- The short ones --------------------------------------------------- */

int coili_tls_read_finished(struct coili_bytes body, size_t len,
                            struct coili_bytes *mac)
{
    if (body.len != len)
        return COILI_ALERT_DECODE_ERROR;
    *mac = body;
    return 0;
}

void coili_tls_write_finished(struct coili_writer *w, struct coili_bytes mac)
{
    size_t message = coili_put_message(w, COILI_TLS_FINISHED);
    coili_put_bytes(w, mac);
    coili_put_message_end(w, message);
}

int coili_tls_read_key_update(struct coili_bytes body, bool *is_requested)
{
    unsigned value;
    if (!coili_take_u8(&body, &value) || body.len > 0)
        return COILI_ALERT_DECODE_ERROR;
    if (value > 1)
        return COILI_ALERT_ILLEGAL_PARAMETER;
    *is_requested = value == 1;
    return 0;
}

void coili_tls_write_key_update(struct coili_writer *w, bool request)
{
    size_t message = coili_put_message(w, COILI_TLS_KEY_UPDATE);
    coili_put_u8(w, request);
    coili_put_message_end(w, message);
}

int coili_tls_read_nothing(struct coili_bytes body)
{
    return body.len == 0 ? 0 : COILI_ALERT_DECODE_ERROR;
}

void coili_tls_write_server_hello_done(struct coili_writer *w)
{
    coili_put_message_end(w, coili_put_message(w, COILI_TLS_SERVER_HELLO_DONE));
}
