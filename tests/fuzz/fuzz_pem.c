// SPDX-License-Identifier: MIT
/*
 * fuzz_pem.c: any bytes as a PEM text.
 *
 *     clang -std=c11 -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude \
 *         -Ilib tests/fuzz/fuzz_pem.c lib/tls/pem.c lib/tls/der.c
 *     ./a.out tests/fuzz/corpus/pem
 *
 * Each block lies within the text, behind the one before it; what is decoded has
 * room in what the block says, and is the same if it is decoded in place.
 */
#include "tls/pem.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) ((condition) ? (void)0 : fail(__LINE__, #condition))

static void fail(int line, const char *what)
{
    fprintf(stderr, "fuzz_pem.c:%d: %s does not hold\n", line, what);
    abort();
}

static void check_block(const struct coili_pem_block *block)
{
    struct coili_pem pem = { .line = 0 };
    struct coili_der der, again;
    unsigned char *out = malloc(block->bytes);
    char *copy = malloc(block->len + 1);
    REQUIRE(out && copy);
    int err = coili_pem_decode(&pem, block, out, &der);
    REQUIRE(err == 0 || (err == -EINVAL && pem.fault && pem.line > 0));
    if (err == 0)
        REQUIRE(der.at == out && der.len > 0 && der.len <= block->bytes);

    memcpy(copy, block->at, block->len);
    struct coili_pem_block in_place = *block;
    in_place.at = copy;
    REQUIRE(coili_pem_decode(&pem, &in_place, (unsigned char *)copy, &again) ==
            err);
    if (err == 0)
        REQUIRE(coili_der_equal(der, again));
    free(out);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data, *behind = text;
    struct coili_pem pem = { .at = text, .end = text + size };
    struct coili_pem_block block;
    int n;
    while ((n = coili_pem_next(&pem, &block)) > 0) {
        REQUIRE(block.at >= behind && block.len <= (size_t)(pem.at - block.at));
        REQUIRE(pem.at <= pem.end && block.line < pem.line);
        behind = pem.at;
        check_block(&block);
    }
    REQUIRE(n == 0 || (n == -EINVAL && pem.fault && pem.line > 0));
    return 0;
}
