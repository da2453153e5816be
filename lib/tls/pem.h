// SPDX-License-Identifier: MIT
#ifndef COILI_PEM_H
#define COILI_PEM_H

/*
 * pem.h: the blocks of a PEM text (RFC 7468).
 *
 *     struct coili_pem pem = { .at = text, .end = text + len };
 *     struct coili_pem_block block;
 *     struct coili_der der;
 *     int n;
 *     while ((n = coili_pem_next(&pem, &block)) > 0)
 *         if ((n = coili_pem_decode(&pem, &block, memory, &der)) < 0)
 *             break;
 *     if (n < 0)
 *         ...line pem.line: pem.fault...
 *
 * What stands between the blocks is passed over, as are blocks of other labels
 * by whoever does not want them. Lines end in LF or CRLF; the last one may have
 * no end. Nothing is allocated and no file is read here.
 */

#include <stddef.h>

#include "der.h"

enum coili_pem_label {
    COILI_PEM_OTHER,
    COILI_PEM_CERTIFICATE, /* also X509 CERTIFICATE */
    COILI_PEM_TRUSTED,     /* TRUSTED CERTIFICATE of OpenSSL: not supported */
    COILI_PEM_PKCS8,       /* PRIVATE KEY */
    COILI_PEM_PKCS1,       /* RSA PRIVATE KEY */
    COILI_PEM_SEC1,        /* EC PRIVATE KEY */
    COILI_PEM_ENCRYPTED    /* a private key that needs a password */
};

/* The reader. The caller sets `at` and `end`, and keeps the text. */
struct coili_pem {
    const char *at, *end;
    unsigned line;     /* how many have been read: with a fault, its number */
    const char *fault; /* what is wrong there; static */
};

struct coili_pem_block {
    enum coili_pem_label label;
    const char *at; /* views the lines between BEGIN and END */
    size_t len;
    size_t bytes;  /* room that its decoded content needs */
    unsigned line; /* of BEGIN */
};

/*
 * Find the next block, from BEGIN to END.
 *
 * Result    1; 0: there is none; -EINVAL: `pem->line` and `pem->fault` say why
 */
int coili_pem_next(struct coili_pem *pem, struct coili_pem_block *block);

/*
 * Decode a block that coili_pem_next() gave to `out`, which has room for
 * block->bytes. The time does not depend on the content, which may be a key.
 *
 * Result    0, and `der` views the bytes in `out`; -EINVAL as above
 */
int coili_pem_decode(struct coili_pem *pem, const struct coili_pem_block *block,
                     unsigned char *out, struct coili_der *der);

#endif
