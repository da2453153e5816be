// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_hostile_open.c: what a hostile peer does for long, or when the engine
 * cannot answer, and what is decided before an engine sees it.
 */
#include "duel_kit.h"
#include "hostile.h"

#include <stdlib.h>

struct flood {
    int n;
    size_t answers; /* bytes that came back for it */
};

/* Give the engine one record, and count what it has to say. */
static int give(struct coili_tls_state *state, const unsigned char *bytes,
                size_t len, struct attacker *a, size_t *answers)
{
    unsigned char *record = malloc(len);
    struct coili_tls_out out = { 0 };
    struct coili_tls_data data = { 0 };
    CHECK(record);
    memcpy(record, bytes, len);
    int event = state->setup->engine->record(state, record, len, &data, &out);
    free(record);
    *answers += out.len;
    if (out.len > 0)
        att_take(a, out.data, out.len);
    coili_tls_out_free(&out);
    return event;
}

static void ask_for_updates(struct coili_tls_state *state, struct attacker *a,
                            void *arg)
{
    struct flood *flood = arg;
    const unsigned char *bytes;
    size_t len;
    for (int i = 0; i < flood->n; i++) {
        att_say(a, ATT_KEY_UPDATE, "\1", 1, &bytes, &len);
        CHECK_INT(give(state, bytes, len, a, &flood->answers), COILI_TLS_QUIET);
        att_say(a, ATT_DATA, "x", 1, &bytes, &len);
        CHECK_INT(give(state, bytes, len, a, &flood->answers), COILI_TLS_DATA);
    }
    struct coili_tls_out out = { 0 };
    CHECK_INT(state->setup->engine->seal(state, "hello", 5, &out), 0);
    att_take(a, out.data, out.len);
    coili_tls_out_free(&out);
    CHECK_INT(att_seen(a)->data, 5);
}

static struct duel_result flood(bool is_server,
                                void (*after)(struct coili_tls_state *,
                                              struct attacker *, void *),
                                uint16_t version, void *arg)
{
    struct duel_options options = { .is_server = is_server };
    struct att_script script = { .is_client = is_server, .version = version };
    struct coili_tls_setup *setup = duel_setup(coil_tls_own_engine(), &options);
    struct duel_extra extra = { .after = after, .arg = arg };
    struct duel_result r = duel_play(setup, &script, &extra);
    coili_tls_setup_unref(setup);
    return r;
}

// A peer that asks for new keys and takes no answers makes the engine keep one.
TEST(hostile_requests_for_new_keys_have_one_answer)
{
    stage_open();
    for (int is_server = 0; is_server < 2; is_server++) {
        struct flood f = { .n = test_is_slow() ? 200 : 10000 };
        struct duel_result r = flood(is_server, ask_for_updates, 0x0304, &f);
        CHECK_INT(r.outcome, DUEL_OPENS);
        CHECK_STR(r.complaint, NULL);
        CHECK_INT(r.seen.key_updates, 1);
        CHECK_INT(f.answers, 0);
    }
    stage_close();
}

// RFC 5246, 7.4.1.1: a client that does not renegotiate says so by a warning.
TEST(hostile_hello_request_is_answered_by_a_warning)
{
    struct att_edit edit = BEFORE(ATT_END, ATT_HELLO_REQUEST);
    struct att_script script = { .version = 0x0303,
                                 .edits = &edit,
                                 .edits_n = 1 };
    stage_open();
    for (int which = 0; which < 2; which++) {
        struct duel_options options = { .is_server = false };
        struct coili_tls_setup *setup = duel_setup(duel_engine(which),
                                                   &options);
        struct duel_result r = duel_play(setup, &script, NULL);
        CHECK_INT(r.outcome, DUEL_OPENS);
        CHECK_INT(r.seen.alerts, 1);
        CHECK_INT(r.seen.level, 1);
        CHECK_INT(r.seen.alert, 100);
        CHECK(r.seen.alert_sealed);
        coili_tls_setup_unref(setup);
    }
    stage_close();
}

static int feed_server(const void *bytes, size_t len)
{
    struct duel_options options = { .is_server = true };
    struct coili_tls_setup *setup = duel_setup(coil_tls_own_engine(), &options);
    struct duel_result r = duel_feed(setup, bytes, len);
    CHECK(!r.opened);
    coili_tls_setup_unref(setup);
    return r.err < 0 ? r.code : r.outcome;
}

// A hello of SSL 2 begins with a length: it is no record, and no text either.
TEST(hostile_hello_of_ssl_2_is_no_tls)
{
    static const char ssl2[] = "\x80\x2e\1\3\1\0\x15\0\0\0\x10";
    stage_open();
    CHECK_INT(feed_server(ssl2, sizeof ssl2 - 1), COIL_TLS_NOT_TLS);
    stage_close();
}

// The most that a record may have, and a byte more: before the keys the engine
// itself must find it, since the stream's bound is that of encrypted records.
TEST(hostile_lengths_of_plain_records_are_bounded)
{
    static unsigned char record[5 + 16640] = { 22, 3, 1 };
    stage_open();
    static const struct {
        size_t len;
        int code;
    } rows[] = { { 16384, 50 }, { 16385, 22 }, { 16640, 22 } };
    for (size_t i = 0; i < HOSTILE_N(rows); i++) {
        memcpy(record + 5, "\1\xff\xff\xff", 4);
        record[3] = (unsigned char)(rows[i].len >> 8);
        record[4] = (unsigned char)rows[i].len;
        CHECK_INT(feed_server(record, 5 + rows[i].len), rows[i].code);
    }
    stage_close();
}

// A content of 16384 bytes is legal, one more is not, and 16641 bytes are no
// record at all: in whichever place the bound stands, the alert is 22.
TEST(hostile_lengths_of_encrypted_records_are_bounded)
{
    static unsigned char zeros[20000];
    static const struct {
        size_t len;
        int outcome;
    } rows[] = {
        { 16384, DUEL_OPENS }, { 16385, 22 }, { 16623, 22 }, { 16624, 22 }
    };
    stage_open();
    for (size_t i = 0; i < HOSTILE_N(rows); i++)
        for (int is_12 = 0; is_12 < 2; is_12++) {
            struct att_edit edit = { ATT_END, ATT_BEFORE,  ATT_DATA, 0,
                                     zeros,   rows[i].len, ATT_SENT };
            struct att_script script = { .version = is_12 ? 0x0303 : 0x0304,
                                         .edits = &edit,
                                         .edits_n = 1 };
            struct duel_options options = { .is_server = false };
            struct coili_tls_setup *setup = duel_setup(coil_tls_own_engine(),
                                                       &options);
            struct duel_result r = duel_play(setup, &script, NULL);
            test_note("%zu bytes: %s", rows[i].len,
                      duel_outcome_text(r.outcome));
            CHECK_INT(r.outcome, rows[i].outcome);
            CHECK_INT(r.data, rows[i].outcome == DUEL_OPENS ? 16384 : 0);
            coili_tls_setup_unref(setup);
        }
    stage_close();
}
