// SPDX-License-Identifier: MIT
/*
 * fuzz_key.c: any bytes as a key. The first one says in which form.
 *
 *     clang -std=c11 -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude \
 *         -Ilib tests/fuzz/fuzz_key.c lib/tls/key.c lib/tls/der.c
 *     ./a.out tests/fuzz/corpus/key
 *
 * What is accepted has its numbers within the bytes, and within the sizes that
 * BearSSL has room for.
 */
#include "tls/key.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) ((condition) ? (void)0 : fail(__LINE__, #condition))

static void fail(int line, const char *what)
{
    fprintf(stderr, "fuzz_key.c:%d: %s does not hold\n", line, what);
    abort();
}

static void check_view(struct coili_der view, struct coili_der whole,
                       size_t least, size_t most)
{
    REQUIRE(view.len >= least && view.len <= most);
    if (view.len > 0)
        REQUIRE(view.at >= whole.at &&
                view.at + view.len <= whole.at + whole.len);
}

static void check_public(struct coili_der der)
{
    struct coili_public_key key;
    if (!coili_public_key_parse(&key, der))
        return;
    check_view(key.spki, der, 1, der.len);
    if (key.type == COILI_KEY_RSA) {
        check_view(key.modulus, der, 1, der.len);
        check_view(key.exponent, der, 1, 4);
    } else if (key.type != COILI_KEY_OTHER) {
        check_view(key.point, der, 65, 133);
    }
}

static void check_private(enum coili_pem_label label, struct coili_der der)
{
    struct coili_private_key key;
    const char *fault = coili_private_key_parse(&key, label, der);
    if (fault) {
        REQUIRE(*fault);
        return;
    }
    REQUIRE(key.type != COILI_KEY_OTHER && *coili_key_name(key.type));
    if (key.type != COILI_KEY_RSA) {
        check_view(key.scalar, der, 1, 66);
        check_view(key.point, der, 0, 133);
        return;
    }
    check_view(key.rsa.n, der, 256, 512);
    check_view(key.rsa.e, der, 1, 4);
    check_view(key.rsa.d, der, 1, 512);
    check_view(key.rsa.p, der, 1, 258);
    check_view(key.rsa.q, der, 1, 258);
    check_view(key.rsa.dp, der, 1, 258);
    check_view(key.rsa.dq, der, 1, 258);
    check_view(key.rsa.iq, der, 1, 258);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum coili_pem_label labels[] = { COILI_PEM_PKCS8,
                                                   COILI_PEM_PKCS1,
                                                   COILI_PEM_SEC1 };
    if (size == 0)
        return 0;
    struct coili_der der = { data + 1, size - 1 };
    if (data[0] % 4 == 3)
        check_public(der);
    else
        check_private(labels[data[0] % 4], der);
    return 0;
}
