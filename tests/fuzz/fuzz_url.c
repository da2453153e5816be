// SPDX-License-Identifier: MIT
/*
 * fuzz_url.c: any bytes as a URL.
 *
 *     clang -std=c11 -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude \
 *         -Ilib tests/fuzz/fuzz_url.c lib/http/url.c lib/http/message.c
 *     ./a.out tests/fuzz/corpus/url
 *
 * What is accepted must be usable: its parts lie within the text, the writer
 * takes them as a request, and its origin is a URL of the same origin. As a
 * reference any bytes are fine: what they are resolved to is absolute.
 */
#include "http/message.h"

#include <coil/url.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) \
    ((condition) ? (void)0 : fail(__LINE__, #condition))

static void fail(int line, const char *what)
{
    fprintf(stderr, "fuzz_url.c:%d: %s does not hold\n", line, what);
    abort();
}

static void check_part(struct coil_url_part part, const char *text, size_t len)
{
    REQUIRE(part.at || !part.len);
    if (part.len == 1 && *part.at == '/')
        return;  // a path that the text does not have
    if (part.at)
        REQUIRE(part.at >= text && part.at + part.len <= text + len);
}

static struct coili_http_text text_of(struct coil_url_part part)
{
    return (struct coili_http_text){ part.at, part.len };
}

static void check_writable(const struct coil_url *url)
{
    char authority[COIL_URL_ORIGIN_BYTES_MAX];
    struct coili_http_request request = {
        .method = coili_http_text("GET"),
        .target = text_of(url->target),
        .host = { authority, coil_url_authority(url, authority) },
    };

    REQUIRE(strlen(authority) == request.host.len);
    REQUIRE(coili_http_request_write(&request, NULL, 0) > 0);
}

static void check_origin(const struct coil_url *url)
{
    char origin[COIL_URL_ORIGIN_BYTES_MAX], again[COIL_URL_ORIGIN_BYTES_MAX];
    size_t len = coil_url_origin(url, origin);
    struct coil_url other;

    REQUIRE(len < sizeof origin && strlen(origin) == len);
    REQUIRE(coil_url_parse(&other, origin, len) == 0);
    REQUIRE(coil_url_same_origin(url, &other));
    REQUIRE(coil_url_origin(&other, again) == len);
    REQUIRE(!strcmp(origin, again));
}

/* Resolving a URL that was resolved changes nothing. */
static void check_reference(const char *text, size_t len)
{
    static const char base[] = "http://u:p@host:8080/a/b/c?q=1#f";
    size_t size = COIL_URL_RESOLVED_BYTES(strlen(base), len);
    char *first = malloc(size), *second = malloc(3 * size);

    REQUIRE(first && second);
    int64_t n = coil_url_resolve(base, strlen(base), text, len, first, size);
    REQUIRE(n > 0 && (size_t)n < size && first[n] == '\0');
    int64_t m = coil_url_resolve("http://other/x", 14, first, (size_t)n, second,
                                 3 * size);
    if (!memchr(first, ' ', (size_t)n)) // in a host a space stays
        REQUIRE(m == n && memcmp(first, second, (size_t)n) == 0);
    free(first);
    free(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;

    check_reference(text, size);
    enum coil_url_fault fault = coil_url_check(text, size);
    struct coil_url url;
    int err = coil_url_parse(&url, text, size);

    REQUIRE(err == (fault ? COIL_EURL : 0));
    REQUIRE(*coil_url_fault_text((int)fault));
    if (err)
        return 0;

    check_part(url.user, text, size);
    check_part(url.password, text, size);
    check_part(url.host, text, size);
    check_part(url.path, text, size);
    check_part(url.query, text, size);
    check_part(url.target, text, size);
    REQUIRE(url.port && url.host.len && url.path.len && url.target.len);
    check_writable(&url);
    check_origin(&url);
    return 0;
}
