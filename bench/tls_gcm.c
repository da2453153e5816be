// SPDX-License-Identifier: MIT
/*
 * tls_gcm.c: what BearSSL's AES-128-GCM costs, without any TLS.
 *
 *     tls_gcm
 *
 * Encrypts a record of 16 KiB in place and decrypts it again, which costs the
 * same, and checks its tag. The implementations are the best of this processor.
 */
#include "bench.h"

#include <bearssl.h>

enum { RECORD_BYTES = 16384, RECORDS = 4096 };

static br_aes_x86ni_ctr_keys hardware;
static br_aes_ct64_ctr_keys software;
static const br_block_ctr_class **aes;
static br_ghash ghash;
static unsigned char record[RECORD_BYTES], tag[16];

static void choose(const unsigned char *key)
{
    const br_block_ctr_class *fast = br_aes_x86ni_ctr_get_vtable();
    if (fast) {
        fast->init((void *)&hardware, key, 16);
        aes = &hardware.vtable;
    } else {
        br_aes_ct64_ctr_init(&software, key, 16);
        aes = &software.vtable;
    }
    ghash = br_ghash_pclmul_get();
    if (!ghash)
        ghash = br_ghash_ctmul64;
}

/* Encrypt or decrypt the record; a record's head of 5 bytes is covered, too. */
static void run(int encrypt)
{
    static const unsigned char iv[12], head[5] = { 23, 3, 3, 64, 17 };
    br_gcm_context gcm;
    br_gcm_init(&gcm, aes, ghash);
    br_gcm_reset(&gcm, iv, sizeof iv);
    br_gcm_aad_inject(&gcm, head, sizeof head);
    br_gcm_flip(&gcm);
    br_gcm_run(&gcm, encrypt, record, sizeof record);
    if (encrypt)
        br_gcm_get_tag(&gcm, tag);
    else if (!br_gcm_check_tag(&gcm, tag))
        die("a tag is wrong");
}

int main(void)
{
    choose((const unsigned char *)"0123456789abcdef");
    int64_t start = cpu_ns();
    for (int i = 0; i < RECORDS; i++)
        run(i % 2 == 0);
    double megabytes = (double)RECORD_BYTES * RECORDS / 1e6;
    printf("us_per_mb=%.3f\n", (double)(cpu_ns() - start) / 1e3 / megabytes);
    return 0;
}
