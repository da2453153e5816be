// SPDX-License-Identifier: MIT
#ifndef COILI_TLS_WORDS_H
#define COILI_TLS_WORDS_H

/* words.h: what the code of COIL_ETLS means, as a sentence. */

/*
 * The sentence for a code.
 *
 * Result    a static string; "" for a code that is not known
 */
const char *coili_tls_words(int code);

/* From now on coil_explain() knows these sentences. Any thread, any number of
 * times. */
void coili_tls_register_words(void);

#endif
