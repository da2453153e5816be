// SPDX-License-Identifier: MIT
#ifndef HOSTILE_PLAY_H
#define HOSTILE_PLAY_H

/*
 * hostile_play.h: plays the tables of hostile.h, against one engine.
 *
 * Each row is played as it is; or with all its handshake messages in records of
 * one byte, and with the message that is changed in two records, cut at each
 * place: where a message is cut may not change what is said of it.
 */
#include "duel_kit.h"
#include "hostile.h"

enum {
    EDITS = sizeof((struct hostile_row *)0)->edits / sizeof(struct att_edit)
};

static int expected_outcome(const struct hostile_row *row, int which,
                            const struct duel_result *r)
{
    if (row->needs_ticket && !r->seen.offers_ticket)
        return 110;
    return which == DUEL_OPENSSL && row->openssl ? row->openssl : row->alert;
}

/* An engine that is wrong in an alert is not to be wrong in opening. */
static void judge(const struct hostile_row *row, int which, const char *how,
                  const struct duel_result *r)
{
    int expected = expected_outcome(row, which, r);
    bool may_open = row->behind || expected == DUEL_OPENS;
    bool good = r->outcome == expected ||
                (which == DUEL_OPENSSL && r->outcome == row->alert);
    if (!good || (r->opened && !may_open) ||
        (r->outcome == DUEL_OPENS && row->alert == DUEL_OPENS && r->complaint))
        duel_fault(row->name, how, expected, r);
}

/* The message whose bytes are changed; -1: none is. */
static int changed_message(const struct hostile_row *row)
{
    int on = row->edits[0].on;
    bool changes = row->edits[0].op >= ATT_SPLICE &&
                   row->edits[0].op <= ATT_LENGTH;
    if (row->framed || !changes || (on >= ATT_CCS && on <= ATT_DATA))
        return -1;
    return on;
}

static void play_row(const struct hostile_row *row, int which, bool in_parts)
{
    struct duel_options options = row->options;
    struct att_script script = row->script;
    char how[64];
    options.is_server = script.is_client;
    script.edits = row->edits;
    script.edits_n = EDITS;
    test_note("%s", row->name);
    struct coili_tls_setup *setup = duel_setup(duel_engine(which), &options);
    struct duel_result r = duel_play(setup, &script, NULL);
    size_t len = r.changed;
    if (!in_parts) {
        judge(row, which, "", &r);
    } else if (!row->framed) {
        script.chunk = 1;
        r = duel_play(setup, &script, NULL);
        judge(row, which, "in single bytes", &r);
        script.chunk = 0;
        script.split_on = changed_message(row);
        /* In a certificate most places are alike. */
        size_t step = test_is_slow() || len > 300 ? 1 + len / 40 : 1;
        for (size_t at = 1; script.split_on >= 0 && at < len + 4; at += step) {
            script.split_at = at;
            snprintf(how, sizeof how, "cut at %zu", at);
            r = duel_play(setup, &script, NULL);
            judge(row, which, how, &r);
        }
    }
    coili_tls_setup_unref(setup);
}

static void play_tables(int which, bool in_parts)
{
    test_timeout(120);
    stage_open();
    for (size_t t = 0; t < HOSTILE_N(hostile_tables); t++)
        for (size_t i = 0; i < hostile_tables[t].n; i++)
            play_row(&hostile_tables[t].rows[i], which, in_parts);
    stage_close();
    duel_check();
}

#endif
