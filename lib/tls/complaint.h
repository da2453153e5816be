// SPDX-License-Identifier: MIT
#ifndef COILI_COMPLAINT_H
#define COILI_COMPLAINT_H

/*
 * complaint.h: what is wrong with a chain, in one sentence.
 *
 * While paths are tried many things may be found wrong. The first complaint
 * stays, but for COIL_CERT_UNKNOWN, which every other one replaces: it only says
 * that no path was found.
 */

#include <coil/error.h>
#include <stdint.h>

#include "cert.h"
#include "trust.h"

struct coili_complaint {
    enum coil_cert_fault fault;
    char sentence[COILI_SENTENCE_BYTES];
};

/* A part that a certificate has in a chain. */
enum coili_cert_part { COILI_PART_LEAF, COILI_PART_ISSUER, COILI_PART_ANCHOR };

/*
 * Note a fault. `format` is as in printf(3).
 *
 * Result    COIL_ECERT
 */
__attribute__((format(printf, 3, 4))) int
coili_complain(struct coili_complaint *complaint, enum coil_cert_fault fault,
               const char *format, ...);

/*
 * The same of one certificate: "the certificate " or "the certificate of the
 * authority NAME " stands before what `format` says.
 */
__attribute__((format(printf, 5, 6))) int
coili_complain_of(struct coili_complaint *complaint, enum coil_cert_fault fault,
                  const struct coili_cert *cert, enum coili_cert_part part,
                  const char *format, ...);

/* "2026-11-01", in UTC; or "2026-11-01 09:30:00". */
#define COILI_DAY_BYTES 24
const char *coili_day_text(int64_t seconds, char text[COILI_DAY_BYTES]);
const char *coili_time_text(int64_t seconds, char text[COILI_DAY_BYTES]);

#endif
