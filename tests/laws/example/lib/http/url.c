// SPDX-License-Identifier: MIT
/* Law 3: a parser that calls malloc() and read(). */
#include <coil/url.h>
#include <string.h>
#include <unistd.h>
#include "base/alloc.h"
#include "message.h"

char *example(int fd)
{
    char *text = malloc(100);
    if (text && read(fd, text, 100) < 0)
        coil_free(text, 100);
    return text;
}
