// SPDX-License-Identifier: MIT
/*
 * out.c: the block to which an engine appends what is to be sent.
 *
 * It grows by doubling, up to a bound: a peer that makes an engine say more than
 * that in one go is not a peer.
 */
#include "engine.h"

#include <string.h>

#include <coil/loop.h>

void coili_tls_out_free(struct coili_tls_out *out)
{
    if (out->data && !out->lent)
        coil_free(out->data, out->size);
    *out = (struct coili_tls_out){ 0 };
}

unsigned char *coili_tls_out_append(struct coili_tls_out *out, size_t n)
{
    if (n > COILI_TLS_OUT_BYTES_MAX - out->len)
        return NULL;
    if (n > out->size - out->len) {
        size_t size = out->size > 512 ? out->size : 512;
        while (size - out->len < n)
            size *= 2;
        unsigned char *data = coil_alloc(size);
        if (!data)
            return NULL;
        size_t len = out->len;
        if (len)
            memcpy(data, out->data, len);
        coili_tls_out_free(out);
        *out = (struct coili_tls_out){ .data = data, .len = len, .size = size };
    }
    out->len += n;
    return out->data + out->len - n;
}
