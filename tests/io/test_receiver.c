// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_receiver.c: the states of a receiver, MULTI, LINE, POLL, SHARED, OWN
 * and PAUSED. In each of them bytes come in order and none is lost, and at the
 * end every shared buffer is back where it was taken from.
 */
#include "peer.h"

#include <poll.h>

#include <coil/error.h>

#include "backend/backend.h"
#include "base/alloc.h"
#include "core/loop.h"

static unsigned buffers_free(void)
{
    return coili_loop->table->buffers_free(coili_loop->backend);
}

/* ---- A connection ----------------------------------------------------- */

struct conn {
    struct pair pair; /* ours is a, the peer's is b */
    struct coil_receiver *r;
    struct coil_piece *first, **last; /* kept, oldest first */
    unsigned kept, kept_most, calls;
    unsigned at;   /* how many pieces had come when its last one came */
    bool keep;     /* pieces, until give_back() */
    bool in_new;   /* no call may come now */
    int ends, end; /* how often it ended, and with what */
    bool paused;   /* as it says at the last piece */
    struct pattern in, out;
};

static unsigned pieces, own_pieces; /* of all connections */

static void received(void *arg, int res, struct coil_piece *piece)
{
    struct conn *c = arg;
    CHECK(!c->in_new);
    CHECK_INT(c->ends, 0);
    c->calls++;
    if (!piece) {
        CHECK(res <= 0);
        c->ends++;
        c->end = res;
        return;
    }
    CHECK(res > 0);
    c->at = ++pieces;
    own_pieces += piece->buffer == UINT32_MAX;
    CHECK_INT(piece->len, res);
    pattern_check(&c->in, piece->data, piece->len);
    c->paused = coil_receiver_paused(c->r);
    if (!c->keep) {
        coil_receiver_return(c->r, piece);
        return;
    }
    *c->last = piece;
    c->last = &piece->next;
    c->kept++;
    if (c->kept > c->kept_most)
        c->kept_most = c->kept;
}

static void conn_open(struct conn *c, struct pair pair, uint64_t seed)
{
    *c = (struct conn){ .pair = pair, .in.seed = seed, .out.seed = seed };
    c->last = &c->first;
    c->in_new = true;
    CHECK_INT(coil_receiver_open(&c->r, pair.a, received, c), 0);
    c->in_new = false;
}

/* The oldest `n` pieces; each is intact still. */
static void give_back(struct conn *c, unsigned n)
{
    while (n-- > 0 && c->first) {
        struct coil_piece *piece = c->first;
        c->first = piece->next;
        if (!c->first)
            c->last = &c->first;
        c->kept--;
        coil_receiver_return(c->r, piece);
    }
}

static void conn_close(struct conn *c)
{
    c->keep = false;
    give_back(c, c->kept);
    CHECK_INT(wait_int(coil_receiver_close(c->r)), 0);
    close_pair(c->pair);
}

static void send_bytes(struct conn *c, size_t n)
{
    CHECK_INT(pattern_send(&c->out, c->pair.b, n), n);
}

/* Four buffers of 256 bytes: one connection may hold them all. */
static void open_small(void)
{
    stage_open_with((struct coil_loop_options){ .recv_buffers = 4,
                                                .recv_buffer_bytes = 256 });
}

/* It holds all four buffers, and gives none back. */
static void open_hog(struct conn *hog)
{
    conn_open(hog, unix_pair(), 99);
    hog->keep = true;
    send_bytes(hog, 4 * 256);
    UNTIL(hog->in.at == 4 * 256);
    stage_passes(3);
    CHECK_INT(buffers_free(), 0);
    CHECK(coil_receiver_paused(hog->r));
}

static void close_small(void)
{
    UNTIL(stage_stats().in_flight == 0);
    CHECK_INT(buffers_free(), 4);
    stage_close();
}

/* ---- What comes ------------------------------------------------------- */

TEST(receiver_gives_what_arrives_and_the_end)
{
    open_small();
    for (int i = 0; i < 2; i++) {
        struct conn c;
        conn_open(&c, i ? tcp_pair(0) : unix_pair(), 1);
        send_bytes(&c, 10);
        UNTIL(c.in.at == 10);
        send_bytes(&c, 5000);
        UNTIL(c.in.at == 5010);
        CHECK_INT(c.ends, 0);
        shutdown(c.pair.b, SHUT_WR);
        UNTIL(c.ends);
        CHECK_INT(c.end, 0);
        stage_passes(5);
        conn_close(&c);
        CHECK_INT(c.ends, 1);
    }
    close_small();
}

// What came before the end comes first.
TEST(receiver_gives_what_is_there_before_the_end)
{
    open_small();
    struct pair pair = unix_pair();
    struct conn c;
    struct pattern out = { .seed = 2 };
    CHECK_INT(pattern_send(&out, pair.b, 3000), 3000);
    shutdown(pair.b, SHUT_WR);
    conn_open(&c, pair, 2);
    UNTIL(c.ends);
    CHECK_INT(c.end, 0);
    CHECK_INT(c.in.at, 3000);
    conn_close(&c);
    close_small();
}

TEST(receiver_tells_of_a_reset_once)
{
    open_small();
    struct conn c;
    conn_open(&c, tcp_pair(0), 3);
    send_bytes(&c, 100);
    UNTIL(c.in.at == 100);
    reset_on_close(c.pair.b);
    close(c.pair.b);
    UNTIL(c.ends);
    CHECK_INT(c.end, -ECONNRESET);
    stage_passes(5);
    CHECK_INT(wait_int(coil_receiver_close(c.r)), 0);
    CHECK_INT(c.ends, 1);
    close(c.pair.a);
    close_small();
}

// From the harvest, never from within new(): the caller has no receiver yet.
TEST(receiver_of_what_is_no_socket_is_told_so)
{
    open_small();
    struct conn c;
    conn_open(&c, pipe_pair(), 4);
    UNTIL(c.ends);
    CHECK_INT(c.end, -ENOTSOCK);
    conn_close(&c);
    close_small();
}

/* ---- The quota -------------------------------------------------------- */

// Who does not give back gets no more; the rest waits in the socket.
TEST(receiver_pauses_at_its_quota_and_resumes)
{
    stage_open_with((struct coil_loop_options){ .recv_buffers = 64,
                                                .recv_buffer_bytes = 256 });
    struct conn c; /* its quota is 8 */
    conn_open(&c, unix_pair(), 5);
    c.keep = true;
    send_bytes(&c, 50 * 256);
    UNTIL(coil_receiver_paused(c.r));
    stage_passes(10);
    CHECK(c.kept >= 8);
    unsigned kept = c.kept;
    send_bytes(&c, 256);
    stage_passes(10);
    CHECK_INT(c.kept, kept);
    CHECK_INT(stage_stats().in_flight, 0);
    while (c.in.at < 51 * 256) {
        give_back(&c, 5);
        stage_passes(3);
    }
    CHECK(c.kept_most < 64);
    conn_close(&c);
    CHECK_INT(buffers_free(), 64);
    stage_close();
}

// Nobody asks again after the last piece: it has to know at that moment.
TEST(receiver_says_at_the_last_piece_that_it_pauses)
{
    open_small();
    struct conn c;
    conn_open(&c, unix_pair(), 6);
    c.keep = true;
    for (int i = 1; i <= 4; i++) {
        send_bytes(&c, 1);
        UNTIL(c.in.at == (uint64_t)i);
        CHECK_INT(c.paused, i == 4);
    }
    give_back(&c, 4);
    UNTIL(!coil_receiver_paused(c.r));
    conn_close(&c);
    close_small();
}

// Its own block is lent: nothing comes until that is back.
TEST(receiver_says_with_its_own_block_that_it_pauses)
{
    open_small();
    struct conn hog, c;
    open_hog(&hog);
    conn_open(&c, unix_pair(), 7);
    c.keep = true;
    send_bytes(&c, 300);
    UNTIL(c.in.at == 256);
    CHECK(c.paused);
    stage_passes(5);
    CHECK_INT(c.in.at, 256);
    give_back(&c, 1);
    UNTIL(c.in.at == 300);
    conn_close(&c);
    conn_close(&hog);
    close_small();
}

/* ---- Too few buffers -------------------------------------------------- */

enum { CONNS = 64, BYTES = 20000 };
static struct conn conns[CONNS];

static void open_conns(void)
{
    open_small();
    for (int i = 0; i < CONNS; i++)
        conn_open(&conns[i], unix_pair(), 100 + (uint64_t)i);
}

/* All send at once, and each takes what it gets, `keeps` passes later. */
static void everybody_receives(int keeps)
{
    size_t bytes = test_is_slow() ? BYTES / 10 : BYTES;
    int done = 0;
    for (int round = 1; done < CONNS; round++) {
        done = 0;
        for (int i = 0; i < CONNS; i++) {
            struct conn *c = &conns[i];
            if (c->out.at < bytes)
                pattern_send(&c->out, c->pair.b, bytes - c->out.at);
            if (keeps && (round + i) % keeps == 0)
                give_back(c, c->kept);
            done += c->in.at == bytes;
        }
        coil_loop_pass(stage_loop, COIL_MS(1));
    }
}

// More senders than buffers: each gets its turn, nobody waits for another.
TEST(receiver_none_starves_when_there_are_more_than_buffers)
{
    open_conns();
    everybody_receives(0);
    CHECK(stage_stats().no_buffers > 0);
    for (int i = 0; i < CONNS; i++)
        conn_close(&conns[i]);
    close_small();
}

TEST(receiver_none_starves_when_consumers_are_slow)
{
    open_conns();
    for (int i = 0; i < CONNS; i++)
        conns[i].keep = true;
    everybody_receives(3);
    for (int i = 0; i < CONNS; i++)
        conn_close(&conns[i]);
    close_small();
}

/*
 * In each pass others use every buffer and return it: multishot receives that
 * are armed, so they need not wait in the line.
 */
TEST(receiver_none_starves_when_busy_ones_use_each_buffer)
{
    struct conn busy[4], late;
    open_small();
    for (int i = 0; i < 4; i++) {
        conn_open(&busy[i], unix_pair(), 20 + (uint64_t)i);
        busy[i].keep = true;
        send_bytes(&busy[i], 1);
        UNTIL(busy[i].kept == 1);
    }
    conn_open(&late, unix_pair(), 24);
    send_bytes(&late, 1000);
    stage_passes(1);
    unsigned own = own_pieces;
    for (int pass = 0; pass < 100 && late.in.at < 1000; pass++) {
        for (int i = 0; i < 4; i++) {
            give_back(&busy[i], busy[i].kept);
            send_bytes(&busy[i], 1);
        }
        coil_loop_pass(stage_loop, COIL_MS(1));
    }
    CHECK_INT(late.in.at, 1000);
    CHECK_INT(own_pieces, own);
    for (int i = 0; i < 4; i++)
        conn_close(&busy[i]);
    conn_close(&late);
    close_small();
}

/*
 * The first in the line takes all buffers, is refused the next one, and so
 * waits again before the second one, which was refused all.
 */
TEST(receiver_none_takes_the_turns_of_another)
{
    enum { PASSES = 100, ROOM = 4 * 256 };
    struct conn both[2];
    open_small();
    for (int i = 0; i < 2; i++)
        conn_open(&both[i], unix_pair(), 30 + (uint64_t)i);
    unsigned own = own_pieces;
    for (int pass = 0; pass < PASSES; pass++) {
        for (int i = 0; i < 2; i++)
            pattern_send(&both[i].out, both[i].pair.b, 2 * ROOM);
        coil_loop_pass(stage_loop, COIL_MS(1));
    }
    for (int i = 0; i < 2; i++)
        CHECK(both[i].in.at > PASSES / 3 * ROOM);
    CHECK_INT(own_pieces, own);
    for (int i = 0; i < 2; i++)
        conn_close(&both[i]);
    close_small();
}

// All buffers are one's who never gives back: the others go on all the same.
TEST(receiver_none_waits_for_the_buffers_of_another)
{
    struct conn hog;
    open_conns();
    open_hog(&hog);
    everybody_receives(0);
    CHECK_INT(hog.kept, 4);
    for (int i = 0; i < CONNS; i++)
        conn_close(&conns[i]);
    conn_close(&hog);
    close_small();
}

static void close_conns(void)
{
    for (int i = 0; i < CONNS; i++)
        conn_close(&conns[i]);
}

// A refused receive costs as much as one that succeeds. When all are armed at
// once for the one buffer that is free, all but one are refused again.
TEST(receiver_is_seldom_refused_when_buffers_are_short)
{
    for (int keeps = 0; keeps < 6; keeps++) {
        open_conns();
        for (int i = 0; i < CONNS; i++)
            conns[i].keep = keeps > 0;
        pieces = own_pieces = 0;
        everybody_receives(keeps);
        /* Buffers that come back in each pass are waited for. */
        CHECK(keeps > 1 || own_pieces == 0);
        CHECK(stage_stats().no_buffers <= CONNS + pieces);
        close_conns();
        close_small();
    }
}

// In a short line one operation brings several buffers, and none is polled for:
// while one of the two receives brings all four, the other one is refused.
TEST(receiver_in_a_short_line_needs_few_operations)
{
    struct conn few[2];
    open_small();
    for (int i = 0; i < 2; i++)
        conn_open(&few[i], unix_pair(), (uint64_t)i);
    uint64_t before = stage_stats().submitted;
    pieces = 0;
    for (int done = 0; done < 2;) {
        done = 0;
        for (int i = 0; i < 2; i++) {
            if (few[i].out.at < BYTES)
                pattern_send(&few[i].out, few[i].pair.b, BYTES - few[i].out.at);
            done += few[i].in.at == BYTES;
        }
        coil_loop_pass(stage_loop, COIL_MS(1));
    }
    CHECK(stage_stats().no_buffers > 0);
    CHECK(stage_stats().submitted - before <= pieces / 2);
    for (int i = 0; i < 2; i++)
        conn_close(&few[i]);
    close_small();
}

static void *eaten; /* a list of blocks: all memory that was left */

static void eat_memory(void)
{
    void **block;
    test_fail_allocations_from(1);
    while ((block = coil_alloc(256))) {
        *block = eaten;
        eaten = block;
    }
}

static void give_memory_back(void)
{
    test_fail_allocations_from(0);
    while (eaten) {
        void *next = *(void **)eaten;
        coil_free(eaten, 256);
        eaten = next;
    }
}

/* They get bytes in this order, while all buffers are a hog's. */
static void all_in_line(const int *order)
{
    for (int i = 0; i < CONNS; i++) {
        send_bytes(&conns[order[i]], 10);
        stage_passes(2);
    }
}

// Without memory none gets a block of its own, so all have to wait for a shared
// buffer: in the order in which their bytes have come.
TEST(receiver_gets_its_buffer_in_the_order_of_the_line)
{
    int order[CONNS];
    struct conn hog;
    open_conns();
    open_hog(&hog);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < CONNS; i++) {
            conns[i].keep = true;
            order[i] = (i * (round * 2 + 1) + round) % CONNS;
        }
        eat_memory();
        all_in_line(order);
        uint64_t refused = stage_stats().no_buffers;
        pieces = 0;
        give_back(&hog, 4);
        for (unsigned n = 0; n < CONNS;) {
            /* A line of 16 is short, and waits for the next pass. */
            stage_passes(n < CONNS - 16 ? 1 : 2);
            CHECK_INT(pieces, n + 4 < CONNS ? n + 4 : CONNS);
            for (; n < pieces; n++) {
                CHECK_INT(conns[order[n]].at, n + 1);
                CHECK_INT(conns[order[n]].kept, 1);
                if (n < CONNS - 4)
                    give_back(&conns[order[n]], 1);
            }
        }
        CHECK_INT(stage_stats().no_buffers, refused);
        give_memory_back();
        /* The hog gets all buffers again, one after the other. */
        for (int i = 0; i < CONNS; i++) {
            size_t at = hog.in.at;
            if (!conns[i].kept)
                continue;
            give_back(&conns[i], 1);
            send_bytes(&hog, 256);
            UNTIL(hog.in.at == at + 256);
        }
        CHECK_INT(hog.kept, 4);
    }
    close_conns();
    conn_close(&hog);
    close_small();
}

// Each second one leaves the line, among them the first and the last one; the
// others move up.
TEST(receiver_in_line_can_be_closed)
{
    int order[CONNS];
    struct conn hog;
    open_conns();
    open_hog(&hog);
    for (int i = 0; i < CONNS; i++)
        order[i] = i;
    for (int phase = 0; phase < 3; phase++) {
        eat_memory();
        all_in_line(order);
        give_memory_back();
        if (phase)
            give_back(&hog, 4); /* the first four are served */
        if (phase == 2)
            stage_passes(1);
        for (int i = 0; i < CONNS; i++)
            if (i % 2 == 0 || i == CONNS - 1)
                conn_close(&conns[i]);
        if (!phase)
            give_back(&hog, 4);
        for (int i = 1; i < CONNS - 1; i += 2)
            UNTIL(conns[i].in.at == conns[i].out.at);
        for (int i = 0; i < CONNS; i++)
            if (i % 2 == 0 || i == CONNS - 1)
                conn_open(&conns[i], unix_pair(), 300 + (uint64_t)i);
        send_bytes(&hog, 4 * 256);
        UNTIL(hog.kept == 4);
    }
    close_conns();
    conn_close(&hog);
    close_small();
}

// What a poll has reported may be gone when the receive comes: then it must not
// wait for more with its block.
TEST(receiver_served_without_bytes_holds_no_memory)
{
    char stolen[16];
    struct conn hog, c;
    open_small();
    open_hog(&hog);
    conn_open(&c, unix_pair(), 18);
    stage_passes(5);
    size_t before = test_heap_bytes();
    CHECK_INT(send(c.pair.b, "stolen", 6, 0), 6);
    stage_passes(1);
    CHECK_INT(recv(c.pair.a, stolen, sizeof stolen, MSG_DONTWAIT), 6);
    stage_passes(5);
    CHECK_INT(c.calls, 0);
    CHECK(!COILI_ONE_BY_ONE || test_heap_bytes() <= before);
    CHECK_INT(stage_stats().in_flight, 1);
    send_bytes(&c, 10);
    UNTIL(c.in.at == 10);
    conn_close(&c);
    conn_close(&hog);
    close_small();
}

// A poll and a receive for each piece cost two operations, a multishot receive
// none.
TEST(receiver_is_multishot_again_after_a_shortage)
{
    struct conn hog, c;
    open_small();
    open_hog(&hog);
    conn_open(&c, unix_pair(), 19);
    send_bytes(&c, 10);
    UNTIL(c.in.at == 10);
    conn_close(&hog);
    send_bytes(&c, 10);
    UNTIL(c.in.at == 20);
    stage_passes(5);
    uint64_t submitted = stage_stats().submitted;
    for (uint64_t i = 1; i <= 10; i++) {
        send_bytes(&c, 10);
        UNTIL(c.in.at == 20 + i * 10);
    }
    CHECK_INT(stage_stats().submitted, submitted);
    conn_close(&c);
    close_small();
}

/*
 * Connections of all kinds: some keep all, some give back late, all send when
 * it pleases the dice, are closed and opened again; at times without memory.
 */
static void shortage_storm(uint64_t seed, unsigned operations)
{
    stage_open_with((struct coil_loop_options){ .operations_limit = operations,
                                                .cq_entries = 8,
                                                .sq_entries = 8,
                                                .recv_buffers = 4,
                                                .recv_buffer_bytes = 128 });
    for (int i = 0; i < CONNS; i++)
        conn_open(&conns[i], unix_pair(), seed * 100 + (uint64_t)i);
    for (int step = 0; step < (test_is_slow() ? 300 : 1500); step++) {
        struct conn *c = &conns[draw(&seed, CONNS)];
        switch (draw(&seed, 8)) {
        case 0:
        case 1:
        case 2:
            pattern_send(&c->out, c->pair.b, 1 + draw(&seed, 700));
            break;
        case 3:
            c->keep = draw(&seed, 2) == 0;
            break;
        case 4:
        case 5:
            give_back(c, 1 + (unsigned)draw(&seed, 3));
            break;
        case 6:
            test_fail_allocations_from(draw(&seed, 4) == 0);
            break;
        case 7:
            test_fail_allocations_from(0);
            conn_close(c);
            conn_open(c, unix_pair(), seed);
            break;
        }
        if (draw(&seed, 3) == 0)
            stage_passes(1);
    }
    test_fail_allocations_from(0);
    for (int i = 0; i < CONNS; i++) {
        struct conn *c = &conns[i];
        if (i % 8 == 0) /* some keep what they have until the end */
            continue;
        c->keep = false;
        give_back(c, c->kept);
    }
    for (int i = 0; i < CONNS; i++)
        UNTIL(i % 8 == 0 || conns[i].in.at == conns[i].out.at);
    close_conns();
    close_small();
}

TEST(receiver_survives_a_storm_of_shortages)
{
    test_timeout(120);
    for (uint64_t seed = 1; seed <= (test_is_slow() ? 3 : 20); seed++)
        shortage_storm(seed, seed % 2 ? 0 : CONNS + 10);
}

/* A TCP connection with an entry in our socket's error queue. */
static struct pair pair_with_queued_error(void)
{
    struct pair pair = tcp_pair(0);
    struct pollfd look = { .fd = pair.a };
    char byte;
    int on = 1;
    CHECK_INT(setsockopt(pair.a, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on), 0);
    CHECK_INT(send(pair.a, "x", 1, MSG_ZEROCOPY), 1);
    CHECK_INT(recv(pair.b, &byte, 1, 0), 1);
    UNTIL(poll(&look, 1, 0) == 1);
    CHECK_INT(look.revents, POLLERR);
    return pair;
}

// The program reads the error queue when it likes, or never. A poll reports it
// each time, and a receive finds no bytes.
TEST(receiver_with_a_queued_error_does_not_spin_in_a_shortage)
{
    struct conn hog, c;
    open_small();
    open_hog(&hog);
    conn_open(&c, pair_with_queued_error(), 20);
    send_bytes(&c, 10);
    UNTIL(c.in.at == 10);
    stage_passes(20);
    uint64_t submitted = stage_stats().submitted;
    stage_passes(200);
    CHECK(stage_stats().submitted - submitted <= 20);
    for (size_t i = 2; i < 10; i++) {
        send_bytes(&c, 10);
        UNTIL(c.in.at == 10 * i);
    }
    conn_close(&c);
    conn_close(&hog);
    close_small();
}

TEST(receiver_with_a_queued_error_receives)
{
    struct conn c;
    open_small();
    conn_open(&c, pair_with_queued_error(), 21);
    stage_passes(200); /* the kernel tries 128 times before it takes a worker */
    CHECK_INT(c.calls, 0);
    for (size_t i = 1; i < 10; i++) {
        send_bytes(&c, 10);
        UNTIL(c.in.at == 10 * i);
    }
    conn_close(&c);
    close_small();
}

// After a shortage an idle connection waits in a poll, without a block.
TEST(receiver_that_is_idle_holds_no_memory)
{
    struct conn hog;
    open_conns();
    open_hog(&hog);
    stage_passes(5);
    size_t before = test_heap_bytes();
    for (int i = 0; i < CONNS; i++) {
        conns[i].keep = true;
        send_bytes(&conns[i], 100);
    }
    int got = 0;
    while (got < CONNS) {
        coil_loop_pass(stage_loop, COIL_MS(1));
        got = 0;
        for (int i = 0; i < CONNS; i++)
            got += conns[i].in.at == 100;
    }
    size_t with_data = test_heap_bytes();
    for (int i = 0; i < CONNS; i++)
        give_back(&conns[i], 1);
    stage_passes(10);
    CHECK(COILI_ONE_BY_ONE ? with_data > before : with_data >= before);
    CHECK(!COILI_ONE_BY_ONE || test_heap_bytes() <= before);
    CHECK_INT(stage_stats().in_flight, CONNS);
    for (int i = 0; i < CONNS; i++)
        conn_close(&conns[i]);
    conn_close(&hog);
    close_small();
}

TEST(receiver_learns_of_the_end_without_a_buffer)
{
    struct conn hog, c;
    open_small();
    open_hog(&hog);
    for (int i = 0; i < 2; i++) {
        conn_open(&c, tcp_pair(0), 8);
        send_bytes(&c, 10); /* it is in POLL now */
        UNTIL(c.in.at == 10);
        stage_passes(5);
        if (i)
            reset_on_close(c.pair.b);
        close(c.pair.b);
        UNTIL(c.ends);
        CHECK_INT(c.end, i ? -ECONNRESET : 0);
        c.pair.b = dup(c.pair.a);
        conn_close(&c);
    }
    conn_close(&hog);
    close_small();
}

// The kernel drops a multishot receive when completions do not fit.
TEST(receiver_goes_on_when_the_completion_queue_overflows)
{
    stage_open_with((struct coil_loop_options){ .sq_entries = 8,
                                                .cq_entries = 8,
                                                .recv_buffers = 256,
                                                .recv_buffer_bytes = 64 });
    for (int i = 0; i < CONNS; i++)
        conn_open(&conns[i], unix_pair(), 200 + (uint64_t)i);
    everybody_receives(0);
    for (int i = 0; i < CONNS; i++)
        conn_close(&conns[i]);
    UNTIL(stage_stats().in_flight == 0);
    CHECK_INT(buffers_free(), 256);
    stage_close();
}

/* ---- Closing ---------------------------------------------------------- */

TEST(receiver_closes_while_it_waits)
{
    open_small();
    for (int passes = 0; passes < 4; passes++) {
        struct conn c;
        conn_open(&c, unix_pair(), 9);
        stage_passes(passes);
        conn_close(&c);
        CHECK_INT(c.calls, 0);
    }
    close_small();
}

// Bytes that come in between go back to the ring and to nobody.
TEST(receiver_closes_while_bytes_arrive)
{
    open_small();
    for (int i = 0; i < 40; i++) {
        struct conn c;
        conn_open(&c, unix_pair(), 10);
        stage_passes(i % 4);
        pattern_send(&c.out, c.pair.b, (size_t)(i + 1) * 50);
        if (i % 3)
            stage_passes(1);
        struct coil_task *t = coil_spawn(coil_receiver_close(c.r));
        stage_passes(1);
        unsigned calls = c.calls;
        pattern_send(&c.out, c.pair.b, 500);
        CHECK_INT(task_int(t), 0);
        CHECK(c.calls <= calls + 1);
        close_pair(c.pair);
    }
    close_small();
}

TEST(receiver_closes_while_it_is_paused)
{
    open_small();
    struct conn hog;
    open_hog(&hog);
    send_bytes(&hog, 1000);
    stage_passes(3);
    conn_close(&hog);
    close_small();
}

TEST(receiver_closes_in_every_state_of_a_shortage)
{
    open_small();
    for (int passes = 0; passes < 10; passes++) {
        struct conn hog, c;
        open_hog(&hog);
        conn_open(&c, unix_pair(), 11);
        c.keep = true;
        send_bytes(&c, 700);
        stage_passes(passes);
        conn_close(&c);
        conn_close(&hog);
        UNTIL(stage_stats().in_flight == 0);
        CHECK_INT(buffers_free(), 4);
    }
    close_small();
}

TEST(receiver_closes_after_its_end)
{
    open_small();
    struct conn c;
    conn_open(&c, unix_pair(), 12);
    shutdown(c.pair.b, SHUT_WR);
    UNTIL(c.ends);
    conn_close(&c);
    close_small();
}

struct closes_itself {
    struct coil_receiver *r;
    struct pair pair;
    int after, calls;
};

static void received_and_closed(void *arg, int res, struct coil_piece *piece)
{
    struct closes_itself *it = arg;
    (void)res;
    it->calls++;
    if (piece)
        coil_receiver_return(it->r, piece);
    if (it->after-- == 0)
        coil_detach_future(coil_receiver_close(it->r));
}

// By the callback itself, at a piece or at the end.
TEST(receiver_closes_from_its_own_call)
{
    open_small();
    for (int after = 0; after < 2; after++) {
        struct closes_itself it = { .pair = unix_pair(), .after = after };
        CHECK_INT(coil_receiver_open(&it.r, it.pair.a, received_and_closed,
                                     &it), 0);
        CHECK_INT(write(it.pair.b, "x", 1), 1);
        UNTIL(it.calls == 1);
        close(it.pair.b);
        UNTIL(stage_stats().in_flight == 0);
        CHECK_INT(it.calls, after + 1);
        close(it.pair.a);
    }
    close_small();
}

// "Takes the receiver": also when the task that asks for it is cancelled.
TEST(receiver_closes_when_its_close_is_dropped)
{
    open_small();
    struct conn c;
    conn_open(&c, unix_pair(), 13);
    stage_passes(1);
    coil_discard(coil_receiver_close(c.r));
    UNTIL(stage_stats().in_flight == 0);
    close_pair(c.pair);
    close_small();
}

TEST(receiver_close_allocates_nothing)
{
    open_small();
    struct conn hog, c;
    open_hog(&hog);
    conn_open(&c, unix_pair(), 14);
    send_bytes(&c, 1000);
    stage_passes(2);
    test_forbid_allocations(true);
    give_back(&hog, 4);
    coil_detach_future(coil_receiver_close(c.r));
    coil_detach_future(coil_receiver_close(hog.r));
    UNTIL(stage_stats().in_flight == 0);
    test_forbid_allocations(false);
    CHECK_INT(test_forbidden_allocations(), 0);
    close_pair(c.pair);
    close_pair(hog.pair);
    close_small();
}

/* ---- When it cannot go on --------------------------------------------- */

static void set_true(void *arg)
{
    *(bool *)arg = true;
}

TEST(receiver_that_may_not_begin_says_so)
{
    static char buf[8];
    stage_open_with(
        (struct coil_loop_options){ .operations_limit = 2, .recv_buffers = 4 });
    struct pair other = unix_pair();
    struct coil_task *a = coil_spawn(coil_recv(other.a, buf, 1));
    struct coil_task *b = coil_spawn(coil_recv(other.a, buf, 1));
    stage_passes(2);
    struct conn c = { .pair = unix_pair(), .last = &c.first };
    CHECK_INT(coil_receiver_open(&c.r, c.pair.a, received, &c), -ENOBUFS);
    CHECK(!c.r);
    CHECK_INT(write(other.b, "xx", 2), 2);
    CHECK_INT(task_int(a) + task_int(b), 2);
    conn_open(&c, c.pair, 15);
    send_bytes(&c, 10);
    UNTIL(c.in.at == 10);
    conn_close(&c);
    close_pair(other);
    close_small();
}

/* A receiver that wants to resume while a receive of `fd` takes all slots. */
static struct coil_task *open_without_room(struct conn *hog, int fd)
{
    static char buf[8];
    stage_open_with((struct coil_loop_options){
        .operations_limit = 1, .recv_buffers = 4, .recv_buffer_bytes = 256 });
    open_hog(hog);
    UNTIL(stage_stats().in_flight == 0);
    struct coil_task *t = coil_spawn(coil_recv(fd, buf, 1));
    stage_passes(2);
    hog->keep = false;
    give_back(hog, 4);
    return t;
}

// It resumes when a piece is returned, but others have taken all the room: a
// connection that is healthy must not fail for that, nor may the loop spin.
TEST(receiver_that_may_not_resume_tries_again)
{
    struct conn hog;
    struct pair other = unix_pair();
    struct coil_task *t = open_without_room(&hog, other.a);
    send_bytes(&hog, 100);
    uint64_t enters = stage_stats().enters;
    int64_t start = coil_now();
    struct coil_handle h = { 0 };
    bool over = false;
    coil_call_later(&h, COIL_MS(20), set_true, &over);
    while (!over)
        coil_loop_pass(stage_loop, COIL_NEVER);
    int64_t ms = (coil_now() - start) / COIL_MS(1);
    CHECK((int64_t)(stage_stats().enters - enters) <= 2 * ms + 10);
    CHECK_INT(hog.ends, 0);
    CHECK_INT(hog.in.at, 4 * 256);
    CHECK_INT(write(other.b, "x", 1), 1);
    CHECK_INT(task_int(t), 1);
    UNTIL(hog.in.at == 4 * 256 + 100);
    conn_close(&hog);
    close_pair(other);
    close_small();
}

TEST(receiver_that_waits_for_room_can_be_closed)
{
    struct conn hog;
    struct pair other = unix_pair();
    struct coil_task *t = open_without_room(&hog, other.a);
    conn_close(&hog);
    CHECK_INT(write(other.b, "x", 1), 1);
    CHECK_INT(task_int(t), 1);
    close_pair(other);
    close_small();
}

// Somebody closes the descriptor: it does not begin again there.
TEST(receiver_on_a_descriptor_that_is_closed_is_told)
{
    open_small();
    struct conn c;
    conn_open(&c, unix_pair(), 17);
    stage_passes(2);
    CHECK_INT(wait_int(coil_close(c.pair.a)), 0);
    UNTIL(c.ends);
    CHECK_INT(c.end, -EBADF);
    CHECK_INT(wait_int(coil_receiver_close(c.r)), 0);
    close(c.pair.b);
    close_small();
}

/*
 * Of receives that are armed together the first takes all buffers, so the last
 * of 32 is refused often. That is no sign that the kernel has no memory.
 */
TEST(receiver_refused_because_of_others_needs_no_block)
{
    enum { MANY = 32, PASSES = 200, BLOCK = 256 };
    stage_open_with((struct coil_loop_options){ .recv_buffers = MANY,
                                                .recv_buffer_bytes = BLOCK });
    for (int i = 0; i < MANY; i++)
        conn_open(&conns[i], unix_pair(), 40 + (uint64_t)i);
    unsigned own = own_pieces;
    eat_memory();
    for (int pass = 0; pass < PASSES; pass++) {
        for (int i = 0; i < MANY; i++)
            pattern_send(&conns[i].out, conns[i].pair.b, 2 * MANY * BLOCK);
        coil_loop_pass(stage_loop, COIL_MS(1));
    }
    give_memory_back();
    CHECK_INT(own_pieces, own);
    for (int i = 0; i < MANY; i++) {
        CHECK(conns[i].in.at > PASSES / 2 * BLOCK);
        conn_close(&conns[i]);
    }
    CHECK_INT(buffers_free(), MANY);
    stage_close();
}

TEST(receiver_without_memory_for_its_own_block_waits_for_it)
{
    open_small();
    struct conn hog, c;
    open_hog(&hog);
    conn_open(&c, unix_pair(), 16);
    stage_passes(4);
    test_fail_allocations_from(1);
    send_bytes(&c, 10);
    for (int i = 0; i < 20 && !c.ends && !c.in.at; i++)
        coil_loop_pass(stage_loop, COIL_MS(5));
    test_fail_allocations_from(0);
    CHECK_INT(c.ends, 0);
    UNTIL(c.in.at == 10);
    conn_close(&c);
    conn_close(&hog);
    close_small();
}

static int new_and_receive(void)
{
    struct coil_loop *loop;
    struct coil_loop_options options = COIL_LOOP_OPTIONS_INIT;
    options.recv_buffers = 4;
    options.recv_buffer_bytes = 256;
    struct pair pair = unix_pair();
    int err = coil_loop_new(&loop, &options);
    if (err == 0) {
        struct conn c = { .pair = pair, .last = &c.first };
        stage_loop = loop;
        err = coil_receiver_open(&c.r, pair.a, received, &c);
        if (err == 0) {
            struct pattern out = { 0 };
            pattern_send(&out, pair.b, 100);
            while (!c.ends && c.in.at < 100)
                coil_loop_pass(loop, COIL_MS(5));
            err = c.end;
            coil_detach_future(coil_receiver_close(c.r));
        }
        coil_loop_close(loop);
    }
    close_pair(pair);
    return err;
}

TEST(receiver_survives_every_failed_allocation)
{
    test_every_allocation(new_and_receive);
}

/* ---- flush ------------------------------------------------------------ */

// Nothing is armed while it pauses: then the socket itself is asked.
TEST(receiver_flush_tells_whether_all_was_delivered)
{
    struct conn c;
    open_small();
    conn_open(&c, unix_pair(), 1);
    CHECK(coil_receiver_flush(c.r));
    CHECK_INT(c.calls, 0);
    send_bytes(&c, 1);
    CHECK(coil_receiver_flush(c.r));
    CHECK_INT(c.calls, 1);

    c.keep = true;
    while (!coil_receiver_paused(c.r)) {
        send_bytes(&c, 1);
        stage_passes(3);
    }
    stage_passes(3);
    CHECK(coil_receiver_flush(c.r));
    send_bytes(&c, 1);
    CHECK(!coil_receiver_flush(c.r));
    give_back(&c, c.kept);
    CHECK(coil_receiver_flush(c.r));
    CHECK_INT(c.kept, 1);
    give_back(&c, 1);
    shutdown(c.pair.b, SHUT_WR);
    CHECK(coil_receiver_flush(c.r));
    CHECK_INT(c.ends, 1);
    conn_close(&c);
    close_small();
}

static void flush_within(void *arg, int res, struct coil_piece *piece)
{
    struct conn *c = arg;
    (void)res;
    (void)piece;
    coil_receiver_flush(c->r);
}

// The completions that are delivered would be delivered once more.
DEATH_TEST(receiver_flush_within_received_aborts, "is called from `received`")
{
    struct conn c = { .pair = unix_pair() };
    open_small();
    CHECK_INT(coil_receiver_open(&c.r, c.pair.a, flush_within, &c), 0);
    CHECK_INT(send(c.pair.b, "x", 1, 0), 1);
    stage_passes(5);
}
