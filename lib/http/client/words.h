// SPDX-License-Identifier: MIT
#ifndef COILI_HTTP_WORDS_H
#define COILI_HTTP_WORDS_H

/*
 * words.h: sentences for which the detail of an error has no room.
 *
 * The sentence is kept, and the code of the detail has its number:
 *
 *     code of the detail   bits 0 to `shift` - 1    what a program looks at
 *                          bits `shift` to 22       the number of the sentence
 *
 * The last few sentences of a thread are kept. Of an older one, or in another
 * thread, only the bits below are known.
 */

#include <stddef.h>

/* With a NUL. A longer sentence ends with "...". */
#define COILI_WORDS_BYTES 192

/* COIL_EREDIRECT; COIL_ETLS and COIL_ECERT: COIL_TLS_CODE(). */
#define COILI_WORDS_REDIRECT 4
#define COILI_WORDS_TLS 10

/*
 * Keep a sentence: the arguments behind `code` are those of printf.
 *
 * Result    `code`, with the number of the sentence
 */
__attribute__((format(printf, 4, 5))) int
coili_words_keep(int err, int shift, int code, const char *format, ...);

/* The sentence of an error with this code; NULL if it is not kept. */
const char *coili_words_find(int err, int code);

#endif
