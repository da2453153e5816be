// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_stream_pair.c: what stream_pair.h promises beyond stream.h: how much the
 * buffer holds, what is there without a pass of the loop, and which error comes
 * when. So a user's test of a protocol can count on it. And the suite.
 */
#include "stream_kind.h"

#include <coil/error.h>
#include <coil/stream_pair.h>

static const struct stream_kind stream_kind = {
    .make_pair = coil_stream_pair,
    .held_most = 4096,
    .half_close = true,
    .abort_resets = true,
    .is_sent_when_read = true,
};

#include "stream_suite.h"

TEST(stream_pair_holds_exactly_its_buffer)
{
    static char buf[3][100];
    open_streams_of(100);
    struct coil_task *a = peer_begins(buf[0], 60);
    struct coil_task *b = peer_begins(buf[1], 40);
    struct coil_task *c = peer_begins(buf[2], 1);
    CHECK_INT(task_int(a), 60);
    CHECK_INT(task_int(b), 40);
    CHECK(!coil_task_done(c));
    CHECK_INT(peek(), 100);
    consume(100);
    CHECK_INT(peek(), 1); /* without a pass */
    CHECK_INT(task_int(c), 1);
    close_all();
}

TEST(stream_pair_has_64_KiB_if_nothing_else_is_said)
{
    static char buf[65537];
    open_streams_of(0);
    struct coil_task *t = peer_begins(buf, sizeof buf);
    CHECK(!coil_task_done(t));
    CHECK_INT(peek(), 65536);
    consume(65536);
    CHECK_INT(task_int(t), sizeof buf);
    close_all();
}

// A fill says how much it needs, so it may have more than the buffer holds, but
// then no more than that.
TEST(stream_pair_holds_what_a_fill_wants)
{
    static char buf[1000];
    open_streams_of(10);
    struct coil_task *t = peer_begins(buf, sizeof buf);
    CHECK_INT(peek(), 10);
    struct coil_task *f = begin(coil_stream_fill(s, 300));
    CHECK_INT(task_int(f), 300);
    CHECK_INT(peek(), 300);
    consume(295);
    CHECK(peek() <= 10);
    CHECK(!coil_task_done(t));
    CHECK_INT(wait_int(coil_stream_fill(s, 6)), 10);
    CHECK_INT(wait_int(coil_stream_fill(s, 705)), 705);
    CHECK_INT(task_int(t), sizeof buf);
    consume(705);
    f = begin(coil_stream_fill(s, 50)); /* before any byte */
    t = peer_begins(buf, 100);
    CHECK_INT(task_int(f), 50);
    CHECK_INT(peek(), 50);
    consume(50);
    CHECK_INT(peek(), 10);
    coil_task_cancel(t);
    CHECK_INT(task_int(t), -ECANCELED);
    close_all();
}

// Nothing of it was sent, and what waits behind it has no bytes.
TEST(stream_pair_write_that_is_cancelled_lets_the_next_pass)
{
    static char buf[2][10];
    open_streams_of(10);
    CHECK_INT(task_int(peer_begins(buf[0], 10)), 10);
    struct coil_task *w = begin(coil_stream_write(peer, buf[1], 5));
    struct coil_task *none = begin(coil_stream_write(peer, "", 0));
    struct coil_task *eof = begin(coil_stream_write_eof(peer));
    CHECK(!coil_task_done(none) && !coil_task_done(eof));
    coil_task_cancel(w);
    CHECK_INT(task_int(w), -ECANCELED);
    CHECK_INT(task_int(none), 0);
    CHECK_INT(task_int(eof), 0);
    CHECK_INT(peek(), 10);
    consume(10);
    CHECK(coil_stream_at_end(s));
    close_all();
}

// Its future is freed as soon as it is done.
TEST(stream_pair_takes_an_end_that_was_detached)
{
    static char buf[15];
    open_streams_of(10);
    struct coil_task *w = peer_begins(buf, sizeof buf);
    coil_detach(coil_stream_write_eof(peer));
    CHECK_INT(peek(), 10);
    consume(10);
    CHECK_INT(task_int(w), sizeof buf);
    CHECK_INT(peek(), 5);
    consume(5);
    CHECK(coil_stream_at_end(s));
    close_all();
}

// A thousand pairs at rest are cheap; so are those that have been used.
TEST(stream_pair_at_rest_has_no_buffer)
{
    open_streams_of(1 << 20);
    CHECK_INT(wait_int(coil_stream_write(peer, "", 0)), 0);
    CHECK(stage_stats().memory_bytes < 1 << 18);
    CHECK_INT(wait_int(coil_stream_write(peer, "x", 1)), 1);
    CHECK(stage_stats().memory_bytes > 1 << 20);
    struct coil_task *f = begin(coil_stream_fill(peer, 200000));
    CHECK_INT(wait_int(coil_stream_fill(s, 1)), 1);
    coil_stream_consume(s, 1);
    CHECK(stage_stats().memory_bytes < 1 << 18);
    CHECK_INT(wait_int(coil_stream_write_eof(s)), 0);
    CHECK_INT(task_int(f), 0);
    CHECK(stage_stats().memory_bytes < 1 << 18);
    close_all();
}

TEST(stream_pair_has_no_descriptor)
{
    open_streams_of(0);
    CHECK_INT(coil_stream_fd(peer), -1);
    CHECK_INT(coil_stream_fd(s), -1);
    close_all();
}

// The writer fails at once, also the one that waits; what was received stays.
TEST(stream_pair_tells_the_peer_of_a_close_and_of_an_abort)
{
    static char buf[100];
    for (int abort = 0; abort < 2; abort++) {
        int gone = abort ? -ECONNRESET : -EPIPE;
        open_streams_of(10);
        CHECK_INT(wait_int(coil_stream_write(peer, "abc", 3)), 3);
        struct coil_task *w = begin(coil_stream_write(s, buf, 100));
        struct coil_task *next = begin(coil_stream_write(s, buf, 1));
        struct coil_task *eof = begin(coil_stream_write_eof(s));
        coil_detach(abort ? coil_stream_abort(peer) : coil_stream_close(peer));
        CHECK_INT(task_int(w), gone);
        CHECK_INT(task_int(next), gone);
        CHECK_INT(task_int(eof), gone); /* a part of `buf` was sent */
        CHECK_INT(wait_int(coil_stream_write(s, buf, 1)), gone);
        CHECK_INT(wait_int(coil_stream_write(s, NULL, 0)), gone);
        CHECK(coil_stream_is_sent(s));
        CHECK_INT(wait_int(coil_stream_fill(s, 3)), 3);
        int64_t fill = wait_int(coil_stream_fill(s, 4));
        CHECK_INT(fill, abort ? gone : 3);
        CHECK(!coil_stream_at_end(s));
        coil_stream_consume(s, 3);
        CHECK(coil_stream_at_end(s));
        CHECK_INT(wait_int(coil_stream_fill(s, 1)), abort ? gone : 0);
        CHECK_INT(wait_int(coil_stream_close(s)), 0);
        stage_close();
    }
}

// As shutdown(2): nothing is left to say to a peer that is gone.
TEST(stream_pair_takes_an_end_that_cannot_arrive)
{
    open_streams_of(0);
    CHECK_INT(wait_int(coil_stream_close(peer)), 0);
    CHECK_INT(wait_int(coil_stream_write_eof(s)), 0);
    CHECK_INT(wait_int(coil_stream_close(s)), 0);
    stage_close();
}

// Its own end is the reason that comes first.
TEST(stream_pair_that_has_written_its_end_is_not_told_of_an_abort_by_a_write)
{
    open_streams();
    CHECK_INT(wait_int(coil_stream_write_eof(s)), 0);
    CHECK_INT(wait_int(coil_stream_abort(peer)), 0);
    CHECK_INT(wait_int(coil_stream_write(s, "x", 1)), -EPIPE);
    CHECK_INT(wait_int(coil_stream_fill(s, 1)), -ECONNRESET);
    CHECK_INT(wait_int(coil_stream_close(s)), 0);
    end_case();
}

// All of it, or an end: no byte is on its way in between.
TEST(stream_pair_is_sent_when_the_peer_has_consumed)
{
    open_streams_of(0);
    CHECK(coil_stream_is_sent(peer));
    CHECK_INT(wait_int(coil_stream_write(peer, "ab", 2)), 2);
    CHECK(!coil_stream_is_sent(peer));
    CHECK(coil_stream_is_sent(s));
    coil_stream_consume(s, 1);
    CHECK(!coil_stream_is_sent(peer));
    coil_stream_consume(s, 1);
    CHECK(coil_stream_is_sent(peer));
    close_all();
}

// A write that fails has sent nothing, so the stream goes on.
TEST(stream_pair_write_without_memory_for_the_buffer_has_sent_nothing)
{
    open_streams_of(20000);
    struct coil_future *write = coil_stream_write(peer, "ab", 2);
    struct coil_task *t = coil_spawn(write);
    test_fail_allocations_from(1);
    stage_passes(3);
    test_fail_allocations_from(0);
    CHECK_INT(task_int(t), -ENOMEM);
    CHECK_INT(peek(), 0);
    CHECK_INT(wait_int(coil_stream_write(peer, "cd", 2)), 2);
    CHECK_INT(wait_int(coil_stream_fill(s, 1)), 2);

    struct coil_future *fill = coil_stream_fill(s, 50000);
    t = coil_spawn(fill);
    test_fail_allocations_from(1);
    stage_passes(3);
    test_fail_allocations_from(0);
    CHECK_INT(task_int(t), -ENOMEM);
    char *data;
    CHECK_INT(coil_stream_peek(s, &data), 2);
    CHECK_MEM(data, "cd", 2);
    close_all();
}

// What is consumed is room at once, also in front of the bytes that are left.
// A fill that wants more in one piece than peek shows has it joined.
TEST(stream_pair_has_room_for_as_much_as_was_consumed)
{
    static char buf[2][100];
    for (size_t gone = 1; gone < 100; gone += 7) {
        open_streams_of(100);
        CHECK_INT(task_int(peer_begins(buf[0], 100)), 100);
        struct coil_task *t = peer_begins(buf[1], 60);
        consume(gone);
        stage_passes(2);
        CHECK(coil_task_done(t) == (gone >= 60));
        CHECK_INT(peek(), 100 - gone);
        char *before, *after;
        coil_stream_peek(s, &before);
        CHECK_INT(wait_int(coil_stream_fill(s, 100 - gone)), 100 - gone);
        coil_stream_peek(s, &after);
        CHECK(before == after);
        size_t left = gone < 60 ? 100 : 160 - gone;
        CHECK_INT(wait_int(coil_stream_fill(s, left)), left);
        CHECK_INT(peek(), left);
        consume(left);
        CHECK_INT(task_int(t), 60);
        close_all();
    }
}

// To the last byte of the ring, whose next one is its first.
TEST(stream_pair_goes_on_at_the_front_of_its_buffer)
{
    static char buf[2][100];
    open_streams_of(100);
    CHECK_INT(task_int(peer_begins(buf[0], 100)), 100);
    consume(60);
    CHECK_INT(task_int(peer_begins(buf[1], 60)), 60);
    CHECK_INT(peek(), 40);
    consume(40);
    CHECK_INT(peek(), 60);
    CHECK(!coil_stream_is_reusable(s));
    consume(60);
    CHECK(coil_stream_is_reusable(s));
    close_all();
}

DEATH_TEST(stream_pair_consume_beyond_the_end_of_its_buffer_aborts,
           "more is consumed than peek shows")
{
    static char buf[2][100];
    open_streams_of(100);
    CHECK_INT(task_int(peer_begins(buf[0], 100)), 100);
    consume(60);
    CHECK_INT(task_int(peer_begins(buf[1], 60)), 60);
    consume(41);
}

// Another task takes bytes while a fill waits: it still gets what it wants.
TEST(stream_pair_fill_gets_its_bytes_whatever_others_consume)
{
    static char buf[2][100];
    open_streams_of(100);
    CHECK_INT(task_int(peer_begins(buf[0], 90)), 90);
    struct coil_task *f = begin(coil_stream_fill(s, 100));
    consume(80);
    struct coil_task *t = peer_begins(buf[1], 90);
    CHECK_INT(task_int(t), 90);
    CHECK_INT(task_int(f), 100);
    CHECK_INT(peek(), 100);
    close_all();
}

// In an await tree: there is no descriptor to name.
TEST(stream_pair_says_what_it_waits_for)
{
    char said[1024] = "";
    open_streams_of(1);
    struct coil_task *f = begin(coil_stream_fill(peer, 77));
    struct coil_task *w = begin(coil_stream_write(peer, "ab", 2));
    FILE *file = tmpfile();
    coil_dump(fileno(file));
    CHECK(pread(fileno(file), said, sizeof said - 1, 0) > 0);
    CHECK(strstr(said, "stream pair: 77 bytes"));
    CHECK(strstr(said, "write to a stream pair"));
    fclose(file);
    coil_task_cancel(f);
    coil_task_cancel(w);
    CHECK_INT(task_int(f), -ECANCELED);
    CHECK_INT(task_int(w), -ECANCELED);
    close_all();
}

// The memory is the loop's, and there is no descriptor to report.
TEST(stream_pair_left_open_is_freed_with_the_loop)
{
    open_streams_of(0);
    CHECK_INT(wait_int(coil_stream_write(peer, "x", 1)), 1);
    coil_spawn(coil_stream_fill(peer, 1));
    stage_passes(2);
    stage_close();
    CHECK_INT(stage_reported.n, 0);
}

struct serve {
    struct coil_coro coro;
    struct coil_stream *peer;
    struct coil_line *line;
};

static void serve(struct coil_coro *co)
{
    ASYNC(serve, my) {
        FOR_AWAIT(my->line, coil_stream_lines(my->peer, 64)) {
            if (!strcmp(my->line->text, "hello\n"))
                AWAIT(coil_stream_write(my->peer, "world\n", 6));
        }

    FINALLY;
        AWAIT(coil_stream_close(my->peer));
    }
}

struct greeting {
    struct coil_coro coro;
    struct coil_stream *ends[2];
    struct coil_task *server;
    char answer[6];
};

static void greeting(struct coil_coro *co)
{
    ASYNC(greeting, my) {
        if (coil_stream_pair(my->ends, 0) < 0)
            FAIL(-ENOMEM);
        my->server = SPAWN(serve, .peer = my->ends[1]);
        AWAIT(coil_stream_write(my->ends[0], "hello\n", 6));
        AWAIT(coil_stream_read_exactly(my->ends[0], my->answer, 6));
        CHECK_MEM(my->answer, "world\n", 6);

    FINALLY;
        AWAIT(coil_stream_close(my->ends[0]));
    }
}

// The example of stream_pair.h.
TEST(stream_pair_tests_a_protocol)
{
    CHECK_INT(RUN(greeting), 0);
}

// A limit that no memory holds is an error of the write, and no overflow.
TEST(stream_pair_with_too_large_a_buffer_cannot_write)
{
    open_streams_of(SIZE_MAX);
    CHECK_INT(wait_int(coil_stream_write(peer, "x", 1)), -ENOMEM);
    close_all();
}
