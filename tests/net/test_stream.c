// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_stream.c: what stream.h promises, with bytes that arrive in every way a
 * network can cut them, buffers too few and too small, and cancels and closes
 * in between. Every byte comes from a seeded pattern and is compared.
 */
#include "peer.h"

#include <coil/acceptor.h>
#include <coil/error.h>
#include <coil/io.h>
#include <coil/stream.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "backend/backend.h"
#include "base/list.h"
#include "core/loop.h"

/* ---- A kernel that is swamped ----------------------------------------- */

static uint64_t refusing; /* a seed: every third submission is not taken */

/* The linker takes this one before liburing's. */
int io_uring_enter2(unsigned fd, unsigned to_submit, unsigned min_complete,
                    unsigned flags, sigset_t *sig, size_t size);

int io_uring_enter2(unsigned fd, unsigned to_submit, unsigned min_complete,
                    unsigned flags, sigset_t *sig, size_t size)
{
    static const int errors[] = { -EBUSY, -EAGAIN, -EINTR };
    if (refusing && draw(&refusing, 3) == 0)
        return errors[draw(&refusing, 3)];
    long n = syscall(__NR_io_uring_enter, fd, to_submit, min_complete, flags,
                     sig, size);
    return n < 0 ? -errno : (int)n;
}

/* ---- Around a case ---------------------------------------------------- */

/* A stream on one end of a connection, the test on the other. */
static struct pair wire;
static struct coil_stream *s;
static struct pattern in, out;

static void open_on(struct pair pair)
{
    wire = pair;
    s = coil_stream_new(wire.a);
    CHECK(s != NULL);
    in = out = (struct pattern){ .seed = 42 };
}

static void open_stream(void)
{
    stage_open();
    open_on(unix_pair());
}

/* Four pieces of 64 bytes is all that is lent. */
static void open_tiny(void)
{
    stage_open_with((struct coil_loop_options){ .recv_buffers = 4,
                                                .recv_buffer_bytes = 64 });
    open_on(unix_pair());
}

static void close_stream(void)
{
    CHECK_INT(wait_int(coil_stream_close(s)), 0);
    CHECK(!is_open(wire.a));
    if (wire.b >= 0)
        close(wire.b);
}

static void close_all(void)
{
    close_stream();
    UNTIL(stage_stats().in_flight == 0);
    struct coil_loop *loop = coili_loop;
    if (loop->receivers)
        CHECK_INT(loop->table->buffers_free(loop->backend),
                  loop->options.recv_buffers);
    stage_close();
}

static void peer_sends(size_t n)
{
    CHECK_INT(pattern_send(&out, wire.b, n), n);
}

static int64_t fill(size_t want)
{
    return wait_int(coil_stream_fill(s, want));
}

/* What peek shows is the pattern; how many of them. */
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

/* ---- fill, peek, consume ---------------------------------------------- */

TEST(stream_fill_shows_what_is_there)
{
    open_stream();
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
    close_all();
}

// Wherever the network cuts, and whatever was consumed before.
TEST(stream_fill_joins_what_was_cut_anywhere)
{
    enum { ALL = 24 };
    for (size_t cut = 1; cut < ALL; cut++) {
        for (size_t want = cut; want <= ALL - 2; want += 5) {
            open_stream();
            peer_sends(cut);
            CHECK_INT(fill(1), cut);
            size_t gone = cut > 2 ? 2 : 0;
            if (gone)
                consume(gone);
            struct coil_task *t = begin(coil_stream_fill(s, want));
            peer_sends(ALL - cut);
            int64_t n = task_int(t);
            CHECK(n >= (int64_t)want);
            CHECK_INT(peek(), n);
            close_all();
        }
    }
}

TEST(stream_fill_gives_less_only_at_the_end)
{
    open_stream();
    peer_sends(10);
    struct coil_task *t = begin(coil_stream_fill(s, 20));
    CHECK(!coil_task_done(t));
    shutdown(wire.b, SHUT_WR);
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

TEST(stream_fill_wants_more_than_a_buffer_holds)
{
    open_tiny();
    for (size_t want = 60; want < 400; want += 7) {
        peer_sends(want);
        CHECK(fill(want) >= (int64_t)want);
        CHECK(peek() >= want);
        consume(want);
    }
    close_all();
}

// A buffer for each byte: the quota is lent before the reader has enough.
TEST(stream_fill_of_many_tiny_segments_does_not_wait_for_ever)
{
    open_tiny();
    struct coil_task *t = begin(coil_stream_fill(s, 300));
    for (int i = 0; i < 300; i++) {
        CHECK(!coil_task_done(t));
        peer_sends(1);
        stage_passes(2);
    }
    CHECK_INT(task_int(t), 300);
    CHECK_INT(peek(), 300);
    close_all();
}

// The same while another holds all shared buffers: one own block at a time.
TEST(stream_fill_without_shared_buffers_does_not_wait_for_ever)
{
    open_tiny();
    struct pair other = unix_pair();
    struct coil_stream *hog = coil_stream_new(other.a);
    char bytes[4 * 64] = "";
    CHECK_INT(write(other.b, bytes, sizeof bytes), sizeof bytes);
    CHECK_INT(wait_int(coil_stream_fill(hog, 1)), 64);
    stage_passes(4);
    peer_sends(1000);
    CHECK(fill(1000) >= 1000);
    CHECK_INT(peek(), 1000);
    CHECK_INT(wait_int(coil_stream_close(hog)), 0);
    close(other.b);
    close_all();
}

TEST(stream_fill_has_a_limit)
{
    open_stream();
    CHECK_INT(fill((size_t)COIL_STREAM_FILL_BYTES_MAX + 1), COIL_ELIMIT);
    CHECK_INT(fill(SIZE_MAX), COIL_ELIMIT);
    struct coil_task *t = begin(
        coil_stream_fill(s, COIL_STREAM_FILL_BYTES_MAX));
    while (out.at < COIL_STREAM_FILL_BYTES_MAX) {
        pattern_send(&out, wire.b, COIL_STREAM_FILL_BYTES_MAX - out.at);
        stage_passes(1);
    }
    CHECK_INT(task_int(t), COIL_STREAM_FILL_BYTES_MAX);
    CHECK_INT(peek(), COIL_STREAM_FILL_BYTES_MAX);
    close_all();
}

DEATH_TEST(stream_consume_of_more_than_peek_shows_aborts,
           "more is consumed than peek shows")
{
    open_stream();
    peer_sends(10);
    fill(1);
    consume(11);
}

DEATH_TEST(stream_consume_of_more_than_a_merged_peek_shows_aborts,
           "more is consumed than peek shows")
{
    open_tiny();
    peer_sends(100);
    fill(100);
    consume(101);
}

DEATH_TEST(stream_consume_of_nothing_that_is_there_aborts,
           "more is consumed than peek shows")
{
    open_stream();
    consume(1);
}

// Any order of them, by a seed; the counts and the bytes are right at each.
TEST(stream_fill_and_consume_in_any_order)
{
    for (uint64_t round = 0; round < (test_is_slow() ? 6 : 40); round++) {
        uint64_t seed = round;
        test_note("seed %llu", (unsigned long long)round);
        open_tiny();
        size_t all = 4000;
        while (in.at < all) {
            if (out.at < all) {
                size_t most = all - out.at < 200 ? all - out.at : 200;
                pattern_send(&out, wire.b, 1 + draw(&seed, (unsigned)most));
                if (out.at >= all)
                    shutdown(wire.b, SHUT_WR);
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
    open_stream();
    peer_sends(100);
    CHECK_INT(fill(100), 100);
    char *before, *after;
    coil_stream_peek(s, &before);
    for (int i = 0; i < 10; i++) {
        peer_sends(100);
        stage_passes(2);
    }
    CHECK_INT(coil_stream_peek(s, &after), 100);
    CHECK(before == after);
    peek();
    close_all();
}

// Nobody reads: what was lent is bounded, and the peer is held back.
TEST(stream_that_nobody_reads_holds_the_peer_back)
{
    stage_open();
    open_on(tcp_pair(8192));
    peer_sends(1);
    CHECK_INT(fill(1), 1);
    for (int idle = 0; idle < 20; idle++) {
        if (pattern_send(&out, wire.b, 100000) > 0)
            idle = 0;
        stage_passes(2);
    }
    CHECK(out.at < 1000000);
    struct coil_loop *loop = coili_loop;
    CHECK(loop->table->buffers_free(loop->backend) >
          loop->options.recv_buffers / 2);
    shutdown(wire.b, SHUT_WR);
    int64_t n;
    while ((n = fill(1)) > 0) {
        CHECK_INT(peek(), n);
        consume((size_t)n);
    }
    CHECK_INT(in.at, out.at);
    close_all();
}

/* ---- Readers ---------------------------------------------------------- */

TEST(stream_has_one_reader_at_a_time)
{
    static char buf[8];
    open_stream();
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

struct reads {
    struct coil_coro coro;
    struct coil_stream *stream;
    int passes;
    size_t n;
    char buf[64];
};

static void reads(struct coil_coro *co)
{
    ASYNC(reads, my) {
        while (my->passes-- > 0)
            AWAIT(coil_sleep(0));
        AWAIT_TO(my->n, coil_stream_read(my->stream, my->buf, 64));
        RETURN(my->n);
    }
}

// Between the wake-up and the step another task takes the bytes: 0 would be
// the end of a stream that has not ended.
TEST(stream_read_that_another_overtakes_goes_on_waiting)
{
    open_stream();
    struct coil_task *early = SPAWN(reads, .stream = s);
    struct coil_task *late = SPAWN(reads, .stream = s, .passes = 4);
    stage_passes(4);
    peer_sends(10); /* wakes the first; the second is ready before it */
    coil_loop_pass(stage_loop, COIL_MS(100));
    CHECK(coil_task_done(late));
    CHECK_INT(task_int(late), 10);
    stage_passes(2);
    CHECK(!coil_task_done(early));
    peer_sends(7);
    CHECK_INT(task_int(early), 7);
    close_all();
}

TEST(stream_read_gives_what_there_is)
{
    static char buf[200];
    open_tiny();
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
    shutdown(wire.b, SHUT_WR);
    CHECK_INT(wait_int(coil_stream_read(s, buf, sizeof buf)), 0);
    CHECK_INT(wait_int(coil_stream_read(s, buf, sizeof buf)), 0);
    close_all();
}

TEST(stream_read_exactly_waits_for_all)
{
    enum { ALL = 3000 };
    static char buf[ALL];
    open_tiny();
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
    char *buf = malloc(ALL);
    stage_open();
    open_on(tcp_pair(0));
    struct coil_task *t = begin(coil_stream_read_exactly(s, buf, ALL));
    while (!coil_task_done(t)) {
        pattern_send(&out, wire.b, ALL - out.at);
        stage_passes(1);
    }
    CHECK_INT(task_int(t), ALL);
    pattern_check(&in, buf, ALL);
    free(buf);
    close_all();
}

TEST(stream_read_exactly_tells_how_much_came)
{
    static char buf[COIL_STREAM_FILL_BYTES_MAX + 1000];
    for (int i = 0; i < 3; i++) {
        size_t sent = i == 0   ? 0
                      : i == 1 ? 300
                               : COIL_STREAM_FILL_BYTES_MAX + 100;
        size_t len = i == 2 ? sizeof buf : 500;
        stage_open();
        open_on(unix_pair());
        struct coil_task *t = begin(coil_stream_read_exactly(s, buf, len));
        while (out.at < sent) {
            pattern_send(&out, wire.b, sent - out.at);
            stage_passes(1);
        }
        shutdown(wire.b, SHUT_WR);
        CHECK_INT(stage_run(t), COIL_EINCOMPLETE);
        CHECK_INT(stage_reason(t), sent);
        pattern_check(&in, buf, sent);
        CHECK(coil_stream_at_end(s));
        close_all();
    }
}

/* ---- read_until ------------------------------------------------------- */

static void peer_says(const char *words)
{
    size_t n = strlen(words);
    CHECK_INT(write(wire.b, words, n), n);
}

static char line[256];

static int64_t read_line(size_t size)
{
    memset(line, 0, sizeof line);
    return wait_int(coil_stream_read_until(s, '\n', line, size));
}

TEST(stream_read_until_gives_lines)
{
    open_stream();
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
    shutdown(wire.b, SHUT_WR);
    CHECK_INT(read_line(64), 0);
    close_all();
}

// The separator and the line may lie in pieces of any size.
TEST(stream_read_until_finds_a_separator_cut_anywhere)
{
    static const char text[] = "a line of some length\nand the next";
    for (size_t cut = 1; cut + 1 < sizeof text; cut++) {
        open_tiny();
        struct coil_task *t = begin(coil_stream_read_until(s, '\n', line, 64));
        CHECK_INT(write(wire.b, text, cut), cut);
        stage_passes(2);
        CHECK_INT(write(wire.b, text + cut, sizeof text - 1 - cut),
                  sizeof text - 1 - cut);
        CHECK_INT(task_int(t), 22);
        CHECK_MEM(line, text, 22);
        CHECK_INT(fill(12), 12);
        close_all();
    }
}

TEST(stream_read_until_one_byte_at_a_time)
{
    open_tiny();
    struct coil_task *t = begin(coil_stream_read_until(s, '\n', line, 256));
    for (int i = 0; i < 200; i++) {
        peer_says(i == 199 ? "\n" : "x");
        stage_passes(2);
    }
    CHECK_INT(task_int(t), 200);
    CHECK_INT(line[199], '\n');
    close_all();
}

/*
 * A stream that shows one page more at each fill. The bytes that it has shown
 * before cannot be read until the last page comes, which ends with a newline:
 * to scan them again is a fault.
 */
enum { PAGES = 8, PAGE = 4096 };

struct pages {
    struct coil_stream stream;
    char *all;
    int shown;
};

static struct coil_future *pages_fill(struct coil_stream *stream, size_t want)
{
    struct pages *p = (struct pages *)(void *)stream;
    if ((size_t)p->shown * PAGE < want)
        p->shown++;
    size_t old = (size_t)(p->shown - 1) * PAGE;
    if (old && p->shown < PAGES)
        CHECK_INT(mprotect(p->all, old, PROT_NONE), 0);
    if (p->shown == PAGES)
        CHECK_INT(mprotect(p->all, old, PROT_READ), 0);
    return coil_future_from_int((int64_t)p->shown * PAGE);
}

static size_t pages_peek(struct coil_stream *stream, char **data)
{
    struct pages *p = (struct pages *)(void *)stream;
    *data = p->all;
    return (size_t)p->shown * PAGE;
}

static void pages_consume(struct coil_stream *stream, size_t n)
{
    CHECK_INT(n, PAGES * PAGE);
    ((struct pages *)(void *)stream)->shown = 0;
}

static bool pages_at_end(const struct coil_stream *stream)
{
    (void)stream;
    return false;
}

static const struct coil_stream_ops pages_ops = {
    .fill = pages_fill,
    .peek = pages_peek,
    .consume = pages_consume,
    .at_end = pages_at_end,
};

struct one_line {
    struct coil_coro coro;
    struct coil_stream *stream;
    struct coil_line *line;
    size_t len;
};

static void one_line(struct coil_coro *co)
{
    ASYNC(one_line, my) {
        FOR_AWAIT(my->line, coil_stream_lines(my->stream, PAGES * PAGE)) {
            my->len = my->line->len;
            break;
        }
        RETURN(my->len);
    }
}

// Or a long line that comes in small pieces costs the square of its length.
TEST(stream_scans_each_byte_for_a_separator_once)
{
    static char buf[PAGES * PAGE];
    stage_open();
    for (int i = 0; i < 2; i++) {
        struct pages p = { .stream.ops = &pages_ops };
        p.all = mmap(NULL, sizeof buf, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(p.all != MAP_FAILED);
        p.all[sizeof buf - 1] = '\n';
        struct coil_future *line_read = i ? CALL(one_line, .stream = &p.stream)
                                          : coil_stream_read_until(&p.stream,
                                                                   '\n', buf,
                                                                   sizeof buf);
        CHECK_INT(wait_int(line_read), sizeof buf);
        munmap(p.all, sizeof buf);
    }
    stage_close();
}

// A line as long as the limit, the separator included, is a line.
TEST(stream_read_until_takes_a_line_of_exactly_the_limit)
{
    for (int cut = 1; cut < 10; cut++) {
        open_stream();
        static const char text[] = "123456789\nmore";
        CHECK_INT(write(wire.b, text, (size_t)cut), cut);
        struct coil_task *t = begin(coil_stream_read_until(s, '\n', line, 10));
        CHECK_INT(write(wire.b, &text[cut], (size_t)(14 - cut)), 14 - cut);
        CHECK_INT(task_int(t), 10);
        CHECK_MEM(line, "123456789\n", 10);
        close_all();
    }
}

// Too long: an error, and who knows better may read it all the same.
TEST(stream_read_until_leaves_a_line_that_is_too_long)
{
    open_tiny();
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
    open_stream();
    peer_says("half a li");
    struct coil_task *t = begin(coil_stream_read_until(s, '\n', line, 64));
    shutdown(wire.b, SHUT_WR);
    CHECK_INT(task_int(t), COIL_EINCOMPLETE);
    CHECK_INT(read_line(64), COIL_EINCOMPLETE);
    CHECK_INT(wait_int(coil_stream_read(s, line, 64)), 9);
    CHECK_MEM(line, "half a li", 9);
    CHECK_INT(read_line(64), 0);
    close_all();
}

TEST(stream_read_until_is_limited_by_what_fill_can_show)
{
    static char buf[COIL_STREAM_FILL_BYTES_MAX + 10];
    stage_open();
    open_on(tcp_pair(0));
    struct coil_task *t = begin(
        coil_stream_read_until(s, '\n', buf, sizeof buf));
    char block[8192];
    memset(block, 'x', sizeof block);
    while (!coil_task_done(t)) {
        send(wire.b, block, sizeof block, MSG_DONTWAIT);
        stage_passes(1);
    }
    CHECK_INT(task_int(t), COIL_ELIMIT);
    CHECK(fill(COIL_STREAM_FILL_BYTES_MAX) >= COIL_STREAM_FILL_BYTES_MAX);
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

static void peer_gives(const char *bytes, size_t n)
{
    CHECK_INT(write(wire.b, bytes, n), n);
}

static void peer_ends(void)
{
    CHECK_INT(shutdown(wire.b, SHUT_WR), 0);
}

// Wherever the network cuts. A NUL byte is a byte; the last line has no end.
TEST(stream_lines_of_what_was_cut_anywhere)
{
    static const char text[] = "one\n\nt\0wo\r\nthe last";
    for (size_t cut = 0; cut < sizeof text; cut++) {
        open_stream();
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
    open_tiny();
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
    open_stream();
    peer_ends();
    CHECK_INT(task_int(SPAWN(reads_lines, .limit = 64)), 0);
    close_all();
}

// asyncio's `async for line in reader` reads on after a break, too.
TEST(stream_lines_leave_what_comes_behind)
{
    open_stream();
    peer_says("head\n\nbody\nmore\n");
    CHECK_INT(task_int(SPAWN(reads_lines, .limit = 64, .until = "$")), 2);
    CHECK_TRACE("head$ $");
    char *data;
    CHECK_INT(coil_stream_peek(s, &data), 10);
    CHECK(memcmp(data, "body\nmore\n", 10) == 0);
    CHECK_INT(task_int(SPAWN(reads_lines, .limit = 64, .until = "body$")), 1);
    CHECK_TRACE("body$");
    peer_ends();
    CHECK_INT(task_int(SPAWN(reads_lines, .limit = 64)), 1);
    CHECK_TRACE("more$");
    close_all();
}

// One of exactly the limit is none too long; that stays unread.
TEST(stream_lines_are_limited)
{
    for (int ended = 0; ended < 2; ended++) {
        open_stream();
        peer_gives("123456789\n1234567890\n", ended ? 20 : 21);
        if (ended)
            peer_ends();
        CHECK_INT(task_int(SPAWN(reads_lines, .limit = 10)), COIL_ELIMIT);
        CHECK_TRACE("123456789$");
        char *data;
        CHECK_INT(coil_stream_peek(s, &data), ended ? 10 : 11);
        close_all();
    }
    open_stream();
    peer_says("x");
    CHECK_INT(task_int(SPAWN(reads_lines)), COIL_ELIMIT);
    close_all();
}

TEST(stream_lines_end_with_the_error_of_the_stream)
{
    open_stream();
    close_stream();
    s = coil_stream_new(tcp_listen(&(struct sockaddr_in){ 0 }, 1));
    CHECK(s != NULL);
    int err = (int)task_int(SPAWN(reads_lines, .limit = 64));
    CHECK_INT(err, -ENOTCONN);
    CHECK_INT(wait_int(coil_stream_close(s)), 0);
    stage_close();
}

// No byte is lost: what was not yielded is there.
TEST(stream_lines_cancelled_at_every_point_lose_nothing)
{
    static const char text[] = "ab\nab\nabab\n\ncde";
    enum { PART = (sizeof text - 1) / 3 };
    _Static_assert(PART * 3 == sizeof text - 1, "three parts");
    bool over = false;
    for (int point = 0; !over; point++) {
        open_stream();
        struct coil_task *t = SPAWN(reads_lines, .limit = 64);
        size_t sent = 0;
        for (int i = 0; i < point; i++) {
            if (i % 3 == 1 && sent < sizeof text - 1) {
                peer_gives(text + sent, PART);
                sent += PART;
            } else if (i % 3 == 1) {
                peer_ends();
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

static int lines_without_memory(void)
{
    int err = coil_loop_new(&stage_loop, stage_options());
    if (err < 0)
        return err;
    struct pair pair = unix_pair();
    s = coil_stream_new(pair.a);
    if (s) {
        CHECK_INT(send(pair.b, "one\ntwo\n", 8, 0), 8);
        close(pair.b);
        err = (int)task_int(SPAWN(reads_lines, .limit = 64));
        coil_stream_close_soon(s);
    } else {
        close(pair.a);
        close(pair.b);
        err = -ENOMEM;
    }
    stage_trace[0] = '\0';
    stage_close();
    return err < 0 ? err : 0;
}

TEST(stream_lines_without_memory)
{
    test_every_allocation(lines_without_memory);
}

/* ---- Cancelled reads -------------------------------------------------- */

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
    for (int kind = 0; kind < 4; kind++) {
        for (size_t sent = 0; sent < 100; sent += 33) {
            open_tiny();
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
    open_tiny();
    int rounds = test_is_slow() ? 100 : 1000;
    for (int i = 0; i < rounds; i++) {
        struct coil_task *t = SPAWN(reads_until_cancelled, .stream = s,
                                    .in = &in);
        for (unsigned n = draw(&seed, 5); n > 0; n--) {
            pattern_send(&out, wire.b, draw(&seed, 150));
            stage_passes((int)draw(&seed, 3));
        }
        coil_task_cancel(t);
        CHECK_INT(task_int(t), -ECANCELED);
    }
    shutdown(wire.b, SHUT_WR);
    int64_t n;
    while ((n = fill(1)) > 0) {
        peek();
        consume((size_t)n);
    }
    CHECK_INT(in.at, out.at);
    close_all();
}

// In an await tree: on which descriptor, and how much it wants.
TEST(stream_says_what_it_waits_for)
{
    open_stream();
    char said[1024] = "", expected[64];
    struct coil_task *t = begin(coil_stream_fill(s, 77));
    int fd = memfd_create("dump", MFD_CLOEXEC);
    coil_dump(fd);
    CHECK(pread(fd, said, sizeof said - 1, 0) > 0);
    snprintf(expected, sizeof expected, "stream fd %d: 77 bytes", wire.a);
    CHECK(strstr(said, expected));
    close(fd);
    coil_task_cancel(t);
    CHECK_INT(task_int(t), -ECANCELED);
    close_all();
}

/* ---- Writing ---------------------------------------------------------- */

struct writes {
    struct coil_coro coro;
    struct coil_stream *stream;
    char *buf;
    size_t left, n, each;
};

static void writes(struct coil_coro *co)
{
    ASYNC(writes, my) {
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

// 10 MB through buffers of 4 KiB: the peer's pace, and byte for byte.
TEST(stream_write_sends_all_at_the_peers_pace)
{
    size_t all = test_is_slow() ? 1000000 : 10000000;
    char *buf = malloc(all);
    stage_open();
    open_on(tcp_pair(4096));
    pattern_fill(&out, buf, all);
    struct coil_task *t = SPAWN(writes, .stream = s, .buf = buf, .left = all,
                                .each = all / 3);
    stage_passes(20);
    CHECK(!coil_task_done(t));
    while (pattern_recv(&in, wire.b) >= 0)
        coil_loop_pass(stage_loop, COIL_MS(1));
    CHECK_INT(in.at, all);
    CHECK_INT(task_int(t), 0);
    free(buf);
    close_all();
}

TEST(stream_writes_of_many_tasks_go_out_in_order)
{
    enum { TASKS = 50, EACH = 3000 };
    static char bufs[TASKS][EACH];
    struct coil_task *tasks[TASKS];
    stage_open();
    open_on(tcp_pair(4096));
    for (int i = 0; i < TASKS; i++) {
        pattern_fill(&out, bufs[i], EACH);
        tasks[i] = coil_spawn(coil_stream_write(s, bufs[i], EACH));
    }
    struct coil_task *eof = coil_spawn(coil_stream_write_eof(s));
    while (pattern_recv(&in, wire.b) >= 0)
        coil_loop_pass(stage_loop, COIL_MS(1));
    CHECK_INT(in.at, TASKS * EACH);
    for (int i = 0; i < TASKS; i++)
        CHECK_INT(task_int(tasks[i]), EACH);
    CHECK_INT(task_int(eof), 0);
    close_all();
}

// Half-closed: the other half goes on.
TEST(stream_reads_on_after_write_eof)
{
    stage_open();
    open_on(tcp_pair(0));
    CHECK_INT(wait_int(coil_stream_write(s, "", 0)), 0);
    CHECK_INT(wait_int(coil_stream_write_eof(s)), 0);
    char x;
    CHECK_INT(recv(wire.b, &x, 1, 0), 0);
    CHECK_INT(wait_int(coil_stream_write(s, "x", 1)), -EPIPE);
    peer_sends(1000);
    CHECK(fill(1000) >= 1000);
    peek();
    close_all();
}

TEST(stream_writes_on_after_the_peer_has_ended)
{
    stage_open();
    open_on(tcp_pair(0));
    shutdown(wire.b, SHUT_WR);
    CHECK_INT(fill(1), 0);
    CHECK_INT(wait_int(coil_stream_write(s, "still here", 10)), 10);
    char buf[16];
    CHECK_INT(recv(wire.b, buf, sizeof buf, 0), 10);
    close_all();
}

TEST(stream_tells_reader_and_writer_of_a_reset)
{
    static char buf[1 << 20];
    stage_open();
    open_on(tcp_pair(4096));
    struct coil_task *r = begin(coil_stream_fill(s, 1));
    struct coil_task *w = begin(coil_stream_write(s, buf, sizeof buf));
    CHECK(!coil_task_done(w));
    close_with_reset(wire.b);
    wire.b = -1;
    /*
     * The kernel tells of a reset once. A send that had sent a part swallows
     * it; then the reader sees the end and the writer a broken pipe.
     */
    int64_t read = task_int(r), written = task_int(w);
    CHECK(read == -ECONNRESET || read == 0);
    CHECK(written == -ECONNRESET || written == -EPIPE);
    CHECK_INT(fill(1), read);
    CHECK(coil_stream_at_end(s));
    close_all();
}

// What came before the reset can be read still.
TEST(stream_gives_what_came_before_a_reset)
{
    stage_open();
    open_on(tcp_pair(0));
    peer_sends(100);
    CHECK_INT(fill(1), 100);
    close_with_reset(wire.b);
    wire.b = -1;
    stage_passes(5);
    CHECK_INT(fill(100), 100);
    CHECK_INT(fill(101), -ECONNRESET);
    CHECK_INT(peek(), 100);
    CHECK(!coil_stream_at_end(s));
    consume(100);
    CHECK(coil_stream_at_end(s));
    close_all();
}

// Cancelled in line it has sent nothing, and the others go on.
TEST(stream_write_cancelled_in_line_leaves_no_trace)
{
    static char buf[1 << 20];
    stage_open();
    open_on(tcp_pair(4096));
    struct coil_task *first = begin(coil_stream_write(s, buf, sizeof buf));
    struct coil_task *second = begin(coil_stream_write(s, "second", 6));
    struct coil_task *third = begin(coil_stream_write(s, "third", 5));
    CHECK(coil_task_cancel(second));
    CHECK_INT(task_int(second), -ECANCELED);
    static char got[sizeof buf + 5];
    for (size_t n = 0; n < sizeof got;) {
        ssize_t more = recv(wire.b, got + n, sizeof got - n, MSG_DONTWAIT);
        if (more > 0)
            n += (size_t)more;
        coil_loop_pass(stage_loop, COIL_MS(1));
    }
    CHECK_MEM(got + sizeof buf, "third", 5);
    CHECK_INT(task_int(first), sizeof buf);
    CHECK_INT(task_int(third), 5);
    close_all();
}

// In the middle it has sent a part: the peer must not take others for the rest.
TEST(stream_write_cancelled_in_the_middle_is_the_last)
{
    static char buf[1 << 20];
    stage_open();
    open_on(tcp_pair(4096));
    struct coil_task *first = begin(coil_stream_write(s, buf, sizeof buf));
    struct coil_task *second = begin(coil_stream_write(s, "second", 6));
    CHECK(coil_task_cancel(first));
    CHECK_INT(task_int(first), -ECANCELED);
    CHECK_INT(task_int(second), -EPIPE);
    CHECK_INT(wait_int(coil_stream_write(s, "third", 5)), -EPIPE);
    CHECK_INT(write(wire.b, "x", 1), 1);
    CHECK_INT(fill(1), 1); /* reading goes on */
    close_all();
}

// Cancelled before, it has taken none; afterwards, it returns what it has
// taken.
TEST(stream_read_that_is_cancelled_as_it_completes_loses_nothing)
{
    static char buf[8];
    int taken = 0;
    open_stream();
    for (int way = 0; way < 24; way++) {
        struct coil_task *t = coil_spawn(
            way % 3 == 0   ? coil_stream_read(s, buf, 8)
            : way % 3 == 1 ? coil_stream_read_exactly(s, buf, 3)
                           : coil_stream_read_until(s, '!', buf, 8));
        stage_passes(2);
        CHECK_INT(write(wire.b, "ab!", 3), 3);
        cancel_as_it_completes(t);
        int64_t n = task_int(t);
        CHECK(n == 3 || n == -ECANCELED);
        taken += n == 3;
        if (n < 0)
            CHECK_INT(wait_int(coil_stream_read_exactly(s, buf, 3)), 3);
        CHECK_MEM(buf, "ab!", 3);
    }
    test_note("%d of 24 were taken", taken);
    CHECK(taken > 0);
    close_all();
}

/* ---- Closing ---------------------------------------------------------- */

// Named, and not waited for: it would never end by itself.
TEST(stream_that_is_left_open_is_reported_when_the_loop_closes)
{
    stage_open_with((struct coil_loop_options){ .close_ns = COIL_NEVER });
    open_on(unix_pair());
    struct coil_task *t = begin(coil_stream_fill(s, 1));
    peer_sends(10);
    CHECK_INT(task_int(t), 10);
    struct sockaddr_in addr;
    int listening = tcp_listen(&addr, 1);
    struct coil_acceptor *acceptor;
    CHECK_INT(coil_acceptor_open(&acceptor, listening), 0);
    coil_task_cancel(begin(coil_acceptor_next(acceptor)));
    stage_passes(2);
    coil_loop_close(stage_loop);
    CHECK_INT(stage_reported.n, 2);
    char words[32];
    snprintf(words, sizeof words, "fd %d was left", listening);
    CHECK(strstr(stage_reported.message, words) != NULL);
    CHECK(is_open(wire.a));
    close(listening);
    close_pair(wire);
}

// What was detached may take its time.
TEST(stream_write_that_was_detached_is_waited_for_when_the_loop_closes)
{
    static char buf[1 << 20];
    stage_open_with((struct coil_loop_options){ .close_ns = COIL_MS(400) });
    open_on(tcp_pair(4096));
    coil_detach_future(coil_shutdown(wire.b, SHUT_WR));
    coil_detach_future(coil_stream_write(s, buf, sizeof buf));
    stage_passes(2);
    int64_t start = coil_now();
    coil_loop_close(stage_loop); /* nobody reads: cancelled at half time */
    CHECK(coil_now() - start >= COIL_MS(200));
    CHECK_INT(stage_reported.n, 1);
    close_pair(wire);
}

// Nobody reads on: the kernel must be told of what is unread, so that it resets
// a peer who would else wait for us for ever.
TEST(stream_close_with_a_peer_in_mid_send_resets_it)
{
    static char much[1 << 20];
    stage_open();
    open_on(tcp_pair(0));
    ssize_t n = 0;
    CHECK_INT(fcntl(wire.b, F_SETFL, O_NONBLOCK), 0);
    struct coil_task *t = begin(coil_stream_fill(s, 1));
    for (int i = 0; i < 50 || n > 0; i++) {
        n = send(wire.b, much, sizeof much, MSG_NOSIGNAL);
        coil_loop_pass(stage_loop, COIL_MS(1));
    }
    CHECK(task_int(t) > 0);
    UNTIL(stage_stats().in_flight == 0); /* paused */
    CHECK_INT(wait_int(coil_stream_close(s)), 0);
    n = send(wire.b, much, 1, MSG_NOSIGNAL);
    CHECK(n < 0 && (errno == ECONNRESET || errno == EPIPE));
    close(wire.b);
    stage_close();
}

TEST(stream_close_before_anything_was_done)
{
    open_stream();
    close_all();
    stage_open();
    CHECK_INT(wait_int(coil_stream_close(NULL)), 0);
    coil_stream_close_soon(NULL);
    stage_close();
}

// A socket that is ours alone is shut down, whoever has a copy of it; what was
// adopted, an inherited one say, goes on for the others.
TEST(stream_close_shuts_down_but_for_what_was_adopted)
{
    for (int adopted = 0; adopted < 2; adopted++) {
        stage_open();
        struct pair pair = tcp_pair(0);
        int copy = dup(pair.a);
        s = adopted ? coil_stream_adopt(pair.a) : coil_stream_new(pair.a);
        struct coil_task *reader = begin(coil_stream_fill(s, 1));
        CHECK_INT(wait_int(coil_stream_close(s)), 0);
        CHECK_INT(task_int(reader), COIL_ECLOSED);
        CHECK(!is_open(pair.a));
        char x = 'x';
        if (adopted) {
            CHECK_INT(write(copy, &x, 1), 1);
            CHECK_INT(read(pair.b, &x, 1), 1);
            CHECK_INT(write(pair.b, &x, 1), 1);
            CHECK_INT(read(copy, &x, 1), 1);
        } else {
            CHECK_INT(read(pair.b, &x, 1), 0);
        }
        close(copy);
        close(pair.b);
        stage_close();
    }
}

TEST(stream_close_with_bytes_unread)
{
    for (int passes = 0; passes < 6; passes++) {
        open_tiny();
        peer_sends(1000);
        CHECK(fill(1) > 0);
        if (passes % 2)
            CHECK(fill(200) >= 200);
        stage_passes(passes);
        close_all();
    }
}

// All who are in the middle of something are told.
TEST(stream_close_tells_reader_and_writers)
{
    static char buf[1 << 20];
    for (int kind = 0; kind < 4; kind++) {
        stage_open();
        open_on(tcp_pair(4096));
        struct coil_task *r = begin(read_of_kind(kind, line));
        struct coil_task *w = begin(coil_stream_write(s, buf, sizeof buf));
        struct coil_task *next = begin(coil_stream_write(s, buf, sizeof buf));
        struct coil_task *eof = begin(coil_stream_write_eof(s));
        CHECK_INT(wait_int(coil_stream_close(s)), 0);
        CHECK(!is_open(wire.a));
        CHECK_INT(task_int(r), COIL_ECLOSED);
        CHECK_INT(task_int(w), COIL_ECLOSED);
        CHECK_INT(task_int(next), COIL_ECLOSED);
        CHECK_INT(task_int(eof), COIL_ECLOSED);
        close(wire.b);
        stage_close();
    }
}

struct closes {
    struct coil_coro coro;
    struct coil_stream *stream;
    int passes;
};

static void closes(struct coil_coro *co)
{
    ASYNC(closes, my) {
        while (my->passes-- > 0)
            AWAIT(coil_sleep(0));
        AWAIT(coil_stream_close(my->stream));
    }
}

// The reader was woken, its bytes are gone: that is not the end of the stream.
TEST(stream_close_in_front_of_a_reader_that_is_woken_tells_it)
{
    for (int kind = 0; kind < 3; kind++) {
        open_stream();
        struct coil_task *r = coil_spawn(read_of_kind(kind, line));
        struct coil_task *c = SPAWN(closes, .stream = s, .passes = 4);
        stage_passes(4);
        peer_sends(100);
        coil_loop_pass(stage_loop, COIL_MS(100));
        CHECK_INT(task_int(r), COIL_ECLOSED);
        CHECK_INT(task_int(c), 0);
        close(wire.b);
        stage_close();
    }
}

/*
 * A stream that is idle; 1: holds merged bytes and its receiver is paused; 2:
 * and a fill waits; 3: and a write waits.
 */
static void open_in_state(int state, struct coil_task **r, struct coil_task **w)
{
    static char buf[1 << 20];
    stage_open_with((struct coil_loop_options){ .recv_buffers = 4,
                                                .recv_buffer_bytes = 64 });
    open_on(tcp_pair(4096));
    if (state > 0) {
        peer_sends(1000);
        CHECK(fill(100) >= 100);
    }
    if (state > 1)
        *r = begin(coil_stream_fill(s, 5000));
    if (state > 2)
        *w = begin(coil_stream_write(s, buf, sizeof buf));
}

TEST(stream_drop_in_any_state_allocates_nothing)
{
    for (int state = 0; state < 5; state++) {
        struct coil_task *r = NULL, *w = NULL;
        open_in_state(state, &r, &w);
        if (state > 3)
            shutdown(wire.b, SHUT_WR);
        stage_passes(3);
        test_forbid_allocations(true);
        coil_stream_close_soon(s);
        UNTIL(!is_open(wire.a) && stage_stats().in_flight == 0);
        test_forbid_allocations(false);
        CHECK_INT(test_forbidden_allocations(), 0);
        int64_t n = r ? task_int(r) : COIL_ECLOSED;
        CHECK_INT(n, state > 3 ? 1000 : COIL_ECLOSED);
        if (w)
            CHECK_INT(task_int(w), COIL_ECLOSED);
        close(wire.b);
        stage_close();
    }
}

struct closes_when_cancelled {
    struct coil_coro coro;
    struct coil_stream *stream;
    struct coil_task *self;
    bool in_body;
    int err;
};

static void closes_when_cancelled(struct coil_coro *co)
{
    ASYNC(closes_when_cancelled, my) {
        if (my->in_body) {
            coil_task_cancel(coil_task_current());
            AWAIT(coil_stream_close(my->stream));
            my->stream = NULL;
        } else {
            AWAIT(coil_stream_fill(my->stream, 1));
        }

    FINALLY;
        if (my->stream && !my->in_body) {
            coil_task_cancel(coil_task_current()); /* once more */
            AWAIT(coil_stream_close(my->stream));
        }
    }
}

// "Cannot be cancelled", by a request from before either: else it would leak,
// with the kernel still writing to it.
TEST(stream_close_in_a_cancelled_task_closes)
{
    for (int i = 0; i < 2; i++) {
        open_stream();
        peer_sends(10);
        CHECK_INT(fill(1), 10);
        consume(10);
        struct coil_task *t = SPAWN(closes_when_cancelled, .stream = s,
                                    .in_body = i == 1);
        stage_passes(3);
        coil_task_cancel(t);
        stage_run(t);
        UNTIL(stage_stats().in_flight == 0);
        CHECK(!is_open(wire.a));
        close(wire.b);
        stage_close();
    }
}

TEST(stream_close_that_is_dropped_closes)
{
    open_stream();
    peer_sends(10);
    CHECK_INT(fill(1), 10);
    coil_discard(coil_stream_close(s));
    UNTIL(!is_open(wire.a));
    close(wire.b);
    stage_close();
}

// Without time to wait for the await of it: the loop does.
TEST(stream_dropped_as_the_loop_closes_is_closed)
{
    static char buf[1 << 20];
    open_tiny();
    peer_sends(500);
    CHECK(fill(1) > 0);
    coil_spawn(coil_stream_write(s, buf, sizeof buf));
    stage_passes(2);
    coil_stream_close_soon(s);
    stage_close();
    CHECK(!is_open(wire.a));
    close(wire.b);
}

/* ---- abort ------------------------------------------------------------ */

/* Read what is there; the error with which that ends, 0: the end of stream. */
static int peer_drains(size_t *n)
{
    static char buf[65536];
    ssize_t got;
    *n = 0;
    while ((got = recv(wire.b, buf, sizeof buf, 0)) > 0)
        *n += (size_t)got;
    return got < 0 ? errno : 0;
}

// The peer does not read, so the socket's queue is full: close() sends what is
// in it, abort() does not.
TEST(stream_abort_sends_nothing_that_is_queued)
{
    static char buf[1 << 20];
    size_t n[2];
    for (int abort = 0; abort < 2; abort++) {
        stage_open();
        open_on(tcp_pair(65536));
        struct coil_task *w = begin(coil_stream_write(s, buf, sizeof buf));
        for (int i = 0; i < 20; i++)
            coil_loop_pass(stage_loop, COIL_MS(1));
        CHECK(!coil_task_done(w));
        CHECK_INT(wait_int(abort ? coil_stream_abort(s) : coil_stream_close(s)),
                  0);
        CHECK(!is_open(wire.a));
        CHECK_INT(task_int(w), COIL_ECLOSED);
        CHECK_INT(peer_drains(&n[abort]), abort ? ECONNRESET : 0);
        close(wire.b);
        stage_close();
    }
    CHECK(n[1] < n[0]);
}

// Nothing is queued, nothing was ever read or written: a reset all the same.
TEST(stream_abort_resets_a_connection_at_rest)
{
    size_t n;
    for (int state = 0; state < 3; state++) {
        stage_open();
        open_on(tcp_pair(0));
        if (state > 0) {
            peer_sends(10);
            CHECK_INT(fill(1), 10);
        }
        if (state > 1)
            consume(10);
        CHECK_INT(wait_int(coil_stream_abort(s)), 0);
        CHECK(!is_open(wire.a));
        CHECK_INT(peer_drains(&n), ECONNRESET);
        CHECK_INT(n, 0);
        close(wire.b);
        stage_close();
    }
    stage_open();
    CHECK_INT(wait_int(coil_stream_abort(NULL)), 0);
    stage_close();
}

TEST(stream_abort_tells_reader_and_writers)
{
    static char buf[1 << 20];
    size_t n;
    for (int kind = 0; kind < 4; kind++) {
        stage_open();
        open_on(tcp_pair(4096));
        struct coil_task *r = begin(read_of_kind(kind, line));
        struct coil_task *w = begin(coil_stream_write(s, buf, sizeof buf));
        struct coil_task *next = begin(coil_stream_write(s, buf, sizeof buf));
        struct coil_task *eof = begin(coil_stream_write_eof(s));
        CHECK_INT(wait_int(coil_stream_abort(s)), 0);
        CHECK(!is_open(wire.a));
        CHECK_INT(task_int(r), COIL_ECLOSED);
        CHECK_INT(task_int(w), COIL_ECLOSED);
        CHECK_INT(task_int(next), COIL_ECLOSED);
        CHECK_INT(task_int(eof), COIL_ECLOSED);
        CHECK_INT(peer_drains(&n), ECONNRESET);
        close(wire.b);
        stage_close();
    }
}

struct aborts {
    struct coil_coro coro;
    struct coil_stream *stream;
    bool cancelled;
};

static void aborts(struct coil_coro *co)
{
    ASYNC(aborts, my) {
        if (my->cancelled)
            coil_task_cancel(coil_task_current());
        AWAIT(coil_stream_abort(my->stream));
    }
}

// Reader and writer are cancelled before, in the same pass, or behind it, and
// the one that aborts in the middle: it cannot be cancelled.
TEST(stream_abort_among_cancels_at_every_point)
{
    static char buf[1 << 20];
    size_t n;
    for (int point = 0; point < 24; point++) {
        test_note("point %d", point);
        stage_open();
        open_on(tcp_pair(4096));
        struct coil_task *r = coil_spawn(coil_stream_fill(s, 1));
        struct coil_task *w = coil_spawn(coil_stream_write(s, buf, sizeof buf));
        int before = point % 4, after = point / 4 % 3;
        stage_passes(before);
        if (point >= 12)
            peer_sends(10);
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
        int64_t err = task_int(t);
        CHECK(err == 0 || err == -ECANCELED);
        int64_t read = task_int(r), written = task_int(w);
        CHECK(read == COIL_ECLOSED || read == -ECANCELED || read == 10);
        CHECK(written == COIL_ECLOSED || written == -ECANCELED);
        UNTIL(!is_open(wire.a) && stage_stats().in_flight == 0);
        CHECK_INT(peer_drains(&n), ECONNRESET);
        close(wire.b);
        stage_close();
    }
}

TEST(stream_abort_in_a_cancelled_task_and_when_dropped)
{
    size_t n;
    for (int i = 0; i < 3; i++) {
        stage_open();
        open_on(tcp_pair(0));
        if (i == 0)
            coil_discard(coil_stream_abort(s));
        else if (i == 1)
            coil_detach(coil_stream_abort(s));
        else
            wait_int(CALL(aborts, .stream = s, .cancelled = true));
        UNTIL(!is_open(wire.a));
        CHECK_INT(peer_drains(&n), ECONNRESET);
        close(wire.b);
        stage_close();
    }
}

TEST(stream_abort_in_any_state_allocates_nothing)
{
    for (int state = 0; state < 4; state++) {
        struct coil_task *r = NULL, *w = NULL;
        open_in_state(state, &r, &w);
        stage_passes(3);
        test_forbid_allocations(true);
        coil_detach(coil_stream_abort(s));
        UNTIL(!is_open(wire.a) && stage_stats().in_flight == 0);
        test_forbid_allocations(false);
        CHECK_INT(test_forbidden_allocations(), 0);
        if (r)
            CHECK_INT(task_int(r), COIL_ECLOSED);
        if (w)
            CHECK_INT(task_int(w), COIL_ECLOSED);
        close(wire.b);
        stage_close();
    }
}

// The connection is not ours alone: it goes on for the others, with no option
// changed.
TEST(stream_abort_of_what_was_adopted_closes_only_our_descriptor)
{
    stage_open();
    struct pair pair = tcp_pair(0);
    int copy = dup(pair.a);
    s = coil_stream_adopt(pair.a);
    struct coil_task *reader = begin(coil_stream_fill(s, 1));
    CHECK_INT(wait_int(coil_stream_abort(s)), 0);
    CHECK_INT(task_int(reader), COIL_ECLOSED);
    CHECK(!is_open(pair.a));
    struct linger linger;
    socklen_t len = sizeof linger;
    CHECK_INT(getsockopt(copy, SOL_SOCKET, SO_LINGER, &linger, &len), 0);
    CHECK(!linger.l_onoff);
    char x = 'x';
    CHECK_INT(write(copy, &x, 1), 1);
    CHECK_INT(read(pair.b, &x, 1), 1);
    CHECK_INT(write(pair.b, &x, 1), 1);
    CHECK_INT(read(copy, &x, 1), 1);
    close(copy);
    CHECK_INT(read(pair.b, &x, 1), 0);
    close(pair.b);
    stage_close();
}

// There is no reset: the end, or an error if we have left bytes unread.
TEST(stream_abort_of_a_unix_socket_ends_it)
{
    size_t n;
    for (int unread = 0; unread < 2; unread++) {
        open_stream();
        if (unread)
            peer_sends(100); /* and there is no receiver yet */
        CHECK_INT(wait_int(coil_stream_abort(s)), 0);
        CHECK(!is_open(wire.a));
        CHECK_INT(peer_drains(&n), unread ? ECONNRESET : 0);
        close(wire.b);
        stage_close();
    }
}

/* ---- is_reusable --------------------------------------------------------- */

TEST(stream_is_reusable_until_something_comes_unasked)
{
    open_stream();
    CHECK(coil_stream_is_reusable(s));
    peer_sends(10);
    CHECK_INT(fill(1), 10);
    CHECK(!coil_stream_is_reusable(s));
    consume(9);
    CHECK(!coil_stream_is_reusable(s));
    consume(1);
    CHECK(coil_stream_is_reusable(s));
    peer_sends(1);
    stage_passes(3);
    CHECK(!coil_stream_is_reusable(s));
    consume(1);
    shutdown(wire.b, SHUT_WR);
    stage_passes(3);
    CHECK(!coil_stream_is_reusable(s));
    close_all();
}

TEST(stream_is_not_reusable_after_a_reset)
{
    stage_open();
    open_on(tcp_pair(0));
    peer_sends(1);
    CHECK_INT(fill(1), 1);
    consume(1);
    CHECK(coil_stream_is_reusable(s));
    close_with_reset(wire.b);
    wire.b = -1;
    stage_passes(5);
    CHECK(!coil_stream_is_reusable(s));
    close_all();
}

// The loop has made no pass since, but the kernel has it: a late byte would be
// taken for the answer to the next request, and an end would cost a request.
TEST(stream_is_not_reusable_after_what_only_the_kernel_has_seen)
{
    enum { BYTE, END, RESET, CASES };
    for (int i = 0; i < CASES; i++) {
        stage_open();
        open_on(tcp_pair(0));
        peer_sends(1);
        CHECK_INT(fill(1), 1);
        consume(1);
        stage_passes(3);
        CHECK(coil_stream_is_reusable(s));
        if (i == BYTE)
            peer_sends(1);
        else if (i == END)
            shutdown(wire.b, SHUT_WR);
        else
            close_with_reset(wire.b);
        CHECK(!coil_stream_is_reusable(s));
        if (i == RESET)
            wire.b = -1;
        close_all();
    }
}

// The receive is armed anew, and the kernel does not have it yet.
TEST(stream_knows_the_kernel_while_its_receive_is_armed_anew)
{
    stage_open_with((struct coil_loop_options){ .recv_buffers = 8,
                                                .recv_buffer_bytes = 256 });
    open_on(tcp_pair(0));
    for (int i = 0; i < 50; i++) {
        peer_sends(64 * 256); /* more than the receiver's quota */
        for (size_t n = 0; n < 64 * 256;) {
            size_t there = (size_t)fill(1);
            consume(there);
            n += there;
        }
        CHECK(coil_stream_is_reusable(s));
        peer_sends(1);
        CHECK(!coil_stream_is_reusable(s));
        CHECK_INT(fill(1), 1);
        consume(1);
        CHECK(coil_stream_is_reusable(s));
    }
    close_all();
}

// Asking costs no system call while nothing has come, however often.
TEST(stream_is_asked_whether_it_is_reusable_without_a_system_call)
{
    stage_open();
    open_on(tcp_pair(0));
    peer_sends(1);
    CHECK_INT(fill(1), 1);
    consume(1);
    stage_passes(3);
    CHECK(coil_stream_is_reusable(s));
    uint64_t enters = stage_stats().enters;
    for (int i = 0; i < 1000; i++)
        CHECK(coil_stream_is_reusable(s));
    CHECK_INT(stage_stats().enters, enters);
    peer_sends(1);
    for (int i = 0; i < 1000; i++)
        CHECK(!coil_stream_is_reusable(s));
    CHECK(stage_stats().enters <= enters + 2);
    close_all();
}

/* ---- is_sent ---------------------------------------------------------- */

TEST(stream_is_sent_when_the_peer_has_read_a_unix_socket)
{
    char byte;
    open_stream();
    CHECK(coil_stream_is_sent(s));
    CHECK_INT(wait_int(coil_stream_write(s, "a", 1)), 1);
    CHECK(!coil_stream_is_sent(s));
    CHECK_INT(recv(wire.b, &byte, 1, 0), 1);
    CHECK(coil_stream_is_sent(s));
    close_all();
}

// More than the peer's kernel can take is not acknowledged before it is read.
TEST(stream_is_sent_when_the_peer_has_acknowledged)
{
    static char block[4096];
    stage_open();
    open_on(tcp_pair(4096));
    CHECK(coil_stream_is_sent(s));
    while (send(wire.a, block, sizeof block, MSG_DONTWAIT) > 0)
        ;
    CHECK(!coil_stream_is_sent(s));
    while (!coil_stream_is_sent(s))
        recv(wire.b, block, sizeof block, MSG_DONTWAIT);
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
    open_stream();
    CHECK_INT(coil_stream_watch(s, &h, count_call, &calls), 0);
    stage_passes(3);
    CHECK_INT(calls, 0);
    peer_sends(3);
    stage_passes(5);
    CHECK_INT(calls, 1);
    peer_sends(3);
    stage_passes(5);
    CHECK_INT(calls, 1);
    CHECK_INT(coil_stream_watch(s, &h, count_call, &calls), 0);
    stage_passes(2);
    CHECK_INT(calls, 2);
    consume(3);
    consume(3);
    CHECK_INT(coil_stream_watch(s, &h, count_call, &calls), 0);
    CHECK_INT(fill(1), -EBUSY);
    shutdown(wire.b, SHUT_WR);
    stage_passes(5);
    CHECK_INT(calls, 3);
    close_all();
}

TEST(stream_watch_that_is_ended_makes_no_call)
{
    struct coil_handle h = { 0 };
    int calls = 0;
    open_stream();
    CHECK_INT(coil_stream_watch(s, &h, count_call, &calls), 0);
    coil_stream_unwatch(s, &h);
    peer_sends(1);
    stage_passes(5);
    CHECK_INT(coil_stream_watch(s, &h, count_call, &calls), 0);
    coil_stream_unwatch(s, &h); /* the call was ready */
    stage_passes(5);
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

/* ---- Misuse ----------------------------------------------------------- */

struct lends_its_stack {
    struct coil_coro coro;
    struct coil_stream *stream;
    int kind;
};

static void lends_its_stack(struct coil_coro *co)
{
    ASYNC(lends_its_stack, my) {
        char buf[8] = "";
        if (my->kind == 0)
            coil_discard(coil_stream_read(my->stream, buf, 8));
        else if (my->kind == 1)
            coil_discard(coil_stream_read_exactly(my->stream, buf, 8));
        else if (my->kind == 2)
            coil_discard(coil_stream_read_until(my->stream, 'x', buf, 8));
        else
            coil_discard(coil_stream_write(my->stream, buf, 8));
    }
}

// The likeliest mistake of all: `char buf[64]` and a read into it.
DEATH_TEST(stream_read_into_the_stack_aborts, "a buffer on the stack is lent")
{
    open_stream();
    wait_int(CALL(lends_its_stack, .stream = s, .kind = 0));
}

DEATH_TEST(stream_read_exactly_into_the_stack_aborts,
           "a buffer on the stack is lent")
{
    open_stream();
    wait_int(CALL(lends_its_stack, .stream = s, .kind = 1));
}

DEATH_TEST(stream_read_until_into_the_stack_aborts,
           "lends_its_stack at .*test_stream.c:[0-9]+")
{
    open_stream();
    wait_int(CALL(lends_its_stack, .stream = s, .kind = 2));
}

DEATH_TEST(stream_write_from_the_stack_aborts, "a buffer on the stack is lent")
{
    open_stream();
    wait_int(CALL(lends_its_stack, .stream = s, .kind = 3));
}

/* ---- When it cannot go on --------------------------------------------- */

// The receiver resumes from within fill, and there is no room for it yet.
TEST(stream_fill_waits_for_room_among_the_operations)
{
    static char buf[8];
    stage_open_with((struct coil_loop_options){
        .operations_limit = 1, .recv_buffers = 4, .recv_buffer_bytes = 64 });
    open_on(unix_pair());
    struct pair other = unix_pair();
    peer_sends(1000);
    CHECK(fill(1) > 0);
    UNTIL(stage_stats().in_flight == 0); /* paused, all buffers lent */
    struct coil_task *t = begin(coil_recv(other.a, buf, 1));
    struct coil_task *f = begin(coil_stream_fill(s, 500)); /* merges */
    stage_passes(3);
    CHECK(!coil_task_done(f));
    CHECK_INT(peek(), 256);
    CHECK_INT(write(other.b, "x", 1), 1);
    CHECK_INT(task_int(t), 1);
    CHECK(task_int(f) >= 500);
    close_pair(other);
    close_all();
}

/* ---- A stream of one's own -------------------------------------------- */

/* The bytes of a string, a few at a time; what is written is counted. */
struct text_stream {
    struct coil_custom closing;
    struct coil_stream stream;
    const char *text;
    size_t at, shown, written;
    bool *closed;
};

static struct text_stream *text_of(const struct coil_stream *stream)
{
    return COILI_CONTAINER((void *)(uintptr_t)stream, struct text_stream,
                           stream);
}

static struct coil_future *text_fill(struct coil_stream *stream, size_t want)
{
    struct text_stream *t = text_of(stream);
    size_t left = strlen(t->text + t->at);
    t->shown = want < left ? want : left;
    return coil_future_from_int((int64_t)t->shown);
}

static size_t text_peek(struct coil_stream *stream, char **data)
{
    struct text_stream *t = text_of(stream);
    *data = (char *)(uintptr_t)t->text + t->at;
    return t->shown;
}

static void text_consume(struct coil_stream *stream, size_t n)
{
    text_of(stream)->at += n;
    text_of(stream)->shown -= n;
}

static struct coil_future *text_write(struct coil_stream *stream,
                                      const void *buf, size_t len)
{
    (void)buf;
    text_of(stream)->written += len;
    return coil_future_from_int((int64_t)len);
}

static struct coil_future *text_close(struct coil_stream *stream)
{
    return &text_of(stream)->closing.future;
}

static void text_close_start(struct coil_future *f)
{
    *((struct text_stream *)(void *)f)->closed = true;
    coil_future_set_int(f, 0);
}

static const struct coil_future_class text_class = {
    .name = "close text",
    .start = text_close_start,
};

static bool text_at_end(const struct coil_stream *stream)
{
    return text_of(stream)->text[text_of(stream)->at] == '\0';
}

static const struct coil_stream_ops text_ops = {
    .fill = text_fill,
    .peek = text_peek,
    .consume = text_consume,
    .at_end = text_at_end,
    .write = text_write,
    .close = text_close,
};

// With the public header alone: the reads are made of fill, peek and consume.
TEST(stream_may_be_anybodys_table_of_operations)
{
    static char buf[16];
    stage_open();
    for (int dropped = 0; dropped < 2; dropped++) {
        bool closed = false;
        struct text_stream *t = coil_custom_new(&text_class, sizeof *t);
        CHECK(t != NULL);
        t->stream.ops = &text_ops;
        t->text = "one\ntwo\nthree";
        t->closed = &closed;
        s = &t->stream;
        CHECK_INT(wait_int(coil_stream_read_until(s, '\n', buf, 16)), 4);
        CHECK_MEM(buf, "one\n", 4);
        CHECK_INT(wait_int(coil_stream_read_exactly(s, buf, 2)), 2);
        CHECK_MEM(buf, "tw", 2);
        CHECK_INT(wait_int(coil_stream_read_until(s, '\n', buf, 16)), 2);
        CHECK_INT(wait_int(coil_stream_read_exactly(s, buf, 16)),
                  COIL_EINCOMPLETE);
        CHECK_MEM(buf, "three", 5);
        CHECK_INT(wait_int(coil_stream_write(s, "abc", 3)), 3);
        CHECK_INT(t->written, 3);
        if (dropped)
            coil_stream_close_soon(s);
        else
            CHECK_INT(wait_int(coil_stream_close(s)), 0);
        CHECK(closed);
    }
    stage_close();
}

static struct coil_stream *text_new(const struct coil_stream_ops *ops,
                                    const char *text, bool *closed)
{
    struct text_stream *t = coil_custom_new(&text_class, sizeof *t);
    CHECK(t != NULL);
    t->stream.ops = ops;
    t->text = text;
    t->closed = closed;
    return &t->stream;
}

// A table that has no abort, is_reusable and is_sent.
TEST(stream_without_abort_and_is_reusable_closes_and_peeks)
{
    bool closed = false;
    stage_open();
    s = text_new(&text_ops, "ab", &closed);
    CHECK(coil_stream_is_reusable(s));
    CHECK_INT(fill(1), 1);
    CHECK(!coil_stream_is_reusable(s));
    coil_stream_consume(s, 1);
    CHECK(coil_stream_is_reusable(s));
    CHECK_INT(fill(1), 1);
    coil_stream_consume(s, 1);
    CHECK(!coil_stream_is_reusable(s)); /* at its end */
    CHECK_INT(wait_int(coil_stream_write(s, "abc", 3)), 3);
    CHECK(coil_stream_is_sent(s));
    CHECK_INT(wait_int(coil_stream_abort(s)), 0);
    CHECK(closed);
    stage_close();
}

static struct coil_future *text_abort(struct coil_stream *stream)
{
    text_of(stream)->text = "aborted";
    return text_close(stream);
}

static bool text_is_reusable(struct coil_stream *stream)
{
    return text_of(stream)->shown > 1;
}

static bool text_is_sent(const struct coil_stream *stream)
{
    return !text_of(stream)->written;
}

TEST(stream_asks_its_own_abort_is_reusable_and_is_sent)
{
    struct coil_stream_ops ops = text_ops;
    bool closed = false;
    ops.abort = text_abort;
    ops.is_reusable = text_is_reusable;
    ops.is_sent = text_is_sent;
    stage_open();
    s = text_new(&ops, "ab", &closed);
    CHECK(coil_stream_is_sent(s));
    CHECK_INT(wait_int(coil_stream_write(s, "abc", 3)), 3);
    CHECK(!coil_stream_is_sent(s));
    CHECK(!coil_stream_is_reusable(s));
    CHECK_INT(fill(2), 2);
    CHECK(coil_stream_is_reusable(s));
    struct coil_future *f = coil_stream_abort(s);
    CHECK_STR(text_of(s)->text, "aborted");
    CHECK_INT(wait_int(f), 0);
    CHECK(closed);
    stage_close();
}

/* ---- Echo ------------------------------------------------------------- */

struct echo {
    struct coil_coro coro;
    struct coil_stream *stream;
    size_t n;
};

/* Sends from the buffer that the kernel received into. */
static void echo(struct coil_coro *co)
{
    ASYNC(echo, my) {
        for (;;) {
            AWAIT_TO(my->n, coil_stream_fill(my->stream, 1));
            if (my->n == 0)
                break;
            char *data;
            my->n = coil_stream_peek(my->stream, &data);
            AWAIT(coil_stream_write(my->stream, data, my->n));
            coil_stream_consume(my->stream, my->n);
        }

    FINALLY;
        AWAIT(coil_stream_close(my->stream));
    }
}

TEST(stream_echoes_from_the_lent_buffer)
{
    size_t all = test_is_slow() ? 300000 : 3000000;
    stage_open_with((struct coil_loop_options){ .recv_buffers = 8,
                                                .recv_buffer_bytes = 4096 });
    open_on(tcp_pair(0));
    struct coil_task *t = SPAWN(echo, .stream = s);
    while (in.at < all) {
        pattern_send(&out, wire.b, all - out.at);
        pattern_recv(&in, wire.b);
        coil_loop_pass(stage_loop, COIL_MS(1));
    }
    shutdown(wire.b, SHUT_WR);
    CHECK_INT(task_int(t), 0);
    CHECK(!is_open(wire.a));
    close(wire.b);
    stage_close();
}

struct sends {
    struct coil_coro coro;
    struct coil_stream *stream;
    struct pattern out;
    uint64_t all, seed;
    size_t n;
    bool done;
    char buf[2000];
};

static void sends(struct coil_coro *co)
{
    ASYNC(sends, my) {
        while (my->out.at < my->all) {
            my->n = 1 + draw(&my->seed, sizeof my->buf);
            if (my->n > my->all - my->out.at)
                my->n = my->all - my->out.at;
            pattern_fill(&my->out, my->buf, my->n);
            AWAIT(coil_stream_write(my->stream, my->buf, my->n));
        }
        AWAIT(coil_stream_write_eof(my->stream));
        my->done = true;

    FINALLY;
        if (!my->done) /* who reads the answers is told */
            shutdown(coil_stream_fd(my->stream), SHUT_RDWR);
    }
}

struct talks {
    struct coil_coro coro;
    struct coil_stream *stream;
    struct coil_task *sender;
    int sender_err;
    uint64_t all, seed;
    struct pattern in;
    size_t n, there;
    char buf[1500];
};

/* Sends and compares what comes back, in reads of every kind. */
static void talks(struct coil_coro *co)
{
    ASYNC(talks, my) {
        my->sender = SPAWN(sends, .stream = my->stream, .all = my->all,
                           .seed = my->seed, .out.seed = my->seed);
        coil_task_quiet(my->sender);
        if (coil_task_done(my->sender))
            AWAIT(my->sender);
        my->in.seed = my->seed;
        while (my->in.at < my->all) {
            my->n = 1 + draw(&my->seed, sizeof my->buf);
            if (my->n > my->all - my->in.at)
                my->n = my->all - my->in.at;
            if (draw(&my->seed, 2)) {
                AWAIT_TO(my->n, coil_stream_read(my->stream, my->buf, my->n));
                if (my->n == 0)
                    FAIL(COIL_EINCOMPLETE);
                pattern_check(&my->in, my->buf, my->n);
            } else if (draw(&my->seed, 2)) {
                AWAIT(coil_stream_read_exactly(my->stream, my->buf, my->n));
                pattern_check(&my->in, my->buf, my->n);
            } else {
                AWAIT_TO(my->there, coil_stream_fill(my->stream, my->n));
                if (my->there < my->n)
                    FAIL(COIL_EINCOMPLETE);
                char *data;
                my->there = coil_stream_peek(my->stream, &data);
                my->n = 1 + draw(&my->seed, (unsigned)my->there);
                pattern_check(&my->in, data, my->n);
                coil_stream_consume(my->stream, my->n);
            }
        }
        AWAIT_TO(my->n, coil_stream_fill(my->stream, 1));
        if (my->n != 0)
            FAIL(-EIO);

    FINALLY;
        AWAIT(coil_stream_close(my->stream));
        if (my->sender)
            TRY_AWAIT(my->sender_err, my->sender);
    }
}

/* Half of the connections are cancelled at some pass, at one end or both. */
static void storm(uint64_t seed, struct coil_loop_options options)
{
    enum { CONNS = 16 };
    struct coil_task *client[CONNS], *server[CONNS];
    test_note("seed %llu", (unsigned long long)seed);
    stage_open_with(options);
    for (int i = 0; i < CONNS; i++) {
        struct pair pair = i % 3 ? unix_pair() : tcp_pair(i % 2 ? 4096 : 0);
        server[i] = SPAWN(echo, .stream = coil_stream_new(pair.a));
        client[i] = SPAWN(talks, .stream = coil_stream_new(pair.b),
                          .all = 1000 + draw(&seed, 30000),
                          .seed = seed + (uint64_t)i);
        coil_task_quiet(client[i]);
        coil_task_quiet(server[i]);
    }
    unsigned cancelled = 0;
    for (bool busy = true; busy;) {
        coil_loop_pass(stage_loop, COIL_MS(1));
        busy = false;
        for (int i = 0; i < CONNS; i++) {
            busy |= !coil_task_done(client[i]) || !coil_task_done(server[i]);
            if (i % 2 == 0 || draw(&seed, 200) != 0)
                continue;
            cancelled |= 1u << i;
            coil_task_cancel(draw(&seed, 2) ? client[i] : server[i]);
        }
    }
    for (int i = 0; i < CONNS; i++) {
        struct coil_future *c = coil_task_future(client[i]);
        struct coil_future *e = coil_task_future(server[i]);
        bool full = options.operations_limit &&
                    (coil_future_failed(c) || coil_future_failed(e));
        if (!(cancelled & 1u << i) && !full) {
            CHECK_INT(coil_future_error(c), 0);
            CHECK_INT(coil_future_error(e), 0);
        }
        coil_future_error(c);
        coil_future_error(e);
        coil_task_drop(&client[i]);
        coil_task_drop(&server[i]);
    }
    UNTIL(stage_stats().in_flight == 0);
    struct coil_loop *loop = coili_loop;
    CHECK_INT(loop->table->buffers_free(loop->backend),
              loop->options.recv_buffers);
    stage_close();
}

// With what is there in plenty, and with next to nothing of it.
TEST(stream_echoes_survive_a_storm_of_cancels)
{
    test_timeout(120);
    for (uint64_t seed = 1; seed <= (test_is_slow() ? 3 : 25); seed++)
        storm(seed, (struct coil_loop_options){ 0 });
}

TEST(stream_echoes_survive_a_storm_of_cancels_in_a_small_ring)
{
    test_timeout(120);
    for (uint64_t seed = 1; seed <= (test_is_slow() ? 3 : 25); seed++)
        storm(seed, (struct coil_loop_options){ .sq_entries = 8,
                                                .cq_entries = 8,
                                                .recv_buffers = 4,
                                                .recv_buffer_bytes = 128 });
}

// Operations, and their cancel requests, stand in line for the kernel.
TEST(stream_echoes_survive_a_kernel_that_refuses)
{
    test_timeout(120);
    for (uint64_t seed = 1; seed <= (test_is_slow() ? 3 : 25); seed++) {
        refusing = seed;
        storm(seed, (struct coil_loop_options){ .sq_entries = 8,
                                                .cq_entries = 8,
                                                .recv_buffers = 8,
                                                .recv_buffer_bytes = 256 });
    }
}

// Not all can begin: those fail, and nothing else does.
TEST(stream_echoes_survive_too_few_operations)
{
    test_timeout(120);
    for (uint64_t seed = 1; seed <= (test_is_slow() ? 5 : 25); seed++)
        storm(seed, (struct coil_loop_options){
                        .operations_limit = 20 + (unsigned)seed * 2,
                        .recv_buffers = 8,
                        .recv_buffer_bytes = 256 });
}

// A peer that does not read must not hold the loop up, however it is closed.
TEST(stream_close_never_lingers)
{
    stage_open();
    for (int i = 0; i < 3; i++) {
        struct pair pair = tcp_pair(4096);
        s = i == 2 ? coil_stream_adopt(pair.a) : coil_stream_new(pair.a);
        size_t n = send_all_that_fits(pair.a);
        linger_on_close(pair.a, 1000);
        CHECK_INT(
            wait_int(i == 1 ? coil_stream_abort(s) : coil_stream_close(s)), 0);
        CHECK(!is_open(pair.a));
        if (i != 1)
            read_to_the_end(pair.b, n);
        close(pair.b);
    }
    stage_close();
}

/* ---- Without memory --------------------------------------------------- */

static int talk_once(void)
{
    struct coil_loop *loop;
    struct coil_loop_options options = *stage_options();
    options.recv_buffers = 4;
    options.recv_buffer_bytes = 64;
    int err = coil_loop_new(&loop, &options);
    if (err < 0)
        return err;
    stage_loop = loop;
    struct pair pair = unix_pair();
    struct coil_stream *a = coil_stream_new(pair.a);
    struct coil_stream *b = coil_stream_new(pair.b);
    if (!a)
        close(pair.a);
    if (!b)
        close(pair.b);
    if (a && b) {
        struct coil_task *server = SPAWN(echo, .stream = a);
        struct coil_task *client = SPAWN(talks, .stream = b, .all = 1500,
                                         .seed = 3);
        if (!coil_task_frame(server))
            coil_stream_close_soon(a);
        if (!coil_task_frame(client))
            coil_stream_close_soon(b);
        coil_task_quiet(server);
        coil_task_quiet(client);
        while (!coil_task_done(server) || !coil_task_done(client))
            coil_loop_pass(loop, COIL_MS(5));
        err = coil_future_error(coil_task_future(client));
        int other = coil_future_error(coil_task_future(server));
        struct talks *frame = coil_task_frame(client);
        if (other == -ENOMEM || (frame && frame->sender_err == -ENOMEM))
            err = -ENOMEM; /* and the client saw its end */
    } else {
        coil_stream_close_soon(a);
        coil_stream_close_soon(b);
        err = -ENOMEM;
    }
    coil_loop_close(loop);
    return err;
}

TEST(stream_survives_every_failed_allocation)
{
    test_timeout(120);
    test_every_allocation(talk_once);
}
