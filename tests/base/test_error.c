// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_error.c: what each number says.
 */
#include "test.h"

#include <coil/error.h>

#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

enum { FIRST = COIL_EEND, LAST = COIL_ECERT }; // they count downwards

static const char unknown[] = "Unknown error";

/* ---- coil_strerror ---------------------------------------------------- */

TEST(error_each_code_of_coil_has_words_of_its_own)
{
    for (int err = FIRST; err >= LAST; err--) {
        const char *words = coil_strerror(err);
        CHECK(*words);
        CHECK(strcmp(words, unknown) != 0);
        CHECK(strcmp(words, coil_strerror(0)) != 0);
        CHECK(!strchr(words, '\n'));
        for (int other = FIRST; other > err; other--)
            CHECK(strcmp(words, coil_strerror(other)) != 0);
    }
}

// Fails when a code is added: LAST and with it the cases above follow.
TEST(error_below_the_last_code_is_unknown)
{
    CHECK_STR(coil_strerror(LAST - 1), unknown);
    CHECK_STR(coil_strerror(INT_MIN), unknown);
}

TEST(error_not_negative_is_success)
{
    static const int results[] = { 0, 1, ECONNREFUSED, 4096, INT_MAX };
    for (size_t i = 0; i < COUNT(results); i++)
        CHECK_STR(coil_strerror(results[i]), "Success");
}

TEST(error_of_the_system_has_the_systems_words)
{
    static const struct {
        int err;
        const char *words;
    } rows[] = {
        { -EPERM, "Operation not permitted" },
        { -ENOMEM, "Cannot allocate memory" },
        { -ECONNREFUSED, "Connection refused" },
        { -ECANCELED, "Operation canceled" },
        /* "Connection timed out" there: most have no connection. */
        { -ETIMEDOUT, "Timed out" },
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        CHECK_STR(coil_strerror(rows[i].err), rows[i].words);
}

// 41 and 58 are numbers that Linux does not use; -4095 is where errno ends.
TEST(error_that_the_system_does_not_know_is_unknown)
{
    static const int errors[] = { -41, -58, -1000, -4095 };
    for (size_t i = 0; i < COUNT(errors); i++)
        CHECK_STR(coil_strerror(errors[i]), unknown);
}

/* ---- Details ---------------------------------------------------------- */

TEST(error_detail_gives_phase_and_code_back)
{
    static const int codes[] = {
        0, 1, -1, EAI_NONAME, -SIGKILL, 255, 0x7fffff, -0x800000,
    };
    for (int phase = COIL_PHASE_NONE; phase <= COIL_PHASE_BODY; phase++)
        for (size_t i = 0; i < COUNT(codes); i++) {
            uint32_t detail = COIL_DETAIL(phase, codes[i]);
            CHECK_INT(COIL_DETAIL_PHASE(detail), phase);
            CHECK_INT(COIL_DETAIL_CODE(detail), codes[i]);
        }
}

TEST(error_detail_of_zero_is_no_phase_and_no_code)
{
    CHECK_INT(COIL_DETAIL(COIL_PHASE_NONE, 0), 0);
    CHECK_INT(COIL_DETAIL_PHASE(0), COIL_PHASE_NONE);
    CHECK_INT(COIL_DETAIL_CODE(0), 0);
}

TEST(error_phases_have_names)
{
    static const struct {
        enum coil_phase phase;
        const char *name;
    } rows[] = {
        { COIL_PHASE_NONE, "" },
        { COIL_PHASE_RESOLVE, "resolve" },
        { COIL_PHASE_POOL, "pool" },
        { COIL_PHASE_CONNECT, "connect" },
        { COIL_PHASE_TLS, "tls" },
        { COIL_PHASE_SEND, "send" },
        { COIL_PHASE_HEADERS, "headers" },
        { COIL_PHASE_BODY, "body" },
        { (enum coil_phase)(COIL_PHASE_BODY + 1), "" },
        { COIL_DETAIL_PHASE(UINT32_MAX), "" },
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        CHECK_STR(coil_phase_name(rows[i].phase), rows[i].name);
}

/* ---- coil_explain ----------------------------------------------------- */

struct explained {
    int err;
    uint32_t detail;
    const char *line;
};

static void check_explained(const struct explained *rows, size_t n)
{
    char line[128];
    for (size_t i = 0; i < n; i++)
        CHECK_STR(coil_explain(rows[i].err, rows[i].detail, line, sizeof line),
                  rows[i].line);
}

TEST(error_explain_begins_with_the_phase)
{
    static const struct explained rows[] = {
        { -ECONNREFUSED, 0, "Connection refused" },
        { -ECONNREFUSED, COIL_DETAIL(COIL_PHASE_CONNECT, 0),
          "connect: Connection refused" },
        { COIL_EINCOMPLETE, COIL_DETAIL(COIL_PHASE_BODY, 0),
          "body: The peer ended before all bytes were there" },
        { -EMFILE, COIL_DETAIL(COIL_PHASE_BODY + 1, 0), "Too many open files" },
        { 0, COIL_DETAIL(COIL_PHASE_SEND, 0), "send: Success" },
        { -41, COIL_DETAIL(COIL_PHASE_POOL, 0), "pool: Unknown error" },
    };
    check_explained(rows, COUNT(rows));
}

// Each fault has words of its own; coil-tls adds names and dates.
TEST(error_explain_says_what_is_wrong_with_a_certificate)
{
    static const struct explained rows[] = {
        { COIL_ECERT, COIL_DETAIL(COIL_PHASE_TLS, COIL_CERT_UNKNOWN),
          "tls: The certificate is not trusted: no trusted authority signed "
          "it" },
        { COIL_ECERT, COIL_DETAIL(COIL_PHASE_TLS, COIL_CERT_PIN),
          "tls: The certificate is not trusted: it is not the pinned one" },
        { COIL_ECERT, 0, "The certificate is not trusted" },
        { COIL_ECERT, COIL_DETAIL(0, COIL_CERT_PIN + 1),
          "The certificate is not trusted" },
        { COIL_ECERT, COIL_DETAIL(0, -1), "The certificate is not trusted" },
    };
    check_explained(rows, COUNT(rows));
}

TEST(error_explain_says_why_a_name_does_not_resolve)
{
    static const int codes[] = { EAI_NONAME, EAI_AGAIN, EAI_FAIL, EAI_SYSTEM };
    for (size_t i = 0; i < COUNT(codes); i++) {
        char line[128], expected[128];
        snprintf(expected, sizeof expected,
                 "resolve: The name does not resolve: %s",
                 gai_strerror(codes[i]));
        CHECK_STR(coil_explain(COIL_ERESOLVE,
                               COIL_DETAIL(COIL_PHASE_RESOLVE, codes[i]), line,
                               sizeof line),
                  expected);
    }
    static const struct explained without[] = {
        { COIL_ERESOLVE, COIL_DETAIL(COIL_PHASE_RESOLVE, 0),
          "resolve: The name does not resolve" },
    };
    check_explained(without, COUNT(without));
}

// The code of a child that has ended: its exit status, or its signal below 0.
TEST(error_explain_says_how_a_child_ended)
{
    static const struct explained rows[] = {
        { COIL_EBROKEN, 0, "Broken: a party that it needs has gone" },
        { COIL_EBROKEN, COIL_DETAIL(COIL_PHASE_NONE, 3),
          "Broken: a party that it needs has gone: exit status 3" },
        { COIL_EBROKEN, COIL_DETAIL(COIL_PHASE_NONE, -SIGKILL),
          "Broken: a party that it needs has gone: Killed" },
        { COIL_EBROKEN, COIL_DETAIL(COIL_PHASE_NONE, -1000),
          "Broken: a party that it needs has gone" },
    };
    check_explained(rows, COUNT(rows));
}

// Never a byte behind `size`, and a NUL within it.
TEST(error_explain_cuts_to_the_size)
{
    static const char whole[] = "connect: Connection refused";
    uint32_t detail = COIL_DETAIL(COIL_PHASE_CONNECT, 0);
    for (size_t size = 1; size <= sizeof whole + 1; size++) {
        char line[sizeof whole + 2], expected[sizeof whole];
        memset(line, '#', sizeof line);
        CHECK(coil_explain(-ECONNREFUSED, detail, line, size) == line);
        snprintf(expected, size < sizeof whole ? size : sizeof whole, "%s",
                 whole);
        CHECK_STR(line, expected);
        CHECK_INT(line[size], '#');
    }
}

TEST(error_explain_into_no_bytes_writes_none)
{
    char line[1] = { '#' };
    CHECK(coil_explain(-EPERM, 0, line, 0) == line);
    CHECK_INT(line[0], '#');
}

/* ---- Words of another library ----------------------------------------- */

static const char *of_a_parser(int err, uint32_t detail)
{
    return err == COIL_EPROTOCOL && COIL_DETAIL_CODE(detail) == -7
               ? "a colon is missing"
               : "";
}

static const char *of_its_successor(int err, uint32_t detail)
{
    (void)detail;
    return err == COIL_EPROTOCOL ? "bad" : "";
}

static const struct explained broken_protocol[] = {
    { COIL_EPROTOCOL, COIL_DETAIL(COIL_PHASE_HEADERS, -7),
      "headers: The peer broke the protocol" },
};

TEST(error_explain_asks_another_library_for_its_words)
{
    static const struct explained rows[] = {
        { COIL_EPROTOCOL, COIL_DETAIL(COIL_PHASE_HEADERS, -7),
          "headers: The peer broke the protocol: a colon is missing" },
        { COIL_EPROTOCOL, COIL_DETAIL(COIL_PHASE_HEADERS, 7),
          "headers: The peer broke the protocol" },
        { -EPIPE, COIL_DETAIL(COIL_PHASE_SEND, -7), "send: Broken pipe" },
    };
    check_explained(broken_protocol, COUNT(broken_protocol));
    coil_set_explain(of_a_parser);
    check_explained(rows, COUNT(rows));
}

// What coil itself means by a code is not asked for.
TEST(error_explain_knows_its_own_codes)
{
    static const struct explained rows[] = {
        { COIL_ERESOLVE, 0, "The name does not resolve" },
        { COIL_EBROKEN, COIL_DETAIL(COIL_PHASE_NONE, -SIGKILL),
          "Broken: a party that it needs has gone: Killed" },
    };
    coil_set_explain(of_a_parser);
    check_explained(rows, COUNT(rows));
}

TEST(error_explain_with_the_words_of_the_last_who_gave_them)
{
    static const struct explained rows[] = {
        { COIL_EPROTOCOL, 0, "The peer broke the protocol: bad" },
    };
    coil_set_explain(of_a_parser);
    coil_set_explain(of_its_successor);
    check_explained(rows, COUNT(rows));
}

TEST(error_explain_with_null_takes_the_words_away)
{
    coil_set_explain(of_a_parser);
    coil_set_explain(NULL);
    check_explained(broken_protocol, COUNT(broken_protocol));
}
