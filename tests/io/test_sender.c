// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_sender.c: all of it, in order; and what is left when one of several in
 * line is cancelled, dropped or fails: no gap, or no more at all.
 */
#include "peer.h"

#include <coil/error.h>

struct idle {
    int calls;
};

static void is_idle(void *arg)
{
    ((struct idle *)arg)->calls++;
}

/* Send all of the pattern from a buffer of its own. */
static struct coil_task *begin_sending(struct coil_sender *s, struct pattern *p,
                                       char *buf, size_t n)
{
    pattern_fill(p, buf, n);
    return coil_spawn(coil_sender_send(s, buf, n));
}

// The kernel takes them in pieces; no byte of one stands among another's.
TEST(sender_sends_all_in_order)
{
    enum { TASKS = 8, EACH = 100000 };
    static char bufs[TASKS][EACH];
    struct coil_task *tasks[TASKS];
    stage_open();
    struct pair pair = tcp_pair(4096);
    struct coil_sender s;
    struct pattern out = { .seed = 6 }, in = out;
    coil_sender_init(&s, pair.a);
    for (int i = 0; i < TASKS; i++)
        tasks[i] = begin_sending(&s, &out, bufs[i], EACH);
    struct coil_task *end = coil_spawn(coil_sender_send_eof(&s));
    ssize_t n;
    while ((n = pattern_recv(&in, pair.b)) >= 0)
        coil_loop_pass(stage_loop, COIL_MS(1));
    CHECK_INT(in.at, TASKS * EACH);
    for (int i = 0; i < TASKS; i++)
        CHECK_INT(task_int(tasks[i]), EACH);
    CHECK_INT(task_int(end), 0);
    close_pair(pair);
    stage_close();
}

TEST(sender_sends_nothing)
{
    stage_open();
    struct pair pair = unix_pair();
    struct coil_sender s;
    coil_sender_init(&s, pair.a);
    CHECK_INT(wait_int(coil_sender_send(&s, NULL, 0)), 0);
    CHECK_INT(wait_int(coil_sender_send(&s, "x", 1)), 1);
    close_pair(pair);
    stage_close();
}

/* A sender with three in line, the first of them blocked. */
struct line {
    struct pair pair;
    struct coil_sender s;
    struct pattern out, in;
    struct coil_task *tasks[3];
};

enum { IN_LINE = 3000000 };
static char line_bufs[3][IN_LINE];

static void line_open(struct line *l)
{
    stage_open();
    *l = (struct line){ .pair = tcp_pair(4096), .out.seed = 8, .in.seed = 8 };
    coil_sender_init(&l->s, l->pair.a);
    for (int i = 0; i < 3; i++)
        l->tasks[i] = begin_sending(&l->s, &l->out, line_bufs[i], IN_LINE);
    stage_passes(4);
    for (int i = 0; i < 3; i++)
        CHECK(!coil_task_done(l->tasks[i]));
}

// In line it has sent nothing, and leaves no gap.
TEST(sender_forgets_one_that_is_cancelled_in_line)
{
    struct line l;
    line_open(&l);
    CHECK(coil_task_cancel(l.tasks[1]));
    CHECK_INT(task_int(l.tasks[1]), -ECANCELED);
    uint64_t gap = IN_LINE;
    while (l.in.at < 3 * (uint64_t)IN_LINE) {
        char buf[8192];
        coil_loop_pass(stage_loop, COIL_MS(1));
        uint64_t left = gap > l.in.at ? gap - l.in.at : sizeof buf;
        ssize_t n = recv(l.pair.b, buf, left < sizeof buf ? left : sizeof buf,
                         MSG_DONTWAIT);
        if (n > 0)
            pattern_check(&l.in, buf, (size_t)n);
        if (l.in.at == gap)
            l.in.at += IN_LINE; /* the second's bytes do not come */
    }
    CHECK_INT(task_int(l.tasks[0]), IN_LINE);
    CHECK_INT(task_int(l.tasks[2]), IN_LINE);
    close_pair(l.pair);
    stage_close();
}

// In flight it has sent a part: what came after it would be taken for the rest.
TEST(sender_ends_after_one_that_is_cancelled_in_the_middle)
{
    struct line l;
    line_open(&l);
    CHECK(coil_task_cancel(l.tasks[0]));
    CHECK_INT(task_int(l.tasks[0]), -ECANCELED);
    CHECK_INT(task_int(l.tasks[1]), -EPIPE);
    CHECK_INT(task_int(l.tasks[2]), -EPIPE);
    CHECK_INT(wait_int(coil_sender_send(&l.s, "x", 1)), -EPIPE);
    CHECK_INT(wait_int(coil_sender_send_eof(&l.s)), -EPIPE);
    shutdown(l.pair.a, SHUT_WR);
    char first;
    CHECK_INT(recv(l.pair.b, &first, 1, 0), 1);
    CHECK_INT(first, line_bufs[0][0]);
    close_pair(l.pair);
    stage_close();
}

// Nothing of it was sent: there is no gap, and the next one goes.
TEST(sender_goes_on_after_one_that_is_cancelled_before_it_sent_anything)
{
    stage_open();
    struct pair pair = tcp_pair(4096);
    struct coil_sender s;
    coil_sender_init(&s, pair.a);
    size_t full = 0;
    ssize_t n;
    while ((n = send(pair.a, line_bufs[0], 1000, MSG_DONTWAIT)) > 0)
        full += (size_t)n;
    struct coil_task *a = begin(coil_sender_send(&s, "no", 2));
    struct coil_task *b = begin(coil_sender_send(&s, "yes", 3));
    stage_passes(3);
    CHECK(coil_task_cancel(a));
    CHECK_INT(task_int(a), -ECANCELED);
    CHECK(!coil_task_done(b));
    char buf[1000];
    for (size_t got = 0; got < full; got += (size_t)n) {
        size_t left = full - got;
        n = recv(pair.b, buf, left < sizeof buf ? left : sizeof buf, 0);
        CHECK(n > 0);
    }
    CHECK_INT(task_int(b), 3);
    CHECK_INT(recv(pair.b, buf, 3, MSG_WAITALL), 3);
    CHECK_MEM(buf, "yes", 3);
    close_pair(pair);
    stage_close();
}

TEST(sender_tells_all_of_a_peer_that_is_gone)
{
    struct line l;
    line_open(&l);
    close_with_reset(l.pair.b);
    for (int i = 0; i < 3; i++) {
        int64_t err = task_int(l.tasks[i]);
        CHECK(err == -ECONNRESET || err == -EPIPE);
    }
    close(l.pair.a);
    stage_close();
}

// Closed: the first when the kernel has let go, the others with it.
TEST(sender_that_is_closed_ends_all_and_says_when_it_is_idle)
{
    struct line l;
    struct idle idle = { 0 };
    line_open(&l);
    coil_sender_stop(&l.s, is_idle, &idle);
    CHECK_INT(idle.calls, 0);
    for (int i = 0; i < 3; i++)
        CHECK_INT(task_int(l.tasks[i]), COIL_ECLOSED);
    UNTIL(idle.calls > 0);
    stage_passes(3);
    CHECK_INT(idle.calls, 1);
    CHECK_INT(wait_int(coil_sender_send(&l.s, "x", 1)), COIL_ECLOSED);
    CHECK_INT(wait_int(coil_sender_send_eof(&l.s)), COIL_ECLOSED);
    close_pair(l.pair);
    stage_close();
}

// Nothing of it was sent, and the kernel says -ECANCELED: closed all the same.
TEST(sender_that_is_closed_before_it_sent_anything_says_closed)
{
    stage_open();
    struct pair pair = unix_pair();
    struct coil_sender s;
    struct idle idle = { 0 };
    struct pattern out = { .seed = 9 };
    while (pattern_send(&out, pair.a, 4096) > 0)
        continue;
    coil_sender_init(&s, pair.a);
    struct coil_task *t = begin(coil_sender_send(&s, line_bufs[0], 100));
    CHECK(!coil_task_done(t));
    coil_sender_stop(&s, is_idle, &idle);
    CHECK_INT(task_int(t), COIL_ECLOSED);
    UNTIL(idle.calls);
    close_pair(pair);
    stage_close();
}

TEST(sender_that_is_idle_says_so_soon)
{
    stage_open();
    struct idle idle = { 0 };
    struct coil_sender s;
    coil_sender_init(&s, 99);
    coil_sender_stop(&s, is_idle, &idle);
    CHECK_INT(idle.calls, 0);
    stage_passes(1);
    CHECK_INT(idle.calls, 1);
    stage_close();
}

// Closing must work when nothing else does.
TEST(sender_closes_without_memory)
{
    struct line l;
    struct idle idle = { 0 };
    line_open(&l);
    test_forbid_allocations(true);
    coil_sender_stop(&l.s, is_idle, &idle);
    UNTIL(idle.calls > 0);
    test_forbid_allocations(false);
    CHECK_INT(test_forbidden_allocations(), 0);
    for (int i = 0; i < 3; i++)
        CHECK_INT(task_int(l.tasks[i]), COIL_ECLOSED);
    close_pair(l.pair);
    stage_close();
}

// A sending that nobody waits for leaves the line by itself.
TEST(sender_sending_that_is_dropped_leaves_the_line)
{
    stage_open();
    struct pair pair = tcp_pair(4096);
    struct coil_sender s;
    coil_sender_init(&s, pair.a);
    coil_detach_future(coil_sender_send(&s, line_bufs[0], IN_LINE));
    struct coil_future *queued = coil_sender_send(&s, line_bufs[1], IN_LINE);
    struct coil_task *t = begin(coil_future_ref(queued));
    struct coil_task *last = begin(coil_sender_send(&s, "x", 1));
    coil_task_cancel(t);
    CHECK_INT(task_int(t), -ECANCELED);
    coil_future_unref(queued);
    close_with_reset(pair.b);
    CHECK(task_int(last) < 0);
    UNTIL(stage_stats().in_flight == 0);
    close(pair.a);
    stage_close();
}
