// SPDX-License-Identifier: MIT
#ifndef STREAM_SUITE_H
#define STREAM_SUITE_H

/*
 * stream_suite.h: what stream.h promises of any stream, as cases over a
 * function that makes two connected ones. A kind of stream passes this suite in
 * a program of its own:
 *
 *     #include "stream_kind.h"
 *
 *     static int make_pair(struct coil_stream *ends[2], size_t bytes) ...
 *
 *     static const struct stream_kind stream_kind = {
 *         .make_pair = make_pair,
 *         .abort_resets = true,
 *     };
 *
 *     #include "stream_suite.h"
 *
 * Both ends are streams of that kind: `s`, whose behaviour is checked, and
 * `peer`. Nothing is assumed of how many passes of the loop a byte takes from
 * one to the other.
 */
#include <stdio.h>

#include <coil/error.h>

#include "stream_kind.h"
#include "stream_talk.h"

/* ---- Around a case ---------------------------------------------------- */

static struct coil_stream *s, *peer;
static struct pattern in, out;    /* what `s` has read, `peer` has written */
static struct pattern got, given; /* what `peer` has read, `s` has written */

static void open_streams_of(size_t bytes)
{
    struct coil_stream *ends[2];
    stage_open_with(stream_kind.options);
    CHECK_INT(stream_kind.make_pair(ends, bytes), 0);
    s = ends[0];
    peer = ends[1];
    in = out = (struct pattern){ .seed = 42 };
    got = given = (struct pattern){ .seed = 43 };
}

static void open_streams(void)
{
    open_streams_of(0);
}

static void close_end(struct coil_stream **end)
{
    int fd = *end ? coil_stream_fd(*end) : -1;
    CHECK_INT(wait_int(coil_stream_close(*end)), 0);
    CHECK(fd < 0 || !is_open(fd));
    *end = NULL;
}

/* Nothing is left behind: no operation, and no buffer that is lent. */
static void end_case(void)
{
    UNTIL(stage_stats().in_flight == 0);
    struct coil_loop *loop = coili_loop;
    if (loop->receivers)
        CHECK_INT(loop->table->buffers_free(loop->backend),
                  loop->options.recv_buffers);
    stage_close();
}

static void close_all(void)
{
    close_end(&s);
    close_end(&peer);
    end_case();
}

/* So many passes that what can happen has happened. */
static void settle(void)
{
    for (int i = 0; i < 20; i++)
        coil_loop_pass(stage_loop, 0);
}

/* ---- The peer --------------------------------------------------------- */

static void peer_gives(const char *bytes, size_t n)
{
    CHECK_INT(wait_int(coil_stream_write(peer, bytes, n)), n);
}

static void peer_says(const char *words)
{
    peer_gives(words, strlen(words));
}

/* Not more than the streams hold between them. */
static void peer_sends(size_t n)
{
    char *buf = malloc(n + 1);
    pattern_fill(&out, buf, n);
    peer_gives(buf, n);
    free(buf);
}

static void peer_ends(void)
{
    CHECK_INT(wait_int(coil_stream_write_eof(peer)), 0);
}

/* Begin to write any number of bytes, from `buf`. */
static struct coil_task *peer_begins(char *buf, size_t n)
{
    pattern_fill(&out, buf, n);
    return begin(coil_stream_write(peer, buf, n));
}

/* ---- Reading, bytes of a pattern -------------------------------------- */

static int64_t fill(size_t want)
{
    return wait_int(coil_stream_fill(s, want));
}

/* What peek shows is the pattern; how many bytes. */
static size_t peek(void)
{
    char *data = NULL;
    struct pattern ahead = in;
    size_t n = coil_stream_peek(s, &data);
    pattern_check(&ahead, data, n);
    return n;
}

static void consume(size_t n)
{
    coil_stream_consume(s, n);
    in.at += n;
}

/*
 * Read and check what comes, until `n` bytes have, or the end or an error. What
 * the last fill gave.
 */
static int64_t read_on(struct coil_stream *stream, struct pattern *p, size_t n)
{
    uint64_t until = p->at + n;
    int64_t there = 1;
    while (p->at < until) {
        there = wait_int(coil_stream_fill(stream, 1));
        if (there <= 0)
            break;
        char *data;
        size_t some = coil_stream_peek(stream, &data);
        if (some > until - p->at)
            some = (size_t)(until - p->at);
        pattern_check(p, data, some);
        coil_stream_consume(stream, some);
    }
    return there;
}

static int64_t read_to_end(struct coil_stream *stream, struct pattern *p)
{
    return read_on(stream, p, SIZE_MAX / 2);
}

/* A peer that has reset, where the kind has that; else one that has ended. */
static int64_t reset_or_end(void)
{
    return stream_kind.abort_resets ? -ECONNRESET : 0;
}

/* ---- fill, peek, consume ---------------------------------------------- */

TEST(stream_fill_shows_what_is_there)
{
    open_streams();
    CHECK_INT(peek(), 0);
    struct coil_task *t = begin(coil_stream_fill(s, 1));
    CHECK(!coil_task_done(t));
    peer_sends(10);
    CHECK_INT(task_int(t), 10);
    CHECK_INT(peek(), 10);
    CHECK_INT(peek(), 10);
    consume(3);
    CHECK_INT(peek(), 7);
    CHECK_INT(fill(0), 7);
    CHECK_INT(fill(7), 7);
    consume(0);
    consume(7);
    CHECK_INT(peek(), 0);
    CHECK(!coil_stream_at_end(s));
    t = begin(coil_stream_fill(s, 0)); /* counts as 1 */
    settle();
    CHECK(!coil_task_done(t));
    peer_sends(1);
    CHECK_INT(task_int(t), 1);
    close_all();
}

// Wherever the network cuts, and whatever was consumed before.
TEST(stream_fill_joins_what_was_cut_anywhere)
{
    enum { ALL = 24 };
    for (size_t cut = 1; cut < ALL; cut++) {
        for (size_t want = cut; want <= ALL - 2; want += 5) {
            open_streams();
            peer_sends(cut);
            CHECK_INT(fill(1), cut);
            size_t gone = cut > 2 ? 2 : 0;
            if (gone)
                consume(gone);
            struct coil_task *t = begin(coil_stream_fill(s, want));
            peer_sends(ALL - cut);
            CHECK(task_int(t) >= (int64_t)want);
            CHECK(peek() >= want);
            close_all();
        }
    }
}

TEST(stream_fill_gives_less_only_at_the_end)
{
    open_streams();
    peer_sends(10);
    struct coil_task *t = begin(coil_stream_fill(s, 20));
    settle();
    CHECK(!coil_task_done(t));
    peer_ends();
    CHECK_INT(task_int(t), 10);
    CHECK_INT(peek(), 10);
    CHECK(!coil_stream_at_end(s));
    CHECK_INT(fill(11), 10);
    consume(10);
    CHECK(coil_stream_at_end(s));
    CHECK_INT(fill(1), 0);
    CHECK_INT(fill(1), 0);
    CHECK_INT(peek(), 0);
    close_all();
}

/* Around each size that a buffer on the way may have. */
static const size_t sizes[] = { 0,     1,     2,     63,     64,    65,
                                255,   256,   257,   4095,   4096,  4097,
                                8191,  8192,  8193,  16383,  16384, 16385,
                                65535, 65536, 65537, 1 << 18 };

enum { SIZES = sizeof sizes / sizeof sizes[0] };
_Static_assert(COIL_STREAM_FILL_BYTES_MAX == 1 << 18, "the largest fill");

TEST(stream_fill_gives_bytes_of_any_number_in_one_piece)
{
    char *buf = malloc(COIL_STREAM_FILL_BYTES_MAX);
    open_streams_of(4096);
    for (size_t i = 1; i < SIZES; i++) {
        size_t n = sizes[i];
        test_note("%zu bytes", n);
        struct coil_task *w = peer_begins(buf, n);
        CHECK_INT(fill(n), n);
        CHECK_INT(peek(), n);
        CHECK_INT(task_int(w), n);
        consume(n / 2);
        if (n > 1)
            CHECK_INT(fill(n - n / 2), n - n / 2);
        consume(n - n / 2);
    }
    close_all();
    free(buf);
}

TEST(stream_fill_has_a_limit)
{
    open_streams();
    CHECK_INT(fill((size_t)COIL_STREAM_FILL_BYTES_MAX + 1), COIL_ELIMIT);
    CHECK_INT(fill(SIZE_MAX), COIL_ELIMIT);
    peer_sends(1);
    CHECK_INT(fill(1), 1);
    close_all();
}

DEATH_TEST(stream_consume_of_more_than_peek_shows_aborts,
           "more is consumed than peek shows")
{
    open_streams();
    peer_sends(10);
    fill(1);
    consume(11);
}

DEATH_TEST(stream_consume_of_more_than_a_joined_peek_shows_aborts,
           "more is consumed than peek shows")
{
    open_streams();
    peer_sends(50);
    peer_sends(50);
    fill(100);
    consume(101);
}

DEATH_TEST(stream_consume_of_nothing_that_is_there_aborts,
           "more is consumed than peek shows")
{
    open_streams();
    consume(1);
}

// Any order of them, by a seed; the counts and the bytes are right at each.
TEST(stream_fill_and_consume_in_any_order)
{
    for (uint64_t round = 0; round < (test_is_slow() ? 6 : 40); round++) {
        uint64_t seed = round;
        test_note("seed %llu", (unsigned long long)round);
        open_streams();
        size_t all = 4000;
        while (in.at < all) {
            if (out.at < all) {
                size_t most = all - out.at < 200 ? all - out.at : 200;
                peer_sends(1 + draw(&seed, (unsigned)most));
                if (out.at >= all)
                    peer_ends();
            }
            stage_passes((int)draw(&seed, 3));
            size_t want = 1 + draw(&seed, 300);
            size_t there = (size_t)(out.at - in.at);
            if (want > there && out.at < all)
                want = there ? there : 1;
            if (there == 0 && out.at < all)
                continue;
            int64_t n = fill(want);
            CHECK(n >= (int64_t)(want < there ? want : there));
            CHECK_INT(peek(), n);
            consume(draw(&seed, (unsigned)n + 1));
        }
        CHECK_INT(fill(1), 0);
        CHECK(coil_stream_at_end(s));
        close_all();
    }
}

// Lent bytes stay where they are while more arrive behind them.
TEST(stream_peek_stays_while_more_arrives)
{
    open_streams();
    peer_sends(100);
    CHECK_INT(fill(100), 100);
    char *before, *after;
    coil_stream_peek(s, &before);
    for (int i = 0; i < 10; i++) {
        peer_sends(100);
        stage_passes(2);
    }
    CHECK(coil_stream_peek(s, &after) >= 100);
    CHECK(before == after);
    peek();
    close_all();
}

// The bytes that peek shows may be lent to a write to the other direction.
TEST(stream_peeked_bytes_may_be_written_back)
{
    open_streams_of(4096);
    got = given = in;
    for (size_t n = 1; n < 3000; n = n * 2 + 1) {
        peer_sends(n);
        CHECK_INT(fill(n), n);
        char *data;
        CHECK_INT(coil_stream_peek(s, &data), n);
        CHECK_INT(wait_int(coil_stream_write(s, data, n)), n);
        consume(n);
        CHECK_INT(wait_int(coil_stream_fill(peer, n)), n);
        read_on(peer, &got, n);
    }
    close_all();
}

// What lies between a writer and a reader that does not read is bounded.
TEST(stream_that_is_not_read_holds_its_peer_back)
{
    enum { EACH = 10000, WRITES = 200 };
    static char bufs[WRITES][EACH];
    struct coil_task *tasks[WRITES];
    open_streams_of(4096);
    peer_sends(1);
    CHECK_INT(fill(1), 1);
    int n = 0;
    do {
        CHECK(n < WRITES);
        tasks[n] = peer_begins(bufs[n], EACH);
        settle();
    } while (coil_task_done(tasks[n++]));
    uint64_t held = out.at - EACH;
    test_note("%llu bytes are held", (unsigned long long)held);
    CHECK(held <= stream_kind.held_most);
    struct coil_task *eof = begin(coil_stream_write_eof(peer));
    CHECK_INT(read_to_end(s, &in), 0);
    CHECK_INT(in.at, out.at);
    for (int i = 0; i < n; i++)
        CHECK_INT(task_int(tasks[i]), EACH);
    CHECK_INT(task_int(eof), 0);
    close_all();
}

/* ---- Readers ---------------------------------------------------------- */

TEST(stream_has_one_reader_at_a_time)
{
    static char buf[8];
    open_streams();
    struct coil_task *t = begin(coil_stream_read(s, buf, 8));
    CHECK_INT(fill(1), -EBUSY);
    CHECK_INT(wait_int(coil_stream_read_exactly(s, buf, 1)), -EBUSY);
    CHECK_INT(wait_int(coil_stream_read_until(s, 'x', buf, 1)), -EBUSY);
    peer_sends(5);
    CHECK_INT(task_int(t), 5);
    pattern_check(&in, buf, 5);
    peer_sends(1);
    CHECK_INT(fill(1), 1);
    close_all();
}

// Between the wake-up and the step other code takes the bytes: 0 would be the
// end of a stream that has not ended.
TEST(stream_read_that_another_overtakes_goes_on_waiting)
{
    static char buf[64];
    open_streams();
    struct coil_task *t = begin(coil_stream_read(s, buf, sizeof buf));
    coil_detach(coil_stream_write(peer, "overtaken", 9));
    char *data;
    while (!coil_stream_peek(s, &data) && !coil_task_done(t))
        stage_passes(1);
    if (coil_task_done(t)) {
        CHECK_INT(task_int(t), 9); /* both in one pass: see test_stream.c */
    } else {
        CHECK_MEM(data, "overtaken", 9);
        coil_stream_consume(s, 9);
        settle();
        CHECK(!coil_task_done(t));
        peer_says("another");
        CHECK_INT(task_int(t), 7);
        CHECK_MEM(buf, "another", 7);
    }
    close_all();
}

TEST(stream_read_gives_what_there_is)
{
    static char buf[200];
    open_streams();
    CHECK_INT(wait_int(coil_stream_read(s, buf, 0)), 0);
    peer_sends(150);
    CHECK(fill(150) >= 150);
    CHECK_INT(wait_int(coil_stream_read(s, buf, 30)), 30);
    pattern_check(&in, buf, 30);
    CHECK_INT(wait_int(coil_stream_read(s, buf, sizeof buf)), 120);
    pattern_check(&in, buf, 120);
    struct coil_task *t = begin(coil_stream_read(s, buf, sizeof buf));
    peer_sends(1);
    CHECK_INT(task_int(t), 1);
    pattern_check(&in, buf, 1);
    peer_ends();
    CHECK_INT(wait_int(coil_stream_read(s, buf, sizeof buf)), 0);
    CHECK_INT(wait_int(coil_stream_read(s, buf, sizeof buf)), 0);
    close_all();
}

TEST(stream_read_exactly_waits_for_all)
{
    enum { ALL = 3000 };
    static char buf[ALL];
    open_streams();
    CHECK_INT(wait_int(coil_stream_read_exactly(s, buf, 0)), 0);
    struct coil_task *t = begin(coil_stream_read_exactly(s, buf, ALL));
    while (out.at < ALL + 50) {
        CHECK(!coil_task_done(t) || out.at >= ALL);
        peer_sends(50);
        stage_passes(2);
    }
    CHECK_INT(task_int(t), ALL);
    pattern_check(&in, buf, ALL);
    CHECK_INT(wait_int(coil_stream_read_exactly(s, buf, 50)), 50);
    pattern_check(&in, buf, 50);
    close_all();
}

TEST(stream_read_exactly_may_be_larger_than_any_buffer)
{
    enum { ALL = COIL_STREAM_FILL_BYTES_MAX * 2 + 77 };
    char *buf = malloc(ALL), *sent = malloc(ALL);
    open_streams();
    struct coil_task *t = begin(coil_stream_read_exactly(s, buf, ALL));
    struct coil_task *w = peer_begins(sent, ALL);
    CHECK_INT(task_int(t), ALL);
    CHECK_INT(task_int(w), ALL);
    pattern_check(&in, buf, ALL);
    free(buf);
    free(sent);
    close_all();
}

TEST(stream_read_exactly_tells_how_much_came)
{
    static const size_t came[] = { 0, 300, COIL_STREAM_FILL_BYTES_MAX + 100 };
    static char buf[COIL_STREAM_FILL_BYTES_MAX + 1000], sent[sizeof buf];
    for (int i = 0; i < 3; i++) {
        size_t len = i == 2 ? sizeof buf : 500;
        open_streams();
        struct coil_task *t = begin(coil_stream_read_exactly(s, buf, len));
        struct coil_task *w = peer_begins(sent, came[i]);
        struct coil_task *eof = begin(coil_stream_write_eof(peer));
        CHECK_INT(stage_run(t), COIL_EINCOMPLETE);
        CHECK_INT(stage_reason(t), came[i]);
        pattern_check(&in, buf, came[i]);
        CHECK(coil_stream_at_end(s));
        CHECK_INT(task_int(w), came[i]);
        CHECK_INT(task_int(eof), 0);
        close_all();
    }
}

/* ---- read_until ------------------------------------------------------- */

static char line[256];

static int64_t read_line(size_t size)
{
    memset(line, 0, sizeof line);
    return wait_int(coil_stream_read_until(s, '\n', line, size));
}

TEST(stream_read_until_gives_lines)
{
    open_streams();
    peer_says("one\n\nthree\nfo");
    CHECK_INT(read_line(64), 4);
    CHECK_STR(line, "one\n");
    CHECK_INT(read_line(64), 1);
    CHECK_STR(line, "\n");
    CHECK_INT(read_line(64), 6);
    CHECK_STR(line, "three\n");
    struct coil_task *t = begin(coil_stream_read_until(s, '\n', line, 64));
    CHECK(!coil_task_done(t));
    peer_says("ur\n");
    CHECK_INT(task_int(t), 5);
    CHECK_MEM(line, "four\n", 5);
    peer_ends();
    CHECK_INT(read_line(64), 0);
    close_all();
}

// The separator and the line may lie in pieces of any size.
TEST(stream_read_until_finds_a_separator_cut_anywhere)
{
    static const char text[] = "a line of some length\nand the next";
    for (size_t cut = 1; cut + 1 < sizeof text; cut++) {
        open_streams();
        struct coil_task *t = begin(coil_stream_read_until(s, '\n', line, 64));
        peer_gives(text, cut);
        stage_passes(2);
        peer_gives(text + cut, sizeof text - 1 - cut);
        CHECK_INT(task_int(t), 22);
        CHECK_MEM(line, text, 22);
        CHECK_INT(fill(12), 12);
        close_all();
    }
}

TEST(stream_read_until_one_byte_at_a_time)
{
    open_streams();
    struct coil_task *t = begin(coil_stream_read_until(s, '\n', line, 256));
    for (int i = 0; i < 200; i++) {
        peer_says(i == 199 ? "\n" : "x");
        stage_passes(2);
    }
    CHECK_INT(task_int(t), 200);
    CHECK_INT(line[199], '\n');
    close_all();
}

// A line as long as the limit, the separator included, is a line.
TEST(stream_read_until_takes_a_line_of_exactly_the_limit)
{
    static const char text[] = "123456789\nmore";
    for (size_t cut = 1; cut < 10; cut++) {
        open_streams();
        peer_gives(text, cut);
        struct coil_task *t = begin(coil_stream_read_until(s, '\n', line, 10));
        peer_gives(text + cut, 14 - cut);
        CHECK_INT(task_int(t), 10);
        CHECK_MEM(line, "123456789\n", 10);
        close_all();
    }
}

// Too long: an error, and who knows better may read it all the same.
TEST(stream_read_until_leaves_a_line_that_is_too_long)
{
    open_streams();
    peer_says("0123456789\n");
    CHECK_INT(read_line(10), COIL_ELIMIT);
    CHECK_INT(read_line(10), COIL_ELIMIT);
    CHECK_INT(read_line(0), COIL_ELIMIT);
    CHECK_INT(read_line(11), 11);
    CHECK_STR(line, "0123456789\n");
    peer_says("no separator at all, and it goes on and on: .......");
    CHECK_INT(read_line(20), COIL_ELIMIT);
    CHECK_INT(wait_int(coil_stream_read(s, line, 5)), 5);
    CHECK_MEM(line, "no se", 5);
    close_all();
}

TEST(stream_read_until_tells_of_an_end_in_the_middle)
{
    open_streams();
    peer_says("half a li");
    struct coil_task *t = begin(coil_stream_read_until(s, '\n', line, 64));
    peer_ends();
    CHECK_INT(task_int(t), COIL_EINCOMPLETE);
    CHECK_INT(read_line(64), COIL_EINCOMPLETE);
    CHECK_INT(wait_int(coil_stream_read(s, line, 64)), 9);
    CHECK_MEM(line, "half a li", 9);
    CHECK_INT(read_line(64), 0);
    close_all();
}

TEST(stream_read_until_is_limited_by_what_fill_can_show)
{
    static char buf[COIL_STREAM_FILL_BYTES_MAX + 10], sent[2 * sizeof buf];
    memset(sent, 'x', sizeof sent);
    open_streams();
    struct coil_task *w = begin(coil_stream_write(peer, sent, sizeof sent));
    CHECK_INT(wait_int(coil_stream_read_until(s, '\n', buf, sizeof buf)),
              COIL_ELIMIT);
    CHECK(fill(COIL_STREAM_FILL_BYTES_MAX) >= COIL_STREAM_FILL_BYTES_MAX);
    close_end(&s);
    CHECK(task_int(w) != 0);
    close_all();
}

/* ---- lines ------------------------------------------------------------ */

struct reads_lines {
    struct coil_coro coro;
    size_t limit;
    const char *until; /* leaves at this line */
    struct coil_line *line;
    int n;
};

static void reads_lines(struct coil_coro *co)
{
    ASYNC(reads_lines, my) {
        FOR_AWAIT(my->line, coil_stream_lines(s, my->limit)) {
            CHECK_INT(my->line->text[my->line->len], 0);
            my->n++;
            for (size_t i = 0; i < my->line->len; i++)
                if (my->line->text[i] == '\n' || !my->line->text[i])
                    my->line->text[i] = my->line->text[i] ? '$' : '0';
            trace("%s", my->line->text);
            if (my->until && !strcmp(my->line->text, my->until))
                break;
        }
        RETURN(my->n);
    }
}

// Wherever the network cuts. A NUL byte is a byte; the last line has no end.
TEST(stream_lines_of_what_was_cut_anywhere)
{
    static const char text[] = "one\n\nt\0wo\r\nthe last";
    for (size_t cut = 0; cut < sizeof text; cut++) {
        open_streams();
        struct coil_task *t = SPAWN(reads_lines, .limit = 64);
        if (cut)
            peer_gives(text, cut);
        stage_passes(5);
        if (cut < sizeof text - 1)
            peer_gives(text + cut, sizeof text - 1 - cut);
        peer_ends();
        CHECK_INT(task_int(t), 4);
        CHECK_TRACE("one$ $ t0wo\r$ the last");
        CHECK(coil_stream_at_end(s));
        close_all();
    }
}

TEST(stream_lines_one_byte_at_a_time)
{
    open_streams();
    struct coil_task *t = SPAWN(reads_lines, .limit = 400);
    char long_line[400];
    memset(long_line, 'x', sizeof long_line - 1);
    long_line[sizeof long_line - 1] = '\n';
    for (size_t i = 0; i < sizeof long_line; i++) {
        peer_gives(long_line + i, 1);
        stage_passes(2);
    }
    peer_says("y\n");
    peer_ends();
    CHECK_INT(task_int(t), 2);
    close_all();
}

TEST(stream_lines_of_nothing)
{
    open_streams();
    peer_ends();
    CHECK_INT(task_int(SPAWN(reads_lines, .limit = 64)), 0);
    close_all();
}

// asyncio's `async for line in reader` reads on after a break, too.
TEST(stream_lines_leave_what_comes_behind)
{
    static char rest[10];
    open_streams();
    peer_says("head\n\nbody\nmore\n");
    CHECK_INT(task_int(SPAWN(reads_lines, .limit = 64, .until = "$")), 2);
    CHECK_TRACE("head$ $");
    CHECK_INT(wait_int(coil_stream_read_exactly(s, rest, 5)), 5);
    CHECK_MEM(rest, "body\n", 5);
    CHECK_INT(task_int(SPAWN(reads_lines, .limit = 64, .until = "more$")), 1);
    CHECK_TRACE("more$");
    peer_ends();
    CHECK_INT(task_int(SPAWN(reads_lines, .limit = 64)), 0);
    close_all();
}

// One of exactly the limit is none too long; that stays unread.
TEST(stream_lines_are_limited)
{
    for (int ended = 0; ended < 2; ended++) {
        open_streams();
        peer_gives("123456789\n1234567890\n", ended ? 20 : 21);
        if (ended)
            peer_ends();
        CHECK_INT(task_int(SPAWN(reads_lines, .limit = 10)), COIL_ELIMIT);
        CHECK_TRACE("123456789$");
        CHECK_INT(fill(10), ended ? 10 : 11);
        close_all();
    }
    open_streams();
    peer_says("x");
    CHECK_INT(task_int(SPAWN(reads_lines)), COIL_ELIMIT);
    close_all();
}

TEST(stream_lines_end_with_the_error_of_the_stream)
{
    open_streams();
    peer_says("one\ntw");
    CHECK_INT(fill(6), 6);
    CHECK_INT(wait_int(coil_stream_abort(peer)), 0);
    peer = NULL;
    struct coil_task *t = SPAWN(reads_lines, .limit = 64);
    CHECK_INT(task_int(t), stream_kind.abort_resets ? -ECONNRESET : 2);
    CHECK_TRACE(stream_kind.abort_resets ? "one$" : "one$ tw");
    close_all();
}

// No byte is lost: what was not yielded is there.
TEST(stream_lines_cancelled_at_every_point_lose_nothing)
{
    static const char text[] = "ab\nab\nabab\n\ncde";
    enum { PART = (sizeof text - 1) / 3 };
    _Static_assert(PART * 3 == sizeof text - 1, "three parts");
    bool over = false;
    for (int point = 0; !over; point++) {
        open_streams();
        struct coil_task *t = SPAWN(reads_lines, .limit = 64);
        size_t sent = 0;
        for (int i = 0; i < point; i++) {
            if (i % 3 == 1 && sent < sizeof text - 1) {
                coil_detach(coil_stream_write(peer, text + sent, PART));
                sent += PART;
            } else if (i % 3 == 1) {
                coil_detach(coil_stream_write_eof(peer));
            }
            stage_passes(1);
        }
        over = !coil_task_cancel(t);
        CHECK_INT(stage_run(t), over ? 0 : -ECANCELED);
        if (sent < sizeof text - 1)
            peer_gives(text + sent, sizeof text - 1 - sent);
        peer_ends();
        task_int(SPAWN(reads_lines, .limit = 64));
        CHECK_TRACE("ab$ ab$ abab$ $ cde");
        close_all();
    }
}

/* ---- Cancelled reads -------------------------------------------------- */

enum { READ_KINDS = 4 };

static struct coil_future *read_of_kind(int kind, char *buf)
{
    switch (kind) {
    case 0:
        return coil_stream_read(s, buf, 100);
    case 1:
        return coil_stream_read_exactly(s, buf, 100);
    case 2:
        return coil_stream_read_until(s, '\0', buf, 1000);
    default:
        return coil_stream_fill(s, 100);
    }
}

// What had come is the next reader's.
TEST(stream_cancelled_read_loses_nothing)
{
    static char buf[1000];
    for (int kind = 0; kind < READ_KINDS; kind++) {
        for (size_t sent = 0; sent < 100; sent += 33) {
            open_streams();
            test_note("kind %d, %zu bytes", kind, sent);
            out.seed = in.seed = 1; /* its first 100 bytes are no zeroes */
            struct coil_task *t = begin(read_of_kind(kind, buf));
            if (sent)
                peer_sends(sent);
            if (kind > 0 || sent == 0) {
                stage_passes(3);
                CHECK(coil_task_cancel(t));
                CHECK_INT(task_int(t), -ECANCELED);
            } else {
                CHECK_INT(task_int(t), sent);
                pattern_check(&in, buf, sent);
            }
            peer_sends(200 - sent);
            size_t left = (size_t)(200 - in.at);
            CHECK_INT(wait_int(coil_stream_read_exactly(s, buf, left)), left);
            pattern_check(&in, buf, left);
            close_all();
        }
    }
}

// Cancelled before, it has taken none; afterwards, it returns what it has
// taken. With all bytes on their way, and with the last one missing.
TEST(stream_read_cancelled_in_any_pass_loses_nothing)
{
    static char buf[1000], sent[100];
    int taken = 0, cancelled = 0;
    for (int i = 0; i < READ_KINDS * 7 * 2; i++) {
        int kind = i % READ_KINDS, pass = i / READ_KINDS % 7;
        size_t early = i < READ_KINDS * 7 ? 100 : 99;
        test_note("kind %d, cancelled in pass %d", kind, pass);
        open_streams();
        struct coil_task *t = begin(read_of_kind(kind, buf));
        memset(sent, 'x', 99);
        sent[99] = '\0';
        coil_detach(coil_stream_write(peer, sent, early));
        stage_passes(pass);
        coil_task_cancel(t);
        int64_t n = task_int(t);
        CHECK(n == (int64_t)early || n == -ECANCELED);
        if (kind > 0 && early < 100)
            CHECK_INT(n, -ECANCELED);
        taken += n > 0;
        cancelled += n < 0;
        if (early < 100)
            peer_gives(sent + early, 1);
        size_t left = n > 0 && kind < 3 ? 100 - early : 100;
        CHECK_INT(wait_int(coil_stream_read_exactly(s, buf, left)), left);
        CHECK_MEM(buf, sent + 100 - left, left);
        close_all();
    }
    test_note("%d were taken, %d cancelled", taken, cancelled);
    CHECK(taken > 0 && cancelled > 0);
}

struct reads_until_cancelled {
    struct coil_coro coro;
    struct coil_stream *stream;
    struct pattern *in;
    size_t n;
    char buf[64];
};

static void reads_until_cancelled(struct coil_coro *co)
{
    ASYNC(reads_until_cancelled, my) {
        for (;;) {
            AWAIT_TO(my->n, coil_stream_read(my->stream, my->buf, 64));
            pattern_check(my->in, my->buf, my->n);
            my->n = 0;
        }
    }
}

// Whenever it is cancelled: each byte is seen once, by the one or the other.
TEST(stream_readers_cancelled_at_any_time_lose_nothing)
{
    uint64_t seed = 5;
    open_streams();
    int rounds = test_is_slow() ? 100 : 1000;
    for (int i = 0; i < rounds; i++) {
        struct coil_task *t = SPAWN(reads_until_cancelled, .stream = s,
                                    .in = &in);
        for (unsigned n = draw(&seed, 5); n > 0; n--) {
            peer_sends(draw(&seed, 150));
            stage_passes((int)draw(&seed, 3));
        }
        coil_task_cancel(t);
        CHECK_INT(task_int(t), -ECANCELED);
    }
    peer_ends();
    CHECK_INT(read_to_end(s, &in), 0);
    CHECK_INT(in.at, out.at);
    close_all();
}

/* ---- Writing ---------------------------------------------------------- */

struct pours {
    struct coil_coro coro;
    struct coil_stream *stream;
    char *buf;
    size_t left, n, each;
};

static void pours(struct coil_coro *co)
{
    ASYNC(pours, my) {
        while (my->left > 0) {
            if (my->each > my->left)
                my->each = my->left;
            AWAIT_TO(my->n, coil_stream_write(my->stream, my->buf, my->each));
            if (my->n != my->each)
                FAIL(-EIO);
            my->buf += my->n;
            my->left -= my->n;
        }
        AWAIT(coil_stream_write_eof(my->stream));
    }
}

struct gulps {
    struct coil_coro coro;
    struct coil_stream *stream;
    struct pattern *pattern;
    size_t n;
};

static void gulps(struct coil_coro *co)
{
    ASYNC(gulps, my) {
        for (;;) {
            AWAIT_TO(my->n, coil_stream_fill(my->stream, 1));
            if (my->n == 0)
                break;
            char *data;
            my->n = coil_stream_peek(my->stream, &data);
            pattern_check(my->pattern, data, my->n);
            coil_stream_consume(my->stream, my->n);
        }
    }
}

/* `all` bytes in each direction at the same time, `each` per write. */
static void exchange(size_t all, size_t each)
{
    char *forth = malloc(all + 1), *back = malloc(all + 1);
    open_streams_of(4096);
    pattern_fill(&given, forth, all);
    pattern_fill(&out, back, all);
    struct coil_task *tasks[] = {
        SPAWN(pours, .stream = s, .buf = forth, .left = all, .each = each),
        SPAWN(pours, .stream = peer, .buf = back, .left = all, .each = each),
        SPAWN(gulps, .stream = s, .pattern = &in),
        SPAWN(gulps, .stream = peer, .pattern = &got),
    };
    for (int i = 0; i < 4; i++)
        CHECK_INT(task_int(tasks[i]), 0);
    CHECK_INT(in.at, all);
    CHECK_INT(got.at, all);
    CHECK(coil_stream_at_end(s));
    CHECK(coil_stream_at_end(peer));
    free(forth);
    free(back);
    close_all();
}

TEST(stream_carries_any_number_of_bytes_both_ways_at_once)
{
    for (size_t i = 0; i < SIZES; i++) {
        test_note("%zu bytes", sizes[i]);
        exchange(sizes[i], 65537);
    }
}

TEST(stream_carries_a_MiB_both_ways_at_once)
{
    size_t all = test_is_slow() ? 100000 : 1 << 20;
    exchange(all, all);
    exchange(all, 3000);
}

// The peer's pace, and byte for byte.
TEST(stream_write_waits_for_a_slow_reader)
{
    static char buf[3 << 20];
    size_t all = test_is_slow() ? 1 << 20 : sizeof buf;
    open_streams_of(4096);
    pattern_fill(&given, buf, all);
    struct coil_task *t = SPAWN(pours, .stream = s, .buf = buf, .left = all,
                                .each = all / 3);
    settle();
    CHECK(!coil_task_done(t));
    while (got.at < all) {
        read_on(peer, &got, 100000);
        stage_passes(3);
    }
    CHECK_INT(read_to_end(peer, &got), 0);
    CHECK_INT(got.at, all);
    CHECK_INT(task_int(t), 0);
    close_all();
}

// Also if they are as short as one byte, or have none.
TEST(stream_writes_of_many_tasks_go_out_in_order)
{
    enum { TASKS = 50, EACH = 3000 };
    static char bufs[TASKS][EACH];
    struct coil_task *tasks[TASKS];
    for (size_t each = EACH; each > 0; each /= 13) {
        open_streams_of(4096);
        for (size_t i = 0; i < TASKS; i++) {
            size_t n = i % 7 == 0 ? 0 : i % 7 == 1 ? 1 : each;
            pattern_fill(&given, bufs[i], n);
            tasks[i] = coil_spawn(coil_stream_write(s, bufs[i], n));
        }
        struct coil_task *eof = coil_spawn(coil_stream_write_eof(s));
        CHECK_INT(read_to_end(peer, &got), 0);
        CHECK_INT(got.at, given.at);
        for (size_t i = 0; i < TASKS; i++)
            CHECK(task_int(tasks[i]) >= 0);
        CHECK_INT(task_int(eof), 0);
        close_all();
    }
}

TEST(stream_reads_on_after_write_eof)
{
    if (!stream_kind.half_close)
        SKIP("an end of one direction ends both");
    open_streams();
    CHECK_INT(wait_int(coil_stream_write(s, "", 0)), 0);
    CHECK_INT(wait_int(coil_stream_write_eof(s)), 0);
    CHECK_INT(wait_int(coil_stream_fill(peer, 1)), 0);
    CHECK_INT(wait_int(coil_stream_write(s, "x", 1)), -EPIPE);
    peer_sends(1000);
    CHECK(fill(1000) >= 1000);
    peek();
    close_all();
}

TEST(stream_writes_on_after_the_peer_has_ended)
{
    if (!stream_kind.half_close)
        SKIP("an end of one direction ends both");
    static char buf[100000];
    open_streams_of(4096);
    peer_ends();
    CHECK_INT(fill(1), 0);
    pattern_fill(&given, buf, sizeof buf);
    struct coil_task *w = begin(coil_stream_write(s, buf, sizeof buf));
    struct coil_task *eof = begin(coil_stream_write_eof(s));
    CHECK_INT(read_to_end(peer, &got), 0);
    CHECK_INT(got.at, sizeof buf);
    CHECK_INT(task_int(w), sizeof buf);
    CHECK_INT(task_int(eof), 0);
    close_all();
}

// Behind a write that waits; and what begins behind the end is refused.
TEST(stream_write_eof_waits_for_the_writes_before_it)
{
    static char buf[1 << 20];
    open_streams_of(4096);
    pattern_fill(&given, buf, sizeof buf);
    struct coil_task *w = begin(coil_stream_write(s, buf, sizeof buf));
    struct coil_task *eof = begin(coil_stream_write_eof(s));
    struct coil_task *late = begin(coil_stream_write(s, "x", 1));
    settle();
    CHECK(!coil_task_done(w) && !coil_task_done(eof) && !coil_task_done(late));
    CHECK_INT(read_to_end(peer, &got), 0);
    CHECK_INT(got.at, sizeof buf);
    CHECK_INT(task_int(w), sizeof buf);
    CHECK_INT(task_int(eof), 0);
    CHECK_INT(task_int(late), -EPIPE);
    CHECK_INT(wait_int(coil_stream_write_eof(s)), 0); /* once more */
    close_all();
}

// Cancelled in line it has sent nothing, and the others go on.
TEST(stream_write_cancelled_in_line_leaves_no_trace)
{
    static char buf[1 << 20];
    open_streams_of(4096);
    pattern_fill(&given, buf, sizeof buf);
    struct coil_task *first = begin(coil_stream_write(s, buf, sizeof buf));
    struct coil_task *second = begin(coil_stream_write(s, "second", 6));
    struct coil_task *third = begin(coil_stream_write(s, "third", 5));
    struct coil_task *eof = begin(coil_stream_write_eof(s));
    CHECK(coil_task_cancel(second));
    CHECK_INT(task_int(second), -ECANCELED);
    CHECK(coil_task_cancel(eof));
    CHECK_INT(task_int(eof), -ECANCELED);
    CHECK(read_on(peer, &got, sizeof buf) > 0);
    CHECK_INT(task_int(first), sizeof buf);
    CHECK_INT(task_int(third), 5);
    CHECK_INT(wait_int(coil_stream_read_exactly(peer, line, 5)), 5);
    CHECK_MEM(line, "third", 5);
    CHECK_INT(wait_int(coil_stream_write(s, "fourth", 6)), 6);
    CHECK_INT(wait_int(coil_stream_read_exactly(peer, line, 6)), 6);
    CHECK_MEM(line, "fourth", 6);
    close_all();
}

// In the middle it has sent a part: the peer must not take others for the rest.
TEST(stream_write_cancelled_in_the_middle_is_the_last)
{
    static char buf[1 << 20];
    open_streams_of(4096);
    pattern_fill(&given, buf, sizeof buf);
    struct coil_task *first = begin(coil_stream_write(s, buf, sizeof buf));
    struct coil_task *second = begin(coil_stream_write(s, "second", 6));
    struct coil_task *eof = begin(coil_stream_write_eof(s));
    settle();
    CHECK(coil_task_cancel(first));
    CHECK_INT(task_int(first), -ECANCELED);
    CHECK_INT(task_int(second), -EPIPE);
    CHECK_INT(task_int(eof), -EPIPE);
    CHECK_INT(wait_int(coil_stream_write(s, "third", 5)), -EPIPE);
    CHECK_INT(wait_int(coil_stream_write_eof(s)), -EPIPE);
    peer_sends(1);
    CHECK_INT(fill(1), 1); /* reading goes on */
    close_end(&s);
    CHECK(read_to_end(peer, &got) <= 0);
    CHECK(got.at < sizeof buf);
    close_all();
}

// Its buffer may be used again, whatever became of its bytes; and the streams
// go on, or a write says that they do not.
TEST(stream_write_cancelled_in_any_pass_sends_all_or_says_so)
{
    static char first[3][20000], second[10];
    for (int i = 0; i < 2 * 8; i++) {
        size_t len = i % 2 ? sizeof first[0] : 10;
        test_note("%zu bytes, pass %d", len, i / 2);
        open_streams_of(4096);
        pattern_fill(&given, first[0], len);
        struct coil_task *w = coil_spawn(coil_stream_write(s, first[0], len));
        stage_passes(i / 2);
        coil_task_cancel(w);
        int64_t n = task_int(w);
        CHECK(n == (int64_t)len || n == -ECANCELED);
        memset(first[0], '?', len);
        if (n < 0)
            given.at = 0; /* nothing of it may have been sent */
        pattern_fill(&given, second, sizeof second);
        int64_t next = wait_int(coil_stream_write(s, second, sizeof second));
        if (n < 0 && next == -EPIPE)
            given = (struct pattern){ .seed = given.seed, .at = len };
        else
            CHECK_INT(next, sizeof second);
        coil_stream_close_soon(s);
        s = NULL;
        bool cut = next < 0 && stream_kind.tells_of_a_cut;
        CHECK_INT(read_to_end(peer, &got), cut ? COIL_EINCOMPLETE : 0);
        CHECK(next < 0 ? got.at < len : got.at == given.at);
        close_all();
    }
}

/* ---- Closing ---------------------------------------------------------- */

TEST(stream_close_before_anything_was_done)
{
    open_streams();
    close_all();
    open_streams();
    struct coil_task *a = coil_spawn(coil_stream_close(s));
    struct coil_task *b = coil_spawn(coil_stream_close(peer));
    CHECK_INT(task_int(a), 0);
    CHECK_INT(task_int(b), 0);
    CHECK_INT(wait_int(coil_stream_close(NULL)), 0);
    CHECK_INT(wait_int(coil_stream_abort(NULL)), 0);
    coil_stream_close_soon(NULL);
    end_case();
}

// close() is no loss of what was written, with a reader who comes late.
TEST(stream_close_delivers_what_was_written)
{
    static char buf[3500]; /* and what TLS adds, a ticket above all */
    for (int way = 0; way < 4; way++) {
        open_streams_of(4096);
        pattern_fill(&given, buf, sizeof buf);
        struct coil_task *t = way == 1 ? begin(coil_stream_fill(peer, 1))
                                       : NULL;
        if (way == 2)
            coil_detach(coil_stream_write(s, buf, sizeof buf));
        else
            CHECK_INT(wait_int(coil_stream_write(s, buf, sizeof buf)),
                      sizeof buf);
        settle();
        if (way == 3)
            coil_discard(coil_stream_close(s));
        else
            coil_stream_close_soon(s);
        s = NULL;
        settle();
        if (t)
            CHECK(task_int(t) > 0);
        CHECK_INT(read_to_end(peer, &got), 0);
        CHECK_INT(got.at, sizeof buf);
        CHECK(coil_stream_at_end(peer));
        close_all();
    }
}

/* The writes of a peer of a stream that was closed or aborted. */
static void check_refused(int64_t n)
{
    CHECK(n == -EPIPE || n == -ECONNRESET);
}

// The first write after it may be on its way when the peer learns of it.
TEST(stream_close_ends_reading_and_writing_of_the_peer)
{
    for (int abort = 0; abort < 2; abort++) {
        open_streams();
        struct coil_task *r = begin(coil_stream_fill(peer, 1));
        CHECK_INT(wait_int(abort ? coil_stream_abort(s) : coil_stream_close(s)),
                  0);
        s = NULL;
        int64_t end = abort ? reset_or_end() : 0;
        CHECK_INT(task_int(r), end);
        CHECK(coil_stream_at_end(peer));
        CHECK_INT(wait_int(coil_stream_fill(peer, 1)), end);
        int64_t n;
        do {
            n = wait_int(coil_stream_write(peer, "x", 1));
        } while (n == 1);
        check_refused(n);
        check_refused(wait_int(coil_stream_write(peer, "x", 1)));
        close_all();
    }
}

TEST(stream_close_while_the_peer_writes_ends_its_writes)
{
    static char buf[1 << 20];
    for (int abort = 0; abort < 2; abort++) {
        open_streams_of(4096);
        struct coil_task *r = begin(coil_stream_fill(peer, 1));
        struct coil_task *w = peer_begins(buf, sizeof buf);
        struct coil_task *next = begin(coil_stream_write(peer, buf, 100));
        CHECK(fill(1) > 0);
        settle();
        CHECK(!coil_task_done(w));
        CHECK_INT(wait_int(abort ? coil_stream_abort(s) : coil_stream_close(s)),
                  0);
        s = NULL;
        check_refused(task_int(w));
        check_refused(task_int(next));
        int64_t end = task_int(r); /* a kernel tells of a reset once */
        CHECK(end == 0 || end == -ECONNRESET ||
              (stream_kind.tells_of_a_cut && end == COIL_EINCOMPLETE));
        CHECK_INT(wait_int(coil_stream_fill(peer, 1)), end);
        close_all();
    }
}

TEST(stream_close_with_bytes_unread)
{
    for (int passes = 0; passes < 6; passes++) {
        open_streams();
        peer_sends(1000);
        CHECK(fill(1) > 0);
        if (passes % 2)
            CHECK(fill(200) >= 200);
        stage_passes(passes);
        close_all();
    }
}

// All who are in the middle of something are told.
TEST(stream_close_and_abort_tell_reader_and_writers)
{
    static char buf[1 << 20];
    for (int kind = 0; kind < READ_KINDS * 2; kind++) {
        open_streams_of(4096);
        struct coil_task *r = begin(read_of_kind(kind % READ_KINDS, line));
        struct coil_task *w = begin(coil_stream_write(s, buf, sizeof buf));
        struct coil_task *next = begin(coil_stream_write(s, buf, sizeof buf));
        struct coil_task *eof = begin(coil_stream_write_eof(s));
        CHECK_INT(wait_int(kind < READ_KINDS ? coil_stream_close(s)
                                             : coil_stream_abort(s)),
                  0);
        s = NULL;
        CHECK_INT(task_int(r), COIL_ECLOSED);
        CHECK_INT(task_int(w), COIL_ECLOSED);
        CHECK_INT(task_int(next), COIL_ECLOSED);
        CHECK_INT(task_int(eof), COIL_ECLOSED);
        close_all();
    }
}

// The reader was woken, its bytes are gone: that is not the end of the stream.
TEST(stream_close_in_front_of_a_reader_that_is_woken_tells_it)
{
    static char bytes[100];
    int closed = 0;
    for (int i = 0; i < 3 * 6; i++) {
        open_streams();
        struct coil_task *r = begin(read_of_kind(i % 3, line));
        coil_detach(coil_stream_write(peer, bytes, sizeof bytes));
        stage_passes(i / 3);
        coil_stream_close_soon(s);
        s = NULL;
        int64_t n = task_int(r);
        CHECK(n == (i % 3 == 2 ? 1 : 100) || n == COIL_ECLOSED);
        closed += n == COIL_ECLOSED;
        close_all();
    }
    CHECK(closed >= 3);
}

/*
 * A stream that is idle; 1: holds bytes in one piece that came in several; 2:
 * and a fill waits; 3: and a write waits; 4: and the peer has ended.
 */
enum { STATES = 5 };

static void open_in_state(int state, struct coil_task **r, struct coil_task **w)
{
    static char buf[1 << 20];
    open_streams_of(4096);
    if (state > 0) {
        peer_sends(1000);
        CHECK(fill(100) >= 100);
    }
    if (state > 1)
        *r = begin(coil_stream_fill(s, 5000));
    if (state > 2)
        *w = begin(coil_stream_write(s, buf, sizeof buf));
    if (state > 3)
        peer_ends();
    settle();
}

TEST(stream_close_and_abort_in_any_state_allocate_nothing)
{
    for (int i = 0; i < STATES * 2; i++) {
        struct coil_task *r = NULL, *w = NULL;
        int state = i % STATES;
        open_in_state(state, &r, &w);
        int fd = coil_stream_fd(s);
        test_forbid_allocations(true);
        if (i < STATES)
            coil_stream_close_soon(s);
        else
            coil_detach(coil_stream_abort(s));
        s = NULL;
        UNTIL(fd < 0 || !is_open(fd));
        settle();
        test_forbid_allocations(false);
        if (!stream_kind.close_writes)
            CHECK_INT(test_forbidden_allocations(), 0);
        if (r)
            CHECK_INT(task_int(r), state > 3 ? 1000 : COIL_ECLOSED);
        if (w)
            CHECK_INT(task_int(w), COIL_ECLOSED);
        close_all();
    }
}

struct closes_when_cancelled {
    struct coil_coro coro;
    struct coil_stream *stream;
    bool in_body, abort;
};

static struct coil_future *close_or_abort(struct coil_stream *stream,
                                          bool abort)
{
    return abort ? coil_stream_abort(stream) : coil_stream_close(stream);
}

static void closes_when_cancelled(struct coil_coro *co)
{
    ASYNC(closes_when_cancelled, my) {
        if (my->in_body) {
            coil_task_cancel(coil_task_current());
            AWAIT(close_or_abort(my->stream, my->abort));
            my->stream = NULL;
        } else {
            AWAIT(coil_stream_fill(my->stream, 1));
        }

    FINALLY;
        if (my->stream && !my->in_body) {
            coil_task_cancel(coil_task_current()); /* once more */
            AWAIT(close_or_abort(my->stream, my->abort));
        }
    }
}

// "Cannot be cancelled", by a request from before either: else it would leak.
TEST(stream_close_and_abort_in_a_cancelled_task_close)
{
    for (int i = 0; i < 4; i++) {
        open_streams();
        peer_sends(10);
        CHECK_INT(fill(1), 10);
        consume(10);
        int fd = coil_stream_fd(s);
        struct coil_task *t = SPAWN(closes_when_cancelled, .stream = s,
                                    .in_body = i % 2, .abort = i / 2);
        stage_passes(3);
        coil_task_cancel(t);
        stage_run(t);
        UNTIL(fd < 0 || !is_open(fd));
        s = NULL;
        CHECK_INT(wait_int(coil_stream_fill(peer, 1)),
                  i / 2 ? reset_or_end() : 0);
        close_all();
    }
}

TEST(stream_close_and_abort_that_are_dropped_close)
{
    for (int i = 0; i < 4; i++) {
        open_streams();
        int fd = coil_stream_fd(s);
        if (i / 2)
            coil_detach(close_or_abort(s, i % 2));
        else
            coil_discard(close_or_abort(s, i % 2));
        UNTIL(fd < 0 || !is_open(fd));
        s = NULL;
        CHECK_INT(wait_int(coil_stream_fill(peer, 1)),
                  i % 2 ? reset_or_end() : 0);
        close_all();
    }
}

// Without time to wait for it: the loop does.
TEST(stream_dropped_as_the_loop_closes_is_closed)
{
    static char buf[1 << 20];
    open_streams();
    int fd[] = { coil_stream_fd(s), coil_stream_fd(peer) };
    peer_sends(500);
    CHECK(fill(1) > 0);
    coil_spawn(coil_stream_write(s, buf, sizeof buf));
    stage_passes(2);
    coil_stream_close_soon(s);
    coil_detach(coil_stream_abort(peer));
    stage_close();
    CHECK(!is_open(fd[0]) && !is_open(fd[1]));
}

/* ---- abort ------------------------------------------------------------ */

// Nothing is queued, nothing was ever read or written: a reset all the same.
TEST(stream_abort_resets_a_connection_at_rest)
{
    for (int state = 0; state < 3; state++) {
        open_streams();
        if (state > 0) {
            peer_sends(10);
            CHECK_INT(fill(1), 10);
        }
        if (state > 1)
            consume(10);
        CHECK_INT(wait_int(coil_stream_abort(s)), 0);
        s = NULL;
        CHECK_INT(wait_int(coil_stream_fill(peer, 1)), reset_or_end());
        CHECK(coil_stream_at_end(peer));
        close_all();
    }
}

// The bytes that have not arrived never do; those that have come in order.
TEST(stream_abort_while_it_writes_ends_in_the_middle)
{
    static char buf[1 << 20];
    open_streams_of(4096);
    pattern_fill(&given, buf, sizeof buf);
    struct coil_task *w = begin(coil_stream_write(s, buf, sizeof buf));
    CHECK(read_on(peer, &got, 1000) > 0);
    settle();
    CHECK(!coil_task_done(w));
    CHECK_INT(wait_int(coil_stream_abort(s)), 0);
    s = NULL;
    CHECK_INT(task_int(w), COIL_ECLOSED);
    CHECK_INT(read_to_end(peer, &got), reset_or_end());
    CHECK(got.at >= 1000 && got.at < sizeof buf);
    close_all();
}

// What came before the reset can be read still.
TEST(stream_gives_what_came_before_an_abort)
{
    open_streams();
    peer_sends(100);
    CHECK_INT(fill(100), 100);
    CHECK_INT(wait_int(coil_stream_abort(peer)), 0);
    peer = NULL;
    settle();
    CHECK_INT(fill(100), 100);
    CHECK_INT(fill(101), stream_kind.abort_resets ? -ECONNRESET : 100);
    CHECK_INT(peek(), 100);
    CHECK(!coil_stream_at_end(s));
    consume(100);
    CHECK(coil_stream_at_end(s));
    CHECK_INT(fill(1), reset_or_end());
    close_all();
}

// The end was there before.
TEST(stream_that_has_ended_stays_at_its_end_after_an_abort)
{
    open_streams();
    peer_says("abc");
    peer_ends();
    CHECK_INT(fill(4), 3);
    CHECK_INT(wait_int(coil_stream_abort(peer)), 0);
    peer = NULL;
    settle();
    CHECK_INT(fill(4), 3);
    coil_stream_consume(s, 3);
    CHECK_INT(fill(1), 0);
    CHECK(coil_stream_at_end(s));
    close_all();
}

struct aborts {
    struct coil_coro coro;
    struct coil_stream *stream;
};

static void aborts(struct coil_coro *co)
{
    ASYNC(aborts, my) {
        AWAIT(coil_stream_abort(my->stream));
    }
}

// Reader and writer are cancelled before, in the same pass, or behind it, and
// the one that aborts in the middle: it cannot be cancelled.
TEST(stream_abort_among_cancels_at_every_point)
{
    static char buf[1 << 20];
    for (int point = 0; point < 24; point++) {
        test_note("point %d", point);
        open_streams_of(4096);
        struct coil_task *r = coil_spawn(coil_stream_fill(s, 1));
        struct coil_task *w = coil_spawn(coil_stream_write(s, buf, sizeof buf));
        int before = point % 4, after = point / 4 % 3;
        stage_passes(before);
        if (point >= 12)
            coil_detach(coil_stream_write(peer, "0123456789", 10));
        if (after == 0) {
            coil_task_cancel(r);
            coil_task_cancel(w);
        }
        struct coil_task *t = SPAWN(aborts, .stream = s);
        if (after > 0) {
            stage_passes(after);
            coil_task_cancel(t);
            coil_task_cancel(r);
            coil_task_cancel(w);
        }
        s = NULL;
        int64_t err = task_int(t);
        CHECK(err == 0 || err == -ECANCELED);
        int64_t read = task_int(r), written = task_int(w);
        CHECK(read == COIL_ECLOSED || read == -ECANCELED || read == 10);
        CHECK(written == COIL_ECLOSED || written == -ECANCELED);
        settle();
        int64_t end;
        do {
            end = wait_int(coil_stream_fill(peer, 1));
            char *data;
            coil_stream_consume(peer, coil_stream_peek(peer, &data));
        } while (end > 0);
        CHECK(end == reset_or_end() || end == -ECONNRESET);
        close_all();
    }
}

/* ---- is_reusable, is_sent ---------------------------------------------- */

TEST(stream_is_reusable_until_something_comes_unasked)
{
    open_streams();
    CHECK(coil_stream_is_reusable(s));
    peer_sends(10);
    CHECK_INT(fill(1), 10);
    CHECK(!coil_stream_is_reusable(s));
    consume(9);
    CHECK(!coil_stream_is_reusable(s));
    consume(1);
    CHECK(coil_stream_is_reusable(s));
    CHECK_INT(wait_int(coil_stream_write(s, "x", 1)), 1);
    CHECK(coil_stream_is_reusable(s));
    peer_sends(1);
    UNTIL(!coil_stream_is_reusable(s));
    CHECK_INT(fill(1), 1);
    consume(1);
    CHECK(coil_stream_is_reusable(s));
    struct coil_task *t = begin(coil_stream_fill(s, 1));
    CHECK(coil_stream_is_reusable(s));
    coil_task_cancel(t);
    CHECK_INT(task_int(t), -ECANCELED);
    CHECK(coil_stream_is_reusable(s));
    peer_ends();
    UNTIL(!coil_stream_is_reusable(s));
    CHECK_INT(fill(1), 0);
    CHECK(!coil_stream_is_reusable(s));
    close_all();
}

TEST(stream_is_not_reusable_after_the_peer_has_closed_or_reset)
{
    for (int abort = 0; abort < 2; abort++) {
        open_streams();
        peer_sends(1);
        CHECK_INT(fill(1), 1);
        consume(1);
        CHECK(coil_stream_is_reusable(s));
        CHECK_INT(wait_int(close_or_abort(peer, abort)), 0);
        peer = NULL;
        UNTIL(!coil_stream_is_reusable(s));
        close_all();
    }
}

TEST(stream_is_sent_at_the_latest_when_the_peer_has_consumed)
{
    open_streams();
    CHECK(coil_stream_is_sent(s));
    CHECK_INT(wait_int(coil_stream_write(s, "", 0)), 0);
    CHECK(coil_stream_is_sent(s));
    CHECK_INT(wait_int(coil_stream_write(s, "abc", 3)), 3);
    settle();
    if (stream_kind.is_sent_when_read)
        CHECK(!coil_stream_is_sent(s));
    CHECK_INT(wait_int(coil_stream_read_exactly(peer, line, 3)), 3);
    UNTIL(coil_stream_is_sent(s));
    CHECK(coil_stream_is_sent(peer));
    close_all();
}

/* ---- watch ------------------------------------------------------------ */

static void count_call(void *arg)
{
    ++*(int *)arg;
}

// Once, whatever comes, and at once if it is there already.
TEST(stream_watch_calls_when_something_comes)
{
    struct coil_handle h = { 0 };
    int calls = 0;
    open_streams();
    CHECK_INT(coil_stream_watch(s, &h, count_call, &calls), 0);
    settle();
    CHECK_INT(calls, 0);
    peer_sends(3);
    UNTIL(calls == 1);
    peer_sends(3);
    settle();
    CHECK_INT(calls, 1);
    CHECK_INT(coil_stream_watch(s, &h, count_call, &calls), 0);
    CHECK_INT(calls, 1); /* from the ready queue */
    UNTIL(calls == 2);
    CHECK_INT(fill(6), 6);
    consume(6);
    CHECK_INT(coil_stream_watch(s, &h, count_call, &calls), 0);
    CHECK_INT(fill(1), -EBUSY);
    settle();
    CHECK_INT(calls, 2);
    peer_ends();
    UNTIL(calls == 3);
    CHECK_INT(coil_stream_watch(s, &h, count_call, &calls), 0);
    UNTIL(calls == 4);
    CHECK_INT(fill(1), 0);
    close_all();
}

TEST(stream_watch_calls_when_the_peer_closes_or_resets)
{
    for (int abort = 0; abort < 2; abort++) {
        struct coil_handle h = { 0 };
        int calls = 0;
        open_streams();
        CHECK_INT(coil_stream_watch(s, &h, count_call, &calls), 0);
        settle();
        CHECK_INT(wait_int(close_or_abort(peer, abort)), 0);
        peer = NULL;
        UNTIL(calls == 1);
        CHECK_INT(fill(1), abort ? reset_or_end() : 0);
        close_all();
    }
}

TEST(stream_watch_that_is_ended_makes_no_call)
{
    struct coil_handle h = { 0 }, other = { 0 };
    int calls = 0;
    open_streams();
    CHECK_INT(coil_stream_watch(s, &h, count_call, &calls), 0);
    CHECK_INT(coil_stream_watch(s, &other, count_call, &calls), -EBUSY);
    coil_stream_unwatch(s, &h);
    coil_stream_unwatch(s, &h);
    peer_sends(1);
    settle();
    CHECK_INT(coil_stream_watch(s, &h, count_call, &calls), 0);
    coil_stream_unwatch(s, &h); /* the call was ready */
    settle();
    CHECK_INT(calls, 0);
    CHECK_INT(fill(1), 1);
    consume(1);
    struct coil_task *t = begin(coil_stream_fill(s, 1));
    CHECK_INT(coil_stream_watch(s, &h, count_call, &calls), -EBUSY);
    peer_sends(1);
    CHECK_INT(task_int(t), 1);
    consume(1);
    CHECK_INT(coil_stream_watch(s, &h, count_call, &calls), 0);
    close_all();
    CHECK_INT(calls, 0);
}

TEST(stream_watch_allocates_nothing_after_the_first)
{
    if (stream_kind.watch_fills)
        SKIP("the stream below has no watch");
    struct coil_handle h = { 0 };
    int calls = 0;
    open_streams();
    peer_sends(1);
    CHECK_INT(fill(1), 1);
    consume(1);
    test_forbid_allocations(true);
    CHECK_INT(coil_stream_watch(s, &h, count_call, &calls), 0);
    settle();
    coil_stream_unwatch(s, &h);
    CHECK_INT(coil_stream_watch(s, &h, count_call, &calls), 0);
    if (stream_kind.close_writes)
        test_forbid_allocations(false);
    coil_stream_close_soon(peer);
    UNTIL(calls == 1);
    test_forbid_allocations(false);
    CHECK_INT(test_forbidden_allocations(), 0);
    peer = NULL;
    close_all();
}

/* ---- Misuse ----------------------------------------------------------- */

struct lends_its_stack {
    struct coil_coro coro;
    int kind;
};

static void lends_its_stack(struct coil_coro *co)
{
    ASYNC(lends_its_stack, my) {
        char buf[8] = "";
        if (my->kind == 0)
            coil_discard(coil_stream_read(s, buf, 8));
        else if (my->kind == 1)
            coil_discard(coil_stream_read_exactly(s, buf, 8));
        else if (my->kind == 2)
            coil_discard(coil_stream_read_until(s, 'x', buf, 8));
        else
            coil_discard(coil_stream_write(s, buf, 8));
    }
}

// The likeliest mistake of all: `char buf[64]` and a read into it.
DEATH_TEST(stream_read_into_the_stack_aborts, "a buffer on the stack is lent")
{
    open_streams();
    wait_int(CALL(lends_its_stack, .kind = 0));
}

DEATH_TEST(stream_read_exactly_into_the_stack_aborts,
           "a buffer on the stack is lent")
{
    open_streams();
    wait_int(CALL(lends_its_stack, .kind = 1));
}

DEATH_TEST(stream_read_until_into_the_stack_aborts,
           "lends_its_stack at .*stream_suite.h:[0-9]+")
{
    open_streams();
    wait_int(CALL(lends_its_stack, .kind = 2));
}

DEATH_TEST(stream_write_from_the_stack_aborts, "a buffer on the stack is lent")
{
    open_streams();
    wait_int(CALL(lends_its_stack, .kind = 3));
}

/* ---- Conversations ---------------------------------------------------- */

TEST(stream_echoes_from_the_lent_buffer)
{
    size_t all = test_is_slow() ? 200000 : 2000000;
    open_streams_of(4096);
    struct coil_task *e = SPAWN(echo, .stream = s);
    struct coil_task *t = SPAWN(talks, .stream = peer, .all = all, .seed = 3);
    CHECK_INT(task_int(t), 0);
    CHECK_INT(task_int(e), 0);
    end_case();
}

static int make_some_pair(struct coil_stream *ends[2], int i)
{
    return stream_kind.make_pair(ends, i % 2 ? 4096 : 0);
}

// With what is there in plenty, and with next to nothing of it.
TEST(stream_echoes_survive_a_storm_of_cancels)
{
    test_timeout(120);
    for (uint64_t seed = 1; seed <= (test_is_slow() ? 3 : 25); seed++)
        storm(seed, stream_kind.options, make_some_pair);
}

/* ---- Without memory --------------------------------------------------- */

static int open_without_memory(void)
{
    struct coil_loop_options options = stream_kind.options;
    options.size = sizeof options;
    options.on_exception = stage_report;
    int err = coil_loop_new(&stage_loop, &options);
    if (err < 0)
        return err;
    struct coil_stream *ends[2] = { NULL, NULL };
    err = stream_kind.make_pair(ends, 4096);
    s = ends[0];
    peer = ends[1];
    if (err < 0)
        coil_loop_close(stage_loop);
    return err;
}

/* A close for which there was no memory in the kinds of TLS: it is no end. */
static int or_no_memory(int err)
{
    return err == COIL_EINCOMPLETE && stream_kind.tells_of_a_cut ? -ENOMEM
                                                                 : err;
}

static int lines_without_memory(void)
{
    int err = open_without_memory();
    if (err < 0)
        return err;
    err = (int)wait_int(coil_stream_write(peer, "one\ntwo\n", 8));
    coil_stream_close_soon(peer);
    if (err == 8)
        err = or_no_memory((int)task_int(SPAWN(reads_lines, .limit = 64)));
    coil_stream_close_soon(s);
    coil_loop_close(stage_loop);
    stage_trace[0] = '\0';
    return err < 0 ? err : 0;
}

TEST(stream_lines_without_memory)
{
    test_every_allocation(lines_without_memory);
}

static int talk_once(void)
{
    int err = open_without_memory();
    if (err < 0)
        return err;
    struct coil_task *server = SPAWN(echo, .stream = s);
    struct coil_task *client = SPAWN(talks, .stream = peer, .all = 1500,
                                     .seed = 3);
    if (!coil_task_frame(server))
        coil_stream_close_soon(s);
    if (!coil_task_frame(client))
        coil_stream_close_soon(peer);
    coil_task_quiet(server);
    coil_task_quiet(client);
    while (!coil_task_done(server) || !coil_task_done(client))
        coil_loop_pass(stage_loop, COIL_MS(5));
    err = coil_future_error(coil_task_future(client));
    int other = coil_future_error(coil_task_future(server));
    struct talks *frame = coil_task_frame(client);
    if (other == -ENOMEM || (frame && frame->sender_err == -ENOMEM))
        err = -ENOMEM; /* and the client saw its end */
    err = or_no_memory(err);
    coil_loop_close(stage_loop);
    return err;
}

TEST(stream_survives_every_failed_allocation)
{
    test_timeout(120);
    test_every_allocation(talk_once);
}

/* Write and read `n` bytes, in parts. An await that fails is tried again. */
static int insist(size_t n)
{
    static char sent[300], read[sizeof sent];
    int tries = 4;
    while (in.at < n) {
        int64_t err;
        pattern_fill(&out, sent, sizeof sent);
        do {
            err = wait_int(coil_stream_write(peer, sent, sizeof sent));
        } while (err == -ENOMEM && --tries > 0);
        if (tries == 0)
            return -ENOMEM;
        CHECK_INT(err, sizeof sent);
        do {
            err = wait_int(coil_stream_read_exactly(s, read, sizeof read));
        } while (err == -ENOMEM && --tries > 0);
        if (tries == 0)
            return -ENOMEM;
        CHECK_INT(err, sizeof read);
        pattern_check(&in, read, sizeof read);
    }
    return 0;
}

static int insist_once(void)
{
    int err = open_without_memory();
    if (err < 0)
        return err;
    in = out = (struct pattern){ .seed = 42 };
    err = insist(3000);
    coil_stream_close_soon(s);
    coil_stream_close_soon(peer);
    coil_loop_close(stage_loop);
    return err;
}

// A read or a write that failed for the lack of memory has taken no byte.
TEST(stream_loses_nothing_to_a_failed_allocation)
{
    test_every_allocation(insist_once);
}

#endif
