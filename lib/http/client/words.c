// SPDX-License-Identifier: MIT
/*
 * words.c: sentences for which the detail of an error has no room.
 *
 * A sentence outlives the request, the session and the loop: a program may
 * explain the error of RUN when all of them are gone. Nobody would free it, so
 * there is a fixed number of them, in memory of the thread. The number of a
 * sentence is in the detail, so one that has been replaced is never taken for
 * that of another request.
 */
#include "words.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define KEPT 4
#define CODE_BITS 23 /* of a code that is not negative */

static _Thread_local struct {
    int number; /* of the last sentence */
    struct {
        int err, code;
        char text[COILI_WORDS_BYTES];
    } words[KEPT];
} kept;

int coili_words_keep(int err, int shift, int code, const char *format, ...)
{
    int numbers = (1 << (CODE_BITS - shift)) - 1;
    kept.number = (kept.number & 0x3fffffff) + 1;
    int i = kept.number % KEPT;
    char *text = kept.words[i].text;
    kept.words[i].err = err;
    kept.words[i].code = (kept.number % numbers + 1) << shift | code;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, COILI_WORDS_BYTES, format, args);
    va_end(args);
    if (n >= COILI_WORDS_BYTES)
        memcpy(text + COILI_WORDS_BYTES - 4, "...", 4);
    return kept.words[i].code;
}

const char *coili_words_find(int err, int code)
{
    for (int i = 0; i < KEPT; i++)
        if (kept.words[i].err == err && kept.words[i].code == code)
            return kept.words[i].text;
    return NULL;
}
