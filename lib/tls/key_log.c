// SPDX-License-Identifier: MIT
/*
 * key_log.c: the file that SSLKEYLOGFILE names. In all but debug builds nothing
 * of this is compiled.
 *
 * A line is one write to a file that is opened for appending: lines of several
 * threads and processes stay whole.
 */
#include "key_log.h"

#ifdef COIL_DEBUG_KEYS

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/descriptor.h"

enum { LINE_BYTES = 512 };

/* NULL: no keys are written. */
static const char *log_path(void)
{
    const char *path = secure_getenv("SSLKEYLOGFILE");
    return path && *path ? path : NULL;
}

static void append(const char *path, const char *text, size_t len)
{
    int fd = coili_file_append(path);
    if (fd < 0)
        return;
    ssize_t written = write(fd, text, len);
    (void)written; /* an error is passed over */
    close(fd);
}

void coili_key_log_line(const char *line)
{
    char text[LINE_BYTES];
    const char *path = log_path();
    if (!path)
        return;
    int len = snprintf(text, sizeof text, "%s\n", line);
    if (len >= 0 && len < LINE_BYTES)
        append(path, text, (size_t)len);
    explicit_bzero(text, sizeof text);
}

/* Result: behind the digits */
static char *put_hex(char *to, const unsigned char *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        *to++ = digits[bytes[i] >> 4];
        *to++ = digits[bytes[i] & 15];
    }
    return to;
}

void coili_key_log(const char *label, const unsigned char client_random[32],
                   const void *secret, size_t len)
{
    char line[LINE_BYTES];
    size_t label_len = strlen(label);
    /* The digits are looked up in a table: only for a file that gets them. */
    if (!log_path() || label_len + 2 + 2 * (32 + len) >= sizeof line)
        return;
    char *end = (char *)memcpy(line, label, label_len) + label_len;
    *end++ = ' ';
    end = put_hex(end, client_random, 32);
    *end++ = ' ';
    end = put_hex(end, secret, len);
    *end = '\0';
    coili_key_log_line(line);
    explicit_bzero(line, sizeof line);
}

#else

/* ISO C has no empty file. */
typedef int coili_no_key_log;

#endif
