// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_complaint.c: what is wrong with a chain, in one sentence.
 */
#include "pki.h"

#include "tls/complaint.h"

TEST(complaint_of_an_unknown_issuer_is_replaced_and_no_other)
{
    struct coili_complaint c = { COIL_CERT_OK, "" };
    CHECK_INT(coili_complain(&c, COIL_CERT_UNKNOWN, "first"), COIL_ECERT);
    CHECK_INT(coili_complain(&c, COIL_CERT_UNKNOWN, "second"), COIL_ECERT);
    CHECK_STR(c.sentence, "first");
    CHECK_INT(coili_complain(&c, COIL_CERT_TIME, "in %d days", 3), COIL_ECERT);
    CHECK_INT(c.fault, COIL_CERT_TIME);
    CHECK_STR(c.sentence, "in 3 days");
    coili_complain(&c, COIL_CERT_UNKNOWN, "third");
    coili_complain(&c, COIL_CERT_SIGNATURE, "fourth");
    CHECK_INT(c.fault, COIL_CERT_TIME);
    CHECK_STR(c.sentence, "in 3 days");
}

TEST(complaint_names_the_certificate)
{
    static const struct {
        enum coili_cert_part part;
        const char *subject, *sentence;
    } rows[] = {
        { COILI_PART_LEAF, "x", "the certificate is bad" },
        { COILI_PART_ISSUER, "A", "the certificate of the authority A is bad" },
        { COILI_PART_ANCHOR, "R",
          "the certificate of the trusted authority R is bad" },
        { COILI_PART_ISSUER, NULL,
          "the certificate of the authority without a name is bad" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        static struct pki_cert made;
        struct pki_key key = pki_key_new(PKI_P256, 'C');
        struct coili_complaint c = { COIL_CERT_OK, "" };
        struct coili_cert cert;
        made = pki_sign(&(struct pki_spec){ .subject = rows[i].subject,
                                            .issuer = "x",
                                            .key = &key },
                        NULL);
        CHECK_STR(coili_cert_parse(&cert, pki_view(&made)), NULL);
        CHECK_INT(coili_complain_of(&c, COIL_CERT_WEAK, &cert, rows[i].part,
                                    "is %s", "bad"),
                  COIL_ECERT);
        CHECK_STR(c.sentence, rows[i].sentence);
    }
}

TEST(complaint_is_cut_to_its_room)
{
    struct coili_complaint c = { COIL_CERT_OK, "" };
    char text[2 * COILI_SENTENCE_BYTES];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    coili_complain(&c, COIL_CERT_WEAK, "%s", text);
    CHECK_INT(strlen(c.sentence), COILI_SENTENCE_BYTES - 1);
}

TEST(complaint_writes_days_of_all_centuries)
{
    char text[COILI_DAY_BYTES];
    CHECK_STR(coili_day_text(PKI_NOW, text), "2026-11-01");
    CHECK_STR(coili_time_text(PKI_NOW + 1, text), "2026-11-01 12:00:01");
    CHECK_STR(coili_day_text(253402300799, text), "9999-12-31");
    CHECK_STR(coili_day_text(-1, text), "1969-12-31");
    CHECK_STR(coili_day_text(INT64_MAX, text), "another age");
}
