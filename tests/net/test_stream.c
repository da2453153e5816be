// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_stream.c: what is true of streams over sockets alone: buffers too few and
 * too small, a kernel that is swamped, resets, shared descriptors; and what a
 * table of operations of one's own has to have. What is true of any stream is
 * in stream_suite.h. Every byte comes from a seeded pattern and is compared.
 */
#include "stream_talk.h"

#include <coil/acceptor.h>
#include <coil/error.h>
#include <coil/io.h>
#include <coil/stream.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/list.h"

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

/* ---- Separators ------------------------------------------------------- */

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

/* ---- Reading and writing ---------------------------------------------- */

TEST(stream_over_a_socket_that_is_not_connected_fails)
{
    struct sockaddr_in addr;
    stage_open();
    s = coil_stream_new(tcp_listen(&addr, 1));
    CHECK(s != NULL);
    CHECK_INT(fill(1), -ENOTCONN);
    CHECK_INT(wait_int(coil_stream_write(s, "x", 1)), -EPIPE);
    CHECK_INT(wait_int(coil_stream_close(s)), 0);
    stage_close();
}

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
    static char line[1000];
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

/* ---- is_reusable ------------------------------------------------------ */

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

/* ---- Storms ----------------------------------------------------------- */

static int make_some_pair(struct coil_stream *ends[2], int i)
{
    struct pair pair = i % 3 ? unix_pair() : tcp_pair(i % 2 ? 4096 : 0);
    ends[0] = coil_stream_new(pair.a);
    ends[1] = coil_stream_new(pair.b);
    return ends[0] && ends[1] ? 0 : -ENOMEM;
}

TEST(stream_echoes_survive_a_storm_of_cancels_in_a_small_ring)
{
    test_timeout(120);
    for (uint64_t seed = 1; seed <= (test_is_slow() ? 3 : 25); seed++)
        storm(seed,
              (struct coil_loop_options){ .sq_entries = 8,
                                          .cq_entries = 8,
                                          .recv_buffers = 4,
                                          .recv_buffer_bytes = 128 },
              make_some_pair);
}

// Operations, and their cancel requests, stand in line for the kernel.
TEST(stream_echoes_survive_a_kernel_that_refuses)
{
    test_timeout(120);
    for (uint64_t seed = 1; seed <= (test_is_slow() ? 3 : 25); seed++) {
        refusing = seed;
        storm(seed,
              (struct coil_loop_options){ .sq_entries = 8,
                                          .cq_entries = 8,
                                          .recv_buffers = 8,
                                          .recv_buffer_bytes = 256 },
              make_some_pair);
    }
}

// Not all can begin: those fail, and nothing else does.
TEST(stream_echoes_survive_too_few_operations)
{
    test_timeout(120);
    for (uint64_t seed = 1; seed <= (test_is_slow() ? 5 : 25); seed++)
        storm(seed,
              (struct coil_loop_options){
                  .operations_limit = 20 + (unsigned)seed * 2,
                  .recv_buffers = 8,
                  .recv_buffer_bytes = 256 },
              make_some_pair);
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
