// SPDX-License-Identifier: MIT
/*
 * complaint.c: what is wrong with a chain, in one sentence.
 */
#include "complaint.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static bool is_wanted(const struct coili_complaint *complaint,
                      enum coil_cert_fault fault)
{
    return complaint->fault == COIL_CERT_OK ||
           (complaint->fault == COIL_CERT_UNKNOWN &&
            fault != COIL_CERT_UNKNOWN);
}

int coili_complain(struct coili_complaint *complaint,
                   enum coil_cert_fault fault, const char *format, ...)
{
    if (!is_wanted(complaint, fault))
        return COIL_ECERT;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(complaint->sentence, sizeof complaint->sentence, format,
              arguments);
    va_end(arguments);
    complaint->fault = fault;
    return COIL_ECERT;
}

int coili_complain_of(struct coili_complaint *complaint,
                      enum coil_cert_fault fault, const struct coili_cert *cert,
                      enum coili_cert_part part, const char *format, ...)
{
    if (!is_wanted(complaint, fault))
        return COIL_ECERT;
    char name[96], what[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    coili_cert_name_text(cert->subject, name, sizeof name);
    if (part == COILI_PART_LEAF)
        return coili_complain(complaint, fault, "the certificate %s", what);
    return coili_complain(complaint, fault, "the certificate of %s%s %s",
                          part == COILI_PART_ANCHOR ? "the trusted authority "
                                                    : "the authority ",
                          *name ? name : "without a name", what);
}

/* The years of certificates are 0 to 9999. */
static const char *write_time(int64_t seconds, const char *format,
                              char text[COILI_DAY_BYTES])
{
    struct tm tm;
    time_t time = (time_t)seconds;
    if (!gmtime_r(&time, &tm) ||
        strftime(text, COILI_DAY_BYTES, format, &tm) == 0)
        memcpy(text, "another age", sizeof "another age");
    return text;
}

const char *coili_day_text(int64_t seconds, char text[COILI_DAY_BYTES])
{
    return write_time(seconds, "%Y-%m-%d", text);
}

const char *coili_time_text(int64_t seconds, char text[COILI_DAY_BYTES])
{
    return write_time(seconds, "%Y-%m-%d %H:%M:%S", text);
}
