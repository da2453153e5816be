// SPDX-License-Identifier: MIT
/*
 * fuzz_tls_client.c: scripts of a hostile server, against a TLS client.
 *
 *     cmake -B build-fuzz -DCMAKE_C_COMPILER=clang -DCOIL_FUZZ=ON \
 *         -DCOIL_TESTS=OFF -DCOIL_SANITIZE=address,undefined
 *     build-fuzz/tests/fuzz_tls_client tests/fuzz/corpus/tls_client
 *
 * See tls_edits.h. TLS_EDITS_SHOW=1 prints what an input is, and what each
 * engine says.
 */
#include "tls_edits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return play(false, data, size);
}
