// SPDX-License-Identifier: MIT
/*
 * Debian's libbearssl.a was compiled against glibc, with _FORTIFY_SOURCE: it
 * calls the checked forms of three functions, which musl has not. For the static
 * programs of .ci/run.
 */
#include <stdlib.h>
#include <string.h>

void *__memcpy_chk(void *to, const void *from, size_t n, size_t room)
{
    if (n > room)
        abort();
    return memcpy(to, from, n);
}

void *__memmove_chk(void *to, const void *from, size_t n, size_t room)
{
    if (n > room)
        abort();
    return memmove(to, from, n);
}

void *__memset_chk(void *to, int byte, size_t n, size_t room)
{
    if (n > room)
        abort();
    return memset(to, byte, n);
}
