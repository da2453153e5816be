// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_name.c: whom a certificate speaks for, and whom it may.
 */
#include "pki.h"

#include "tls/name.h"

/* ---- Hosts ---------------------------------------------------------------*/

TEST(name_of_a_host_is_lower_case_without_a_final_dot)
{
    static const struct {
        const char *text, *name;
    } rows[] = {
        { "a.test", "a.test" },
        { "A.Test.", "a.test" },
        { "localhost", "localhost" },
        { "_x.a-b.test", "_x.a-b.test" },
        { "1.a", "1.a" },
        { "xn--bcher-kva.test", "xn--bcher-kva.test" },
        /* RFC 3492 and the examples of IDNA. */
        { "b\xc3\xbc"
          "cher.test",
          "xn--bcher-kva.test" },
        { "\xd0\xbf\xd1\x80\xd0\xb8\xd0\xbc\xd0\xb5\xd1\x80", "xn--e1afmkfd" },
        { "\xe4\xbe\x8b\xe5\xad\x90.\xe6\xb5\x8b\xe8\xaf\x95",
          "xn--fsqu00a.xn--0zwm56d" },
        { "fa\xc3\x9f.de", "xn--fa-hia.de" },
        { "\xf0\x9f\x92\xa9.la", "xn--ls8h.la" },
        { "a\xc3\xa4"
          "b\xc3\xb6"
          "c\xc3\xbc.test",
          "xn--abc-qla5gqb.test" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct coili_host host;
        test_note("%s", rows[i].text);
        CHECK(coili_host_parse(&host, rows[i].text));
        CHECK(!host.is_ip);
        CHECK_STR(host.name, rows[i].name);
        CHECK_INT(host.len, strlen(rows[i].name));
    }
}

TEST(name_of_a_host_may_be_an_address)
{
    struct coili_host host;
    CHECK(coili_host_parse(&host, "192.0.2.1"));
    CHECK(host.is_ip);
    CHECK_INT(host.ip_len, 4);
    CHECK_MEM(host.ip, "\xc0\0\2\1", 4);
    CHECK(coili_host_parse(&host, "::1"));
    CHECK(host.is_ip);
    CHECK_INT(host.ip_len, 16);
    CHECK_INT(host.ip[15], 1);
}

TEST(name_of_no_host_is_refused)
{
    static const char *const rows[] = {
        "",
        ".",
        "..",
        "a..test",
        ".a.test",
        "a.test..",
        "a b",
        "a/b",
        "a@b",
        "a\nb",
        "*.a.test",
        "127.1",
        "1",
        "1.2.3.4.",
        "[::1]",
        "::1%lo",
        "a.1",
        "a.\xff",
        "\xc3",
        "\xc0\xaf",
        "\xed\xa0\x80",
        "\xf8\x88\x80\x80\x80",
        "a:80",
    };
    char longer[300];
    struct coili_host host;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_note("%s", rows[i]);
        CHECK(!coili_host_parse(&host, rows[i]));
    }
    memset(longer, 'a', sizeof longer);
    longer[64] = '\0';
    CHECK(!coili_host_parse(&host, longer));
    longer[63] = '\0';
    CHECK(coili_host_parse(&host, longer));
    for (size_t i = 0; i < sizeof longer; i++)
        longer[i] = i % 50 == 49 ? '.' : 'a';
    longer[253] = '\0';
    CHECK(coili_host_parse(&host, longer));
    CHECK_INT(host.len, 253);
    longer[253] = 'a';
    longer[254] = '\0';
    CHECK(!coili_host_parse(&host, longer));
    /* 63 points that take four bytes each, and more than 63 characters. */
    *longer = '\0';
    for (int i = 0; i < 63; i++)
        strcat(longer, "\xf0\x9f\x92\xa9");
    CHECK(!coili_host_parse(&host, longer));
}

/* ---- Names ---------------------------------------------------------------*/

static struct pki_cert made;

/* A certificate with this spec, parsed. */
static struct coili_cert parsed(const struct pki_spec *spec)
{
    static struct pki_key key;
    struct pki_spec with_key = *spec;
    struct coili_cert cert;
    key = pki_key_new(PKI_P256, 'N');
    with_key.key = &key;
    with_key.issuer = "Issuer";
    made = pki_sign(&with_key, NULL);
    CHECK_STR(coili_cert_parse(&cert, pki_view(&made)), NULL);
    return cert;
}

TEST(name_of_a_certificate_is_matched_as_rfc_9525_says)
{
    static const struct {
        const char *san, *host;
        bool is_for;
    } rows[] = {
        { "DNS:a.test", "a.test", true },
        { "DNS:A.TEST", "a.test", true },
        { "DNS:b.test,DNS:a.test", "a.test", true },
        { "DNS:a.test", "b.a.test", false },
        { "DNS:b.a.test", "a.test", false },
        { "DNS:a.test.", "a.test", false },
        { "DNS:localhost", "localhost", true },
        { "DNS:*.a.test", "xn--bcher-kva.a.test", true },
        { "DNS:*.a.test", "B.A.TEST", true },
        { "DNS:*.b.a.test", "*.b.a.test", false },
        { "DNS:*", "a", false },
        { "DNS:*.", "a.", false },
        { "DNS:*.test", "a.test", false },
        { "DNS:b.*.test", "b.a.test", false },
        { "DNS:*.*.test", "b.a.test", false },
        { "DNS:**.a.test", "b.a.test", false },
        { "DNS:*b.a.test", "b.a.test", false },
        { "DNS:*.0.0.1", "127.0.0.1", false },
        { "EMAIL:a.test", "a.test", false },
        { "IP:192.0.2.1,IP:192.0.2.2", "192.0.2.2", true },
        { "IP:192.0.2.1", "192.0.2.2", false },
        { "IP:2001:db8::1", "2001:DB8:0::1", true },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct coili_host host;
        struct coili_cert cert = parsed(
            &(struct pki_spec){ .subject = "a.test", .san = rows[i].san });
        test_note("%s / %s", rows[i].host, rows[i].san);
        bool is_host = coili_host_parse(&host, rows[i].host);
        CHECK_INT(is_host && coili_cert_speaks_for(&cert, &host),
                  rows[i].is_for);
    }
}

TEST(name_lists_are_cut_between_names)
{
    char text[64], san[2000] = "DNS:0.test";
    struct coili_cert cert = parsed(&(struct pki_spec){ .san = "EMAIL:a@b" });
    coili_cert_names_text(&cert, text, sizeof text);
    CHECK_STR(text, "no name");
    cert = parsed(&(struct pki_spec){ .san = "DNS:a.test,IP:::1" });
    coili_cert_names_text(&cert, text, sizeof text);
    CHECK_STR(text, "a.test, ::1");

    for (int i = 1; i < 12; i++)
        sprintf(san + strlen(san), ",DNS:%d", i);
    cert = parsed(&(struct pki_spec){ .san = san });
    coili_cert_names_text(&cert, text, sizeof text);
    CHECK_STR(text, "0.test, 1, 2, 3, 4, 5, 6, 7 and 4 more");
    strcpy(san, "DNS:");
    memset(san + 4, 'a', 40);
    strcpy(san + 44, ".test,DNS:b.test");
    cert = parsed(&(struct pki_spec){ .san = san });
    coili_cert_names_text(&cert, text, sizeof text);
    CHECK_STR(text, "names that are too long");
    strcpy(san, "DNS:b.test,DNS:");
    memset(san + 15, 'a', 40);
    strcpy(san + 55, ".test,DNS:c.test");
    cert = parsed(&(struct pki_spec){ .san = san });
    coili_cert_names_text(&cert, text, sizeof text);
    CHECK_STR(text, "b.test and 2 more");
}

/* ---- Constraints ---------------------------------------------------------*/

TEST(name_constraints_are_kept_broken_or_unknown)
{
    enum {
        KEPT = COILI_CONSTRAINT_KEPT,
        BROKEN = COILI_CONSTRAINT_BROKEN,
        UNKNOWN = COILI_CONSTRAINT_UNKNOWN
    };
    static const struct {
        const char *nc, *san;
        int result;
    } rows[] = {
        { "+DNS:a.test", "DNS:a.test", KEPT },
        { "+DNS:A.Test", "DNS:b.a.tesT", KEPT },
        { "+DNS:a.test", "DNS:ba.test", BROKEN },
        { "+DNS:a.test", "DNS:test", BROKEN },
        { "+DNS:.a.test", "DNS:a.test", BROKEN },
        { "+DNS:.a.test", "DNS:b.a.test", KEPT },
        { "+DNS:a.test", "DNS:a.test,DNS:b.test", BROKEN },
        { "+DNS:a.test,+DNS:b.test", "DNS:a.test,DNS:b.test", KEPT },
        { "+DNS:", "DNS:a.test", KEPT },
        { "-DNS:", "DNS:a.test", BROKEN },
        { "-DNS:a.test", "DNS:b.a.test", BROKEN },
        { "-DNS:a.test", "DNS:*.a.test", BROKEN },
        { "-DNS:a.test", "DNS:*.test", BROKEN },
        { "-DNS:b.a.test", "DNS:*.a.test", BROKEN },
        { "-DNS:B.A.test", "DNS:*.a.test", BROKEN },
        { "-DNS:c.b.a.test", "DNS:*.a.test", KEPT },
        { "-DNS:a.test", "DNS:*.b.test", KEPT },
        { "-DNS:a.test", "DNS:b.test", KEPT },
        { "-DNS:a.test", "IP:192.0.2.1", KEPT },
        { "+DNS:*.a.test", "DNS:b.a.test", UNKNOWN },
        { "+IP:10.0.0.0/255.0.0.0", "IP:10.1.2.3", KEPT },
        { "+IP:10.0.0.0/255.0.0.0", "IP:11.1.2.3", BROKEN },
        { "+IP:10.0.0.0/255.0.0.0", "IP:::1", BROKEN },
        { "+IP:10.0.0.0/255.0.0.0", "DNS:a.test", KEPT },
        { "-IP:10.0.0.0/255.0.0.0", "IP:10.0.0.1", BROKEN },
        { "-IP:10.0.0.0/255.0.0.0", "IP:::1", KEPT },
        { "-IP:0.0.0.0/0.0.0.0", "IP:1.2.3.4", BROKEN },
        { "+IP:2001:db8::/ffff:ffff::", "IP:2001:db8:1::1", KEPT },
        { "+IP:2001:db8::/ffff:ffff::", "IP:2001:db9::1", BROKEN },
        { "+IP:1.2.3.4", "IP:1.2.3.4", UNKNOWN }, /* without a mask */
        { "+EMAIL:a.test", "DNS:a.test", KEPT },
        { "+EMAIL:a.test", "DNS:a.test,EMAIL:b@a.test", UNKNOWN },
        { "+DIR:x", "DNS:a.test", UNKNOWN },
        { "-DIR:x", "DNS:a.test", UNKNOWN },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        static struct pki_cert authority;
        unsigned budget = 100;
        struct coili_cert ca = parsed(&(struct pki_spec){
            .subject = "CA", .bc = "ca", .nc = rows[i].nc });
        authority = made;
        CHECK_STR(coili_cert_parse(&ca, pki_view(&authority)), NULL);
        struct coili_cert cert = parsed(
            &(struct pki_spec){ .subject = "leaf", .san = rows[i].san });
        test_note("%s: %s", rows[i].nc, rows[i].san);
        CHECK_INT(coili_constraints_check(&ca, &cert, &budget), rows[i].result);
        CHECK(budget < 100 || rows[i].result == UNKNOWN);
        budget = 0;
        CHECK_INT(coili_constraints_check(&ca, &cert, &budget),
                  strchr(rows[i].nc, '*') || strstr(rows[i].nc, "DIR") ||
                          !strcmp(rows[i].nc, "+IP:1.2.3.4")
                      ? COILI_CONSTRAINT_UNKNOWN
                      : COILI_CONSTRAINT_COSTLY);
    }
}
