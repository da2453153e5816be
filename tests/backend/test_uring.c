// SPDX-License-Identifier: MIT
// labels: core threads
/*
 * test_uring.c: the kernel below the table.
 *
 * io_uring_enter2() and io_uring_queue_init_params() are this file's own: the
 * linker takes them before liburing's. They look at what is passed, and can
 * refuse as a kernel would that is old, short of memory, or swamped.
 */
#include "peer.h"

#include <dirent.h>
#include <dlfcn.h>
#include <liburing.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#include <coil/coroutine.h>

#include "backend/uring.h"
#include "base/alloc.h"

#if defined(__SANITIZE_ADDRESS__)
#define HAVE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_ASAN 1
#endif
#endif
#ifdef HAVE_ASAN
#include <sanitizer/asan_interface.h>
#endif

/* Newer than liburing 2.3. */
#define FEAT_NO_IOWAIT (1u << 17)
#define ENTER_NO_IOWAIT (1u << 7)

/* ---- Between coil and the kernel -------------------------------------- */

static struct {
    unsigned enters, sleeps; /* calls; those that may wait */
    unsigned to_submit_most;
    unsigned flags_all, flags_any; /* and, or of the enter flags */
    unsigned refuse_submits;       /* so many times none is taken: -EBUSY */
    int fail_with;                 /* once, instead of entering */
    unsigned interrupt_every;      /* each n-th call: -EINTR */

    int init_error;             /* for rings above init_entries_most */
    unsigned init_entries_most; /* 0: for all */
    unsigned init_failures;     /* so many times -ENOMEM */
    unsigned forbidden_flags;   /* -EINVAL if any of them is asked for */
    unsigned hidden_features;
    int register_error; /* for the shared buffers */
    unsigned register_failures; /* so many times -ENOMEM for them */
    int probe_error, without; /* this operation is not there */
    unsigned inits, init_entries, init_flags;
    unsigned features;
    struct io_uring *ring; /* the last one that was made */
} kernel = { .flags_all = ~0u };

int io_uring_enter2(unsigned fd, unsigned to_submit, unsigned min_complete,
                    unsigned flags, sigset_t *sig, size_t size)
{
    kernel.enters++;
    kernel.flags_all &= flags;
    kernel.flags_any |= flags;
    if (min_complete > 0)
        kernel.sleeps++;
    if (to_submit > kernel.to_submit_most)
        kernel.to_submit_most = to_submit;
    if (kernel.fail_with) {
        int err = kernel.fail_with;
        kernel.fail_with = 0;
        return err;
    }
    if (kernel.interrupt_every && kernel.enters % kernel.interrupt_every == 0)
        return -EINTR;
    if (kernel.refuse_submits && to_submit > 0) {
        kernel.refuse_submits--;
        return -EBUSY;
    }
    long n = syscall(__NR_io_uring_enter, fd, to_submit, min_complete, flags,
                     sig, size);
    return n < 0 ? -errno : (int)n;
}

int io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
                               struct io_uring_params *p)
{
    typedef int init_fn(unsigned, struct io_uring *, struct io_uring_params *);
    union {
        void *object;
        init_fn *function;
    } real = { .object = dlsym(RTLD_NEXT, "io_uring_queue_init_params") };
    kernel.inits++;
    kernel.init_entries = entries;
    kernel.init_flags = p->flags;
    if (kernel.init_error && entries > kernel.init_entries_most)
        return kernel.init_error;
    if (kernel.init_failures > 0) {
        kernel.init_failures--;
        return -ENOMEM;
    }
    if (p->flags & kernel.forbidden_flags)
        return -EINVAL;
    int err = real.function(entries, ring, p);
    kernel.ring = ring;
    p->features &= ~kernel.hidden_features;
    kernel.features = p->features;
    return err;
}

int io_uring_register_buf_ring(struct io_uring *ring,
                               struct io_uring_buf_reg *reg, unsigned flags)
{
    typedef int register_fn(struct io_uring *, struct io_uring_buf_reg *,
                            unsigned);
    union {
        void *object;
        register_fn *function;
    } real = { .object = dlsym(RTLD_NEXT, "io_uring_register_buf_ring") };
    if (kernel.register_failures > 0) {
        kernel.register_failures--;
        return -ENOMEM;
    }
    int err = kernel.register_error;
    return err ? err : real.function(ring, reg, flags);
}

int io_uring_register_probe(struct io_uring *ring, struct io_uring_probe *p,
                            unsigned nr)
{
    typedef int probe_fn(struct io_uring *, struct io_uring_probe *, unsigned);
    union {
        void *object;
        probe_fn *function;
    } real = { .object = dlsym(RTLD_NEXT, "io_uring_register_probe") };
    if (kernel.probe_error)
        return kernel.probe_error;
    int err = real.function(ring, p, nr);
    if (kernel.without)
        p->ops[kernel.without].flags = 0;
    return err;
}

/* The rungs of the ladder: what each kernel does not know. */
static const unsigned rungs[] = {
    0,
    IORING_SETUP_DEFER_TASKRUN,
    IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN,
};
#define RUNGS (sizeof rungs / sizeof *rungs)

/* ---- The table alone -------------------------------------------------- */

static const struct coili_backend_table *const table = &coili_uring;

struct bare {
    struct coili_alloc alloc;
    struct coili_backend *b;
};

static void bare_open(struct bare *bare, struct coili_backend_options options)
{
    if (!options.submission_entries)
        options.submission_entries = 64;
    if (!options.completion_entries)
        options.completion_entries = 512;
    if (!options.operations_limit)
        options.operations_limit = 65536;
    if (!options.recv_buffers)
        options.recv_buffers = 8;
    if (!options.recv_buffer_bytes)
        options.recv_buffer_bytes = 4096;
    coili_alloc_init(&bare->alloc, NULL, 0);
    CHECK_INT(table->open(&bare->b, &bare->alloc, &options), 0);
}

static void bare_close(struct bare *bare)
{
    table->close(bare->b);
    coili_alloc_fini(&bare->alloc);
}

static struct coili_backend_stats bare_stats(const struct bare *bare)
{
    struct coili_backend_stats stats;
    table->stats(bare->b, &stats);
    return stats;
}

static void bare_drain(struct bare *bare)
{
    while (bare_stats(bare).in_flight > 0)
        table->wait(bare->b, COIL_MS(5));
}

/* ---- Time of day and randomness --------------------------------------- */

/* What getrandom(2) may do: give at most so many bytes, fail once or always. */
static struct {
    size_t most;
    int once, always;
    unsigned calls;
} random_calls = { .most = SIZE_MAX };

/* The linker's names: each call of getrandom() calls the second one. */
ssize_t __real_getrandom(void *buf, size_t len, unsigned flags);
ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags);

ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags)
{
    random_calls.calls++;
    CHECK_INT(flags, 0);
    errno = random_calls.once ? random_calls.once : random_calls.always;
    random_calls.once = 0;
    if (errno)
        return -1;
    return __real_getrandom(
        buf, len < random_calls.most ? len : random_calls.most, flags);
}

// As the clock of the machine, between two looks at it.
TEST(uring_wall_is_the_time_of_day)
{
    struct timespec before, after;
    struct bare bare;
    bare_open(&bare, (struct coili_backend_options){ 0 });
    clock_gettime(CLOCK_REALTIME, &before);
    int64_t now = table->wall(bare.b);
    clock_gettime(CLOCK_REALTIME, &after);
    CHECK(now >= before.tv_sec * 1000000000 + before.tv_nsec);
    CHECK(now <= after.tv_sec * 1000000000 + after.tv_nsec);
    CHECK(now > 1600000000 * INT64_C(1000000000)); /* nanoseconds: after 2020 */
    bare_close(&bare);
}

// Whatever the kernel gives at once, also if a signal comes in between: a key
// with zeroes at its end looks like any other.
TEST(uring_entropy_is_never_short)
{
    static const size_t sizes[] = { 0, 1, 32, 256, 257, 10000 };
    static unsigned char buf[10001], none[sizeof buf];
    struct bare bare;
    bare_open(&bare, (struct coili_backend_options){ 0 });
    for (size_t most = 1; most <= 10000; most *= 10) {
        for (int i = 0; i < 6; i++) {
            size_t n = sizes[i];
            memset(buf, 0, sizeof buf);
            random_calls.most = most;
            random_calls.once = n > 0 ? EINTR : 0;
            random_calls.calls = 0;
            CHECK_INT(table->entropy(bare.b, buf, n), 0);
            CHECK_INT(random_calls.calls,
                      n > 0 ? 1 + (n + most - 1) / most : 0);
            CHECK_MEM(buf + n, none, sizeof buf - n);
            if (n >= 32) /* 2^-256 that it is so all the same */
                CHECK(memcmp(buf + n - 32, none, 32) != 0);
        }
    }
    bare_close(&bare);
}

TEST(uring_entropy_that_is_forbidden_is_an_error)
{
    static char buf[32];
    struct bare bare;
    bare_open(&bare, (struct coili_backend_options){ 0 });
    random_calls.always = ENOSYS;
    CHECK_INT(table->entropy(bare.b, buf, sizeof buf), -ENOSYS);
    random_calls.always = EPERM;
    CHECK_INT(table->entropy(bare.b, buf, sizeof buf), -EPERM);
    CHECK_INT(random_calls.calls, 2);
    bare_close(&bare);
}

struct noted {
    struct coili_operation op;
    int times, res, order;
};

static int noted_so_far;

static void note(struct coili_operation *op, int res, unsigned flags)
{
    struct noted *it = (struct noted *)(void *)op;
    CHECK(!(flags & COILI_COMPLETION_MORE));
    it->times++;
    it->res = res;
    it->order = noted_so_far++;
}

static struct noted op_read(int fd, void *buf, uint32_t len)
{
    return (struct noted){ .op = { .complete = note,
                                   .opcode = COILI_OP_READ,
                                   .fd = fd,
                                   .addr = buf,
                                   .len = len,
                                   .offset = UINT64_MAX } };
}

static struct noted op_poll(int fd)
{
    return (struct noted){ .op = { .complete = note,
                                   .opcode = COILI_OP_POLL,
                                   .fd = fd,
                                   .arg = POLLIN } };
}

/* ---- Small queues, many operations ------------------------------------ */

/* Ten thousand in flight at once, and each completes once. */
static void swamp(unsigned entries, unsigned cq_entries)
{
    enum { N = 10000 };
    static struct noted ops[N];
    static char bytes[N];
    struct bare ring;
    bare_open(&ring, (struct coili_backend_options){
                         .submission_entries = entries,
                         .completion_entries = cq_entries });
    int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    memset(bytes, 'x', N);
    for (int i = 0; i < N; i++) {
        ops[i] = op_read(zero, &bytes[i], 1);
        CHECK_INT(table->submit(ring.b, &ops[i].op), 0);
    }
    CHECK_INT(bare_stats(&ring).in_flight, N);
    bare_drain(&ring);
    for (int i = 0; i < N; i++) {
        CHECK_INT(ops[i].times, 1);
        CHECK_INT(ops[i].res, 1);
        CHECK_INT(bytes[i], 0);
    }
    CHECK(bare_stats(&ring).overflows > 0);
    CHECK(bare_stats(&ring).submitted >= N);
    close(zero);
    bare_close(&ring);
}

// The kernel keeps what the completion queue cannot hold; none is lost.
TEST(uring_of_8_takes_ten_thousand_operations)
{
    swamp(8, 16);
}

TEST(uring_of_8_with_8_completions_takes_ten_thousand_operations)
{
    swamp(8, 8);
}

// The same while the kernel completes when it likes: no DEFER_TASKRUN.
TEST(uring_of_8_takes_ten_thousand_operations_on_an_older_kernel)
{
    kernel.forbidden_flags = IORING_SETUP_DEFER_TASKRUN |
                             IORING_SETUP_COOP_TASKRUN;
    swamp(8, 8);
}

// Whoever is woken by the first of them need not wait for the last.
TEST(uring_takes_completions_in_batches)
{
    enum { N = 1000 };
    static struct noted ops[N];
    static char bytes[N];
    struct bare ring;
    bare_open(&ring,
              (struct coili_backend_options){ .completion_entries = 2048 });
    int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    for (int i = 0; i < N; i++) {
        ops[i] = op_read(zero, &bytes[i], 1);
        CHECK_INT(table->submit(ring.b, &ops[i].op), 0);
    }
    int before = noted_so_far;
    table->wait(ring.b, 0);
    CHECK(noted_so_far - before > 0);
    CHECK(noted_so_far - before <= 256);
    for (int i = 0; i < noted_so_far - before; i++)
        CHECK_INT(ops[i].order, before + i);
    bare_drain(&ring);
    close(zero);
    bare_close(&ring);
}

/* A poll of a readable descriptor that is submitted again when it completes. */
static struct coili_backend *again_backend;
static unsigned again_left;

static void poll_again(struct coili_operation *op, int res, unsigned flags)
{
    note(op, res, flags);
    if (again_left > 0) {
        again_left--;
        CHECK_INT(table->submit(again_backend, op), 0);
    }
}

// Completions that submit in each pass leave an entry after each harvest. The
// shutdown must follow the entries before it, and no others.
TEST(uring_shutdown_is_not_delayed_by_operations_that_begin_later)
{
    struct bare ring;
    bare_open(&ring, (struct coili_backend_options){ 0 });
    struct pair pair = unix_pair();
    int fd = eventfd(1, EFD_CLOEXEC);
    struct noted poll = op_poll(fd), end = op_poll(pair.a);
    poll.op.complete = poll_again;
    end.op.opcode = COILI_OP_SHUTDOWN;
    end.op.arg = SHUT_WR;
    again_backend = ring.b;
    again_left = 100;
    CHECK_INT(table->submit(ring.b, &poll.op), 0);
    CHECK_INT(table->submit(ring.b, &end.op), 0);
    while (!end.times)
        table->wait(ring.b, -1);
    CHECK(again_left > 90);
    again_left = 0;
    bare_drain(&ring);
    close(fd);
    close_pair(pair);
    bare_close(&ring);
}

/* ---- flush ------------------------------------------------------------ */

/* Polls of one eventfd, `n` of them; all are ready after one write. */
static void flush_delivers(int n)
{
    static struct noted ops[1000];
    struct bare ring;
    bare_open(&ring, (struct coili_backend_options){ 0 });
    int fd = eventfd(0, EFD_CLOEXEC);
    for (int i = 0; i < n; i++) {
        ops[i] = op_poll(fd);
        CHECK_INT(table->submit(ring.b, &ops[i].op), 0);
    }
    /* Not submitted yet: only the kernel can know. */
    CHECK(table->flush(ring.b, &ops[n - 1].op));
    CHECK_INT(ops[n - 1].times, 0);
    eventfd_write(fd, 1);
    CHECK(table->flush(ring.b, &ops[n - 1].op));
    CHECK_INT(ops[n - 1].times, 1);
    CHECK_INT(ops[n - 1].res, POLLIN);
    CHECK(table->flush(ring.b, &ops[n - 1].op)); /* idle: nothing is to come */
    bare_drain(&ring);
    for (int i = 0; i < n; i++)
        CHECK_INT(ops[i].times, 1);
    close(fd);
    bare_close(&ring);
}

// No matter how many other completions stand before it, and on every kernel.
TEST(uring_flush_delivers_what_has_arrived)
{
    for (size_t i = 0; i < RUNGS; i++) {
        kernel.forbidden_flags = rungs[i];
        flush_delivers(1);
        flush_delivers(30);
        flush_delivers(1000);
    }
}

// The kernel has set no flag, so it has nothing: that is known from the ring.
TEST(uring_flush_makes_no_system_call_for_nothing)
{
    struct bare ring;
    bare_open(&ring, (struct coili_backend_options){ 0 });
    int fd = eventfd(0, EFD_CLOEXEC);
    struct noted poll = op_poll(fd), other = op_poll(fd);
    CHECK_INT(table->submit(ring.b, &poll.op), 0);
    table->wait(ring.b, 0);
    CHECK_INT(table->submit(ring.b, &other.op), 0); /* of no importance */
    uint64_t enters = bare_stats(&ring).enters;
    for (int i = 0; i < 1000; i++)
        CHECK(table->flush(ring.b, &poll.op));
    CHECK_INT(bare_stats(&ring).enters, enters);
    eventfd_write(fd, 1);
    CHECK(table->flush(ring.b, &poll.op));
    CHECK_INT(poll.times, 1);
    CHECK_INT(bare_stats(&ring).enters, enters + 1);
    bare_drain(&ring);
    close(fd);
    bare_close(&ring);
}

// The kernel may set the flag when what it stands for was delivered a moment
// ago. It stays until there is something else to deliver.
TEST(uring_flush_knows_a_flag_that_stands_for_nothing)
{
    struct bare ring;
    bare_open(&ring, (struct coili_backend_options){ 0 });
    int fd = eventfd(0, EFD_CLOEXEC);
    struct noted poll = op_poll(fd);
    CHECK_INT(table->submit(ring.b, &poll.op), 0);
    table->wait(ring.b, 0);
    __atomic_fetch_or(kernel.ring->sq.kflags, IORING_SQ_TASKRUN,
                      __ATOMIC_SEQ_CST);
    uint64_t enters = bare_stats(&ring).enters;
    CHECK(table->flush(ring.b, &poll.op));
    CHECK_INT(poll.times, 0);
    CHECK(bare_stats(&ring).enters - enters <= 2);
    eventfd_write(fd, 1);
    bare_drain(&ring);
    close(fd);
    bare_close(&ring);
}

// With DEFER_TASKRUN a call without GETEVENTS would complete nothing.
TEST(uring_asks_for_completions_whenever_it_enters)
{
    stage_open();
    struct pair pair = unix_pair();
    for (int i = 0; i < 100; i++) {
        char x;
        struct coil_task *t = coil_spawn(coil_recv(pair.a, &x, 1));
        CHECK_INT(wait_int(coil_send(pair.b, "x", 1)), 1);
        CHECK_INT(task_int(t), 1);
    }
    CHECK(kernel.flags_all & IORING_ENTER_GETEVENTS);
    close_pair(pair);
    stage_close();
}

// A thousand sleepers are one number in one call, not a thousand operations.
TEST(uring_knows_nothing_of_timers)
{
    static struct coil_task *tasks[1000];
    stage_open();
    stage_passes(2);
    uint64_t submitted = stage_stats().submitted;
    for (int i = 0; i < 1000; i++)
        tasks[i] = coil_spawn(coil_sleep(COIL_MS(1 + i % 20)));
    for (int i = 0; i < 1000; i++)
        CHECK_INT(task_int(tasks[i]), 0);
    CHECK_INT(stage_stats().submitted, submitted);
    stage_close();
}

// What is unread, or was not even in the queue yet, goes with the ring.
TEST(uring_closes_with_completions_unread)
{
    enum { N = 300 };
    static struct noted ops[N];
    static char bytes[N];
    struct bare ring;
    bare_open(&ring, (struct coili_backend_options){ .submission_entries = 8,
                                                     .completion_entries = 8 });
    int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    for (int i = 0; i < N; i++) {
        ops[i] = op_read(zero, &bytes[i], 1);
        CHECK_INT(table->submit(ring.b, &ops[i].op), 0);
    }
    table->wait(ring.b, 0);
    CHECK(bare_stats(&ring).in_flight > 0);
    close(zero);
    bare_close(&ring);
#ifdef HAVE_ASAN
    __asan_unpoison_memory_region(bytes, sizeof bytes);
#endif
}

struct reads_bytes {
    struct coil_coro coro;
    int fd;
    int rounds, i;
    char byte;
    size_t n;
};

static void reads_bytes(struct coil_coro *co)
{
    ASYNC(reads_bytes, my) {
        for (my->i = 0; my->i < my->rounds; my->i++) {
            AWAIT_TO(my->n, coil_read(my->fd, &my->byte, 1));
            if (my->n != 1 || my->byte != 0)
                FAIL(-EIO);
        }
    }
}

// Operations begun by completions: the queue is full in the harvest too.
TEST(uring_of_8_serves_a_thousand_tasks)
{
    enum { TASKS = 1000, ROUNDS = 10 };
    static struct coil_task *tasks[TASKS];
    int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    stage_open_with(
        (struct coil_loop_options){ .sq_entries = 8, .cq_entries = 8 });
    for (int i = 0; i < TASKS; i++)
        tasks[i] = SPAWN(reads_bytes, .fd = zero, .rounds = ROUNDS);
    for (int i = 0; i < TASKS; i++)
        CHECK_INT(task_int(tasks[i]), 0);
    CHECK(stage_stats().overflows > 0);
    CHECK_INT(stage_stats().in_flight, 0);
    stage_close();
    close(zero);
}

// What wait() would do later is done at once when the queue is full.
TEST(uring_submits_a_full_queue_and_goes_on)
{
    struct bare ring;
    bare_open(&ring, (struct coili_backend_options){ .submission_entries = 8 });
    struct pair pipe = pipe_pair();
    struct noted ops[40];
    unsigned enters = kernel.enters;
    for (int i = 0; i < 40; i++) {
        ops[i] = op_poll(pipe.a);
        CHECK_INT(table->submit(ring.b, &ops[i].op), 0);
        CHECK_INT(ops[i].op.state, COILI_OPERATION_IN_FLIGHT);
    }
    CHECK(kernel.enters - enters >= 4);
    CHECK(kernel.to_submit_most <= 8);
    CHECK_INT(write(pipe.b, "x", 1), 1);
    bare_drain(&ring);
    for (int i = 0; i < 40; i++)
        CHECK_INT(ops[i].res, POLLIN);
    close_pair(pipe);
    bare_close(&ring);
}

// A kernel that is swamped says -EBUSY and takes nothing. Nobody sees that.
TEST(uring_queues_what_the_kernel_refuses_for_now)
{
    struct bare ring;
    bare_open(&ring, (struct coili_backend_options){ .submission_entries = 8 });
    struct pair pipe = pipe_pair();
    struct noted ops[64];
    char bytes[64];
    table->wait(ring.b, 0); /* the wake-up poll has gone */
    kernel.refuse_submits = 40;
    for (int i = 0; i < 64; i++) {
        bytes[i] = (char)i;
        ops[i] = (struct noted){ .op = { .complete = note,
                                         .opcode = COILI_OP_WRITE,
                                         .fd = pipe.b,
                                         .addr = &bytes[i],
                                         .len = 1,
                                         .offset = UINT64_MAX } };
        CHECK_INT(table->submit(ring.b, &ops[i].op), 0);
    }
    CHECK_INT(ops[7].op.state, COILI_OPERATION_IN_FLIGHT);
    CHECK_INT(ops[8].op.state, COILI_OPERATION_QUEUED);
    CHECK_INT(ops[63].op.state, COILI_OPERATION_QUEUED);
    CHECK(table->eager(ring.b));
    bare_drain(&ring);
    CHECK_INT(kernel.refuse_submits, 0);
    char got[65];
    CHECK_INT(read(pipe.a, got, 65), 64);
    CHECK_MEM(got, bytes, 64);
    for (int i = 0; i < 64; i++)
        CHECK_INT(ops[i].res, 1);
    close_pair(pipe);
    bare_close(&ring);
}

/* A ring of 8 with 8 polls in a full queue, and the kernel refuses. */
static void fill_up(struct bare *ring, struct noted ops[8], int fd)
{
    bare_open(ring, (struct coili_backend_options){ .submission_entries = 8 });
    table->wait(ring->b, 0); /* the wake-up poll has gone */
    for (int i = 0; i < 8; i++) {
        ops[i] = op_poll(fd);
        CHECK_INT(table->submit(ring->b, &ops[i].op), 0);
    }
    kernel.refuse_submits = 1000000;
}

static void received_nothing(void *arg, int res, struct coil_piece *piece)
{
    (void)piece;
    (void)res;
    ++*(int *)arg;
}

// A receive that stands in line, a close that has to stand behind it, a
// receive that flies while its cancel request stands in line.
TEST(uring_closes_receivers_that_stand_in_line)
{
    stage_open_with((struct coil_loop_options){ .sq_entries = 8 });
    struct pair flying = unix_pair(), queued = unix_pair(), full = pipe_pair();
    int calls = 0;
    struct coil_receiver *f;
    CHECK_INT(coil_receiver_open(&f, flying.a, received_nothing, &calls), 0);
    stage_passes(2);
    struct coil_task *polls[8];
    for (int i = 0; i < 8; i++)
        polls[i] = coil_spawn(coil_poll(full.a, POLLIN));
    kernel.refuse_submits = 1000000;
    stage_passes(2);
    struct coil_receiver *q;
    CHECK_INT(coil_receiver_open(&q, queued.a, received_nothing, &calls), 0);
    coil_detach_future(coil_receiver_close(f));
    coil_detach_future(coil_receiver_close(q));
    struct coil_task *gone = coil_spawn(coil_close(full.a));
    stage_passes(5);
    CHECK(!coil_task_done(gone));
    kernel.refuse_submits = 0;
    CHECK_INT(task_int(gone), 0);
    for (int i = 0; i < 8; i++)
        CHECK_INT(task_int(polls[i]), -ECANCELED);
    UNTIL(stage_stats().in_flight == 0);
    CHECK_INT(calls, 0);
    close_pair(flying);
    close_pair(queued);
    close(full.b);
    stage_close();
}

// It never was the kernel's: it ends at once, and those around it go on.
TEST(uring_cancels_what_is_queued_at_once)
{
    struct bare ring;
    struct pair pipe = pipe_pair();
    struct noted full[8], queued[3];
    fill_up(&ring, full, pipe.a);
    for (int i = 0; i < 3; i++) {
        queued[i] = op_poll(pipe.a);
        CHECK_INT(table->submit(ring.b, &queued[i].op), 0);
        CHECK_INT(queued[i].op.state, COILI_OPERATION_QUEUED);
    }
    table->cancel(ring.b, &queued[2].op); /* the last, then the first */
    table->cancel(ring.b, &queued[0].op);
    CHECK_INT(queued[2].res, -ECANCELED);
    CHECK_INT(queued[0].res, -ECANCELED);
    CHECK_INT(queued[1].times, 0);
    struct noted more = op_poll(pipe.a);
    CHECK_INT(table->submit(ring.b, &more.op), 0);
    kernel.refuse_submits = 0;
    CHECK_INT(write(pipe.b, "x", 1), 1);
    bare_drain(&ring);
    CHECK_INT(queued[1].res, POLLIN);
    CHECK_INT(more.res, POLLIN);
    CHECK_INT(queued[0].times + queued[1].times + queued[2].times, 3);
    close_pair(pipe);
    bare_close(&ring);
}

// The request waits its turn; compio loses it there.
TEST(uring_cancels_although_the_queue_is_full)
{
    struct bare ring;
    struct pair pipe = pipe_pair(), quiet = pipe_pair();
    struct noted full[8], target = op_poll(quiet.a);
    bare_open(&ring, (struct coili_backend_options){ .submission_entries = 8 });
    CHECK_INT(table->submit(ring.b, &target.op), 0);
    table->wait(ring.b, 0);
    for (int i = 0; i < 8; i++) {
        full[i] = op_poll(pipe.a);
        CHECK_INT(table->submit(ring.b, &full[i].op), 0);
    }
    kernel.refuse_submits = 1000000;
    table->cancel(ring.b, &target.op);
    table->cancel(ring.b, &target.op); /* once is enough */
    CHECK_INT(target.op.state, COILI_OPERATION_IN_FLIGHT);
    table->wait(ring.b, 0);
    CHECK_INT(target.times, 0);
    kernel.refuse_submits = 0;
    while (!target.times)
        table->wait(ring.b, COIL_MS(5));
    CHECK_INT(target.res, -ECANCELED);
    CHECK_INT(write(pipe.b, "x", 1), 1);
    bare_drain(&ring);
    close_pair(pipe);
    close_pair(quiet);
    bare_close(&ring);
}

// The operation ends before its cancel request was sent: no one misses it.
TEST(uring_forgets_a_queued_cancel_of_what_has_landed)
{
    struct bare ring;
    struct pair pipe = pipe_pair(), other = pipe_pair();
    struct noted full[8], target = op_poll(other.a);
    bare_open(&ring, (struct coili_backend_options){ .submission_entries = 8 });
    CHECK_INT(table->submit(ring.b, &target.op), 0);
    table->wait(ring.b, 0);
    for (int i = 0; i < 8; i++) {
        full[i] = op_poll(pipe.a);
        CHECK_INT(table->submit(ring.b, &full[i].op), 0);
    }
    kernel.refuse_submits = 5;
    table->cancel(ring.b, &target.op);
    CHECK_INT(write(other.b, "x", 1), 1);
    kernel.refuse_submits = 0;
    struct noted behind = op_poll(other.a);
    CHECK_INT(table->submit(ring.b, &behind.op), 0);
    CHECK_INT(write(pipe.b, "x", 1), 1);
    bare_drain(&ring);
    CHECK_INT(target.times, 1);
    CHECK(target.res == POLLIN || target.res == -ECANCELED);
    CHECK_INT(behind.res, POLLIN);
    close_pair(pipe);
    close_pair(other);
    bare_close(&ring);
}

/* ---- Slots ------------------------------------------------------------ */

/* With `a` done and its cancel request's completion still to be read. */
static void land_before_cancel(struct bare *ring, struct noted *a, int fd)
{
    enum { BATCH = 256 };
    static struct noted before[BATCH - 1];
    static char bytes[BATCH];
    int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    for (int i = 0; i < BATCH - 1; i++) {
        before[i] = op_read(zero, &bytes[i], 1);
        CHECK_INT(table->submit(ring->b, &before[i].op), 0);
    }
    *a = op_poll(fd); /* readable: it completes when it is submitted */
    CHECK_INT(table->submit(ring->b, &a->op), 0);
    table->cancel(ring->b, &a->op);
    table->wait(ring->b, 0);
    close(zero);
}

// Two completions, in any order: the second must not hit the slot's next user.
TEST(uring_reuses_a_slot_after_both_completions_only)
{
    struct bare ring;
    bare_open(&ring,
              (struct coili_backend_options){ .submission_entries = 512,
                                              .completion_entries = 1024 });
    struct pair pipe = pipe_pair(), quiet = pipe_pair();
    struct noted a, b = op_poll(quiet.a), c = op_poll(quiet.a);
    table->wait(ring.b, 0);
    CHECK_INT(write(pipe.b, "x", 1), 1);
    land_before_cancel(&ring, &a, pipe.a);
    CHECK_INT(a.times, 1);
    CHECK_INT(a.res, POLLIN); /* it had succeeded */
    CHECK_INT(bare_stats(&ring).in_flight, 1);

    CHECK_INT(table->submit(ring.b, &b.op), 0);
    CHECK(b.op.slot != a.op.slot);
    table->wait(ring.b, 0);
    CHECK_INT(bare_stats(&ring).in_flight, 1);
    CHECK_INT(a.times, 1);
    CHECK_INT(b.times, 0);

    CHECK_INT(table->submit(ring.b, &c.op), 0);
    CHECK_INT(c.op.slot, a.op.slot);
    table->wait(ring.b, 0);
    CHECK_INT(c.times, 0);
    CHECK_INT(write(quiet.b, "x", 1), 1);
    bare_drain(&ring);
    CHECK_INT(b.res, POLLIN);
    CHECK_INT(c.res, POLLIN);
    CHECK_INT(a.times, 1);
    close_pair(pipe);
    close_pair(quiet);
    bare_close(&ring);
}

// Ten thousand users of one slot: none gets what was meant for another.
TEST(uring_slot_survives_many_users)
{
    struct bare ring;
    bare_open(&ring, (struct coili_backend_options){ 0 });
    struct pair pipe = pipe_pair();
    int rounds = test_is_slow() ? 1000 : 10000;
    for (int i = 0; i < rounds; i++) {
        struct noted it = op_poll(pipe.a);
        CHECK_INT(table->submit(ring.b, &it.op), 0);
        if (i % 3 == 0)
            table->wait(ring.b, 0);
        table->cancel(ring.b, &it.op);
        while (!it.times)
            table->wait(ring.b, COIL_MS(5));
        CHECK_INT(it.res, -ECANCELED);
    }
    bare_drain(&ring);
    close_pair(pipe);
    bare_close(&ring);
}

// Above it there is an error and no growth; below it all is as before.
TEST(uring_refuses_above_operations_max_and_recovers)
{
    struct bare ring;
    bare_open(&ring, (struct coili_backend_options){ .operations_limit = 4 });
    struct pair pipe = pipe_pair();
    struct noted ops[4], more = op_poll(pipe.a);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 4; i++) {
            ops[i] = op_poll(pipe.a);
            CHECK_INT(table->submit(ring.b, &ops[i].op), 0);
        }
        CHECK_INT(table->submit(ring.b, &more.op), -ENOBUFS);
        CHECK_INT(more.times, 0);
        CHECK_INT(bare_stats(&ring).in_flight, 4);
        table->cancel(ring.b, &ops[0].op);
        for (int i = 1; i < 4; i++)
            table->cancel(ring.b, &ops[i].op);
        bare_drain(&ring);
    }
    close_pair(pipe);
    bare_close(&ring);
}

TEST(uring_takes_all_of_65536_operations)
{
    enum { MOST = 65536 };
    struct noted *ops = calloc(MOST + 1, sizeof *ops);
    struct bare ring;
    bare_open(&ring, (struct coili_backend_options){ 0 });
    struct pair pipe = pipe_pair();
    CHECK(ops != NULL);
    for (int i = 0; i <= MOST; i++) {
        ops[i] = op_poll(pipe.a);
        CHECK_INT(table->submit(ring.b, &ops[i].op), i < MOST ? 0 : -ENOBUFS);
    }
    CHECK_INT(bare_stats(&ring).in_flight, MOST);
    CHECK_INT(write(pipe.b, "x", 1), 1);
    bare_drain(&ring);
    for (int i = 0; i < MOST; i++)
        CHECK_INT(ops[i].times, 1);
    close_pair(pipe);
    bare_close(&ring);
    free(ops);
}

TEST(uring_tells_when_there_is_no_memory_for_a_slot)
{
    struct bare ring;
    bare_open(&ring, (struct coili_backend_options){ 0 });
    struct pair pipe = pipe_pair();
    static struct noted ops[256];
    int n = 0, err = 0;
    test_fail_allocations_from(1);
    while (n < 256 && err == 0) {
        ops[n] = op_poll(pipe.a);
        err = table->submit(ring.b, &ops[n].op);
        n += err == 0;
    }
    test_fail_allocations_from(0);
    CHECK_INT(err, -ENOMEM);
    CHECK_INT(ops[n].times, 0);
    CHECK_INT(table->submit(ring.b, &ops[n].op), 0);
    CHECK_INT(write(pipe.b, "x", 1), 1);
    bare_drain(&ring);
    close_pair(pipe);
    bare_close(&ring);
}

/* ---- Buffers are the kernel's ----------------------------------------- */

#ifdef HAVE_ASAN
static bool is_poisoned(char *buf, size_t len)
{
    return __asan_region_is_poisoned(buf, len) != NULL;
}
#else
static bool is_poisoned(char *buf, size_t len)
{
    (void)buf;
    (void)len;
    SKIP("needs AddressSanitizer");
}
#endif

// Cancelled is not over: until its own completion the kernel may write there.
TEST(uring_keeps_the_buffer_of_a_cancelled_read_until_it_completes)
{
    struct bare ring;
    bare_open(&ring, (struct coili_backend_options){ 0 });
    struct pair pipe = pipe_pair();
    static char buf[64];
    struct noted read = op_read(pipe.a, buf, sizeof buf);
    CHECK(!is_poisoned(buf, sizeof buf));
    CHECK_INT(table->submit(ring.b, &read.op), 0);
    CHECK(is_poisoned(buf, 1));
    table->wait(ring.b, 0);
    table->cancel(ring.b, &read.op);
    CHECK(is_poisoned(buf, 1) && is_poisoned(buf + 63, 1));
    while (!read.times)
        table->wait(ring.b, COIL_MS(5));
    CHECK_INT(read.res, -ECANCELED);
    CHECK(!is_poisoned(buf, sizeof buf));
    bare_drain(&ring);
    close_pair(pipe);
    bare_close(&ring);
}

TEST(uring_gives_the_buffer_of_a_queued_read_back_when_it_is_cancelled)
{
    struct bare ring;
    struct pair pipe = pipe_pair();
    struct noted full[8];
    static char buf[64];
    struct noted read = op_read(pipe.a, buf, sizeof buf);
    CHECK(!is_poisoned(buf, sizeof buf));
    fill_up(&ring, full, pipe.a);
    CHECK_INT(table->submit(ring.b, &read.op), 0);
    CHECK(is_poisoned(buf, 1));
    table->cancel(ring.b, &read.op);
    CHECK(!is_poisoned(buf, sizeof buf));
    kernel.refuse_submits = 0;
    CHECK_INT(write(pipe.b, "x", 1), 1);
    bare_drain(&ring);
    close_pair(pipe);
    bare_close(&ring);
}

struct keeps_one {
    struct coil_receiver *r;
    struct coil_piece *piece;
};

static void keep_piece(void *arg, int res, struct coil_piece *piece)
{
    CHECK(res > 0);
    ((struct keeps_one *)arg)->piece = piece;
}

// What arrived may be read, and nothing beyond; after its return nothing at
// all.
TEST(uring_shared_buffer_is_the_kernels_until_bytes_arrive_and_once_returned)
{
    CHECK(!is_poisoned((char[1]){ 0 }, 1));
    stage_open();
    struct pair pair = unix_pair();
    struct keeps_one it = { 0 };
    CHECK_INT(coil_receiver_open(&it.r, pair.a, keep_piece, &it), 0);
    CHECK_INT(write(pair.b, "12345678", 8), 8);
    UNTIL(it.piece != NULL);
    char *data = it.piece->data;
    CHECK_MEM(data, "12345678", 8);
    CHECK(is_poisoned(data + 8, 1));
    coil_receiver_return(it.r, it.piece);
    CHECK(is_poisoned(data, 1));
    CHECK_INT(wait_int(coil_receiver_close(it.r)), 0);
    close_pair(pair);
    stage_close();
}

// Who looks at a lent buffer reads what the kernel may be writing.
DEATH_TEST(uring_lent_buffer_that_is_read_aborts, "use-after-poison")
{
#ifdef HAVE_ASAN
    __asan_set_death_callback(abort);
#else
    SKIP("needs AddressSanitizer");
#endif
    struct bare ring;
    bare_open(&ring, (struct coili_backend_options){ 0 });
    struct pair pipe = pipe_pair();
    static char buf[64];
    struct noted read = op_read(pipe.a, buf, sizeof buf);
    CHECK_INT(table->submit(ring.b, &read.op), 0);
    table->cancel(ring.b, &read.op);
    char *volatile at = buf; /* or clang knows the address, and looks away */
    test_note("%d", at[3]);
}

/* ---- Late success ----------------------------------------------------- */

struct reads_twice {
    struct coil_coro coro;
    int fd;
    size_t n;
    char buf[16], more[16];
};

static void reads_twice(struct coil_coro *co)
{
    ASYNC(reads_twice, my) {
        AWAIT_TO(my->n, coil_read(my->fd, my->buf, sizeof my->buf));
        trace("got %d", (int)my->n);
        AWAIT_TO(my->n, coil_read(my->fd, my->more, sizeof my->more));
        trace("got more");

    FINALLY;
        trace("finally");
    }
}

struct cancels {
    struct coil_coro coro;
    struct coil_task *victim;
    int after;
};

static void cancels(struct coil_coro *co)
{
    ASYNC(cancels, my) {
        while (my->after-- > 0)
            AWAIT(coil_sleep(0));
        CHECK(coil_task_cancel(my->victim));
    }
}

// Bytes that have left the pipe are the reader's; the request strikes later.
TEST(uring_read_that_succeeds_as_it_is_cancelled_gives_its_bytes)
{
    stage_open();
    struct pair pipe = pipe_pair();
    CHECK_INT(write(pipe.b, "12345", 5), 5);
    struct coil_task *t = SPAWN(reads_twice, .fd = pipe.a);
    struct coil_task *c = SPAWN(cancels, .victim = t); /* in the same pass */
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_INT(stage_run(c), 0);
    CHECK_TRACE("got 5 finally");
    CHECK_MEM(((struct reads_twice *)coil_task_frame(t))->buf, "12345", 5);
    stage_close();
    close_pair(pipe);
}

// The same when the completion is in, and only the task has not run yet.
TEST(uring_read_that_is_cancelled_after_it_completed_gives_its_bytes)
{
    stage_open();
    struct pair pipe = pipe_pair();
    struct coil_task *t = SPAWN(reads_twice, .fd = pipe.a);
    struct coil_task *c = SPAWN(cancels, .victim = t, .after = 3);
    stage_passes(3);
    CHECK_INT(write(pipe.b, "12345", 5), 5);
    /* The canceller stands in the ready list before what the pass wakes. */
    coil_loop_pass(stage_loop, COIL_MS(100));
    CHECK_INT(stage_run(c), 0);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("got 5 finally");
    stage_close();
    close_pair(pipe);
}

struct accepts_twice {
    struct coil_coro coro;
    int listener, fd, other;
};

static void accepts_twice(struct coil_coro *co)
{
    ASYNC(accepts_twice, my) {
        AWAIT_TO(my->fd, coil_accept(my->listener));
        trace("accepted");
        AWAIT_TO(my->other, coil_accept(my->listener));
        trace("accepted more");

    FINALLY;
        trace("finally");
    }
}

// A connection that was accepted as the cancel came is not lost.
TEST(uring_accept_that_succeeds_as_it_is_cancelled_gives_its_descriptor)
{
    stage_open();
    struct sockaddr_in addr;
    int listener = tcp_listen(&addr, 4), client = tcp_connect(&addr);
    struct coil_task *t = SPAWN(accepts_twice, .listener = listener);
    struct coil_task *c = SPAWN(cancels, .victim = t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_INT(stage_run(c), 0);
    CHECK_TRACE("accepted finally");
    int fd = ((struct accepts_twice *)coil_task_frame(t))->fd;
    CHECK_INT(write(client, "x", 1), 1);
    char x;
    CHECK_INT(read(fd, &x, 1), 1);
    close(fd);
    close(client);
    close(listener);
    stage_close();
}

struct accepts_for_nobody {
    struct coil_coro coro;
    int listener;
};

static void accepts_for_nobody(struct coil_coro *co)
{
    ASYNC(accepts_for_nobody, my) {
        AWAIT(coil_accept(my->listener));
    }
}

// The harness counts descriptors; the client sees the end.
TEST(uring_accept_that_nobody_takes_is_closed)
{
    stage_open();
    struct sockaddr_in addr;
    int listener = tcp_listen(&addr, 4), client = tcp_connect(&addr);
    CHECK_INT(wait_int(CALL(accepts_for_nobody, .listener = listener)), 0);
    char x;
    CHECK_INT(read(client, &x, 1), 0);
    close(client);
    close(listener);
    stage_close();
}

// Begun, and nobody waits any more: its last act is to close what it got.
TEST(uring_accept_that_is_given_up_in_flight_is_closed)
{
    stage_open();
    struct sockaddr_in addr;
    int listener = tcp_listen(&addr, 4), client = tcp_connect(&addr);
    coil_detach_future(coil_accept(listener));
    UNTIL(stage_stats().in_flight == 0);
    char x;
    CHECK_INT(read(client, &x, 1), 0);
    close(client);
    close(listener);
    stage_close();
}

/* ---- Other kernels ---------------------------------------------------- */

struct talks {
    struct coil_coro coro;
    struct pair pair;
    struct coil_task *peer;
    char out[8], in[8];
    size_t n;
    int i, err;
};

static void talks(struct coil_coro *co)
{
    ASYNC(talks, my) {
        for (my->i = 0; my->i < 20; my->i++) {
            my->peer = coil_spawn(coil_recv(my->pair.b, my->in, 8));
            AWAIT(coil_sleep(COIL_US(50)));
            AWAIT(coil_send(my->pair.a, my->out, 8));
            AWAIT_TO(my->n, my->peer);
            coil_task_drop(&my->peer);
        }
        my->peer = coil_spawn(coil_recv(my->pair.b, my->in, 8));
        AWAIT(coil_sleep(0));
        coil_task_cancel(my->peer);
        TRY_AWAIT(my->err, my->peer);
        if (my->err != -ECANCELED)
            FAIL(-EIO);
    }
}

// Each rung of the ladder carries all that stands on it.
TEST(uring_works_on_kernels_without_the_newer_flags)
{
    for (size_t i = 0; i < RUNGS; i++) {
        kernel.forbidden_flags = rungs[i];
        struct pair pair = unix_pair();
        CHECK_INT(RUN(talks, .pair = pair), 0);
        CHECK_INT(kernel.init_flags & rungs[i], 0);
        close_pair(pair);
    }
}

// The counters of a failed enter tell nothing: what was not taken is offered
// again, and nothing is awaited for ever.
TEST(uring_survives_calls_that_fail_for_now)
{
    static const int errors[] = { -EINTR, -EAGAIN, -EBUSY, -ENOMEM, -ETIME };
    struct bare ring;
    bare_open(&ring, (struct coili_backend_options){ 0 });
    struct pair pipe = pipe_pair();
    CHECK_INT(write(pipe.b, "12345", 5), 5);
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        char byte;
        struct noted it = op_read(pipe.a, &byte, 1);
        CHECK_INT(table->submit(ring.b, &it.op), 0);
        kernel.fail_with = errors[i];
        CHECK(table->wait(ring.b, 0));
        CHECK_INT(it.times, 0);
        while (!it.times)
            table->wait(ring.b, COIL_MS(5));
        CHECK_INT(it.res, 1);
    }
    close_pair(pipe);
    bare_close(&ring);
}

DEATH_TEST(uring_that_cannot_be_entered_any_more_aborts,
           "io_uring_enter failed")
{
    struct bare ring;
    bare_open(&ring, (struct coili_backend_options){ 0 });
    kernel.fail_with = -EBADF;
    table->wait(ring.b, 0);
}

// Idle means asleep, and not "waiting for a disk" in everybody's statistics.
TEST(uring_waits_without_iowait_where_the_kernel_can)
{
    struct bare ring;
    bare_open(&ring, (struct coili_backend_options){ 0 });
    if (!(kernel.features & FEAT_NO_IOWAIT))
        SKIP("this kernel has no IORING_FEAT_NO_IOWAIT");
    table->wait(ring.b, COIL_MS(1));
    CHECK(kernel.flags_all & ENTER_NO_IOWAIT);
    bare_close(&ring);
}

TEST(uring_does_not_ask_an_older_kernel_for_no_iowait)
{
    kernel.hidden_features = FEAT_NO_IOWAIT;
    struct bare ring;
    bare_open(&ring, (struct coili_backend_options){ 0 });
    table->wait(ring.b, COIL_MS(1));
    CHECK(!(kernel.flags_any & ENTER_NO_IOWAIT));
    bare_close(&ring);
}

static int64_t cpu_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

// One timer, nothing else: one sleep in the kernel, not thousands.
TEST(uring_idle_does_not_spin)
{
    stage_open();
    stage_passes(2);
    struct coil_loop_stats before = stage_stats();
    int64_t cpu = cpu_now(), start = coil_now();
    CHECK_INT(wait_int(coil_sleep(COIL_MS(200))), 0);
    CHECK(coil_now() - start >= COIL_MS(200));
    struct coil_loop_stats after = stage_stats();
    CHECK(after.passes - before.passes <= 6);
    CHECK(after.enters - before.enters <= 6);
    if (!test_is_slow())
        CHECK(cpu_now() - cpu < COIL_MS(50));
    stage_close();
}

/* ---- Refusals --------------------------------------------------------- */

/* What is written to stderr until `said_back`. */
static int said_fd, stderr_was;

static void listen_to_stderr(void)
{
    fflush(stderr);
    said_fd = memfd_create("stderr", MFD_CLOEXEC);
    stderr_was = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    CHECK(said_fd >= 0 && stderr_was >= 0);
    dup2(said_fd, STDERR_FILENO);
}

static const char *said_back(void)
{
    static char said[4096];
    fflush(stderr);
    dup2(stderr_was, STDERR_FILENO);
    ssize_t n = pread(said_fd, said, sizeof said - 1, 0);
    said[n > 0 ? n : 0] = '\0';
    close(said_fd);
    close(stderr_was);
    return said;
}

static void check_one_line(const char *said, const char *about)
{
    const char *end = strchr(said, '\n');
    if (!end || end[1] || strncmp(said, "coil: ", 6) != 0 ||
        !strstr(said, about))
        CHECK_STR(said, about);
}

/* From now on the kernel refuses io_uring_setup(), for this process. */
static void forbid_io_uring(unsigned err)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | err),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = sizeof code / sizeof *code,
                                  .filter = code };
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        SKIP("seccomp filters cannot be set here");
}

struct nothing {
    struct coil_coro coro;
};

static void nothing(struct coil_coro *co)
{
    ASYNC(nothing, my) {
        abort(); /* it was not to run */
    }
}

/* By both ways in, and nothing stays behind. */
static void check_refusal(int err, const char *about)
{
    struct coil_loop *loop = NULL;
    listen_to_stderr();
    int got = coil_loop_new(&loop, NULL);
    check_one_line(said_back(), about);
    CHECK_INT(got, err);
    CHECK(loop == NULL);
    CHECK(coil_loop_current() == NULL);

    listen_to_stderr();
    got = RUN(nothing);
    check_one_line(said_back(), about);
    CHECK_INT(got, err);
}

// Docker's default profile. The line says who forbids it and what to change.
TEST(uring_says_that_a_seccomp_filter_forbids_it)
{
    forbid_io_uring(EPERM);
    check_refusal(-EPERM, "seccomp");
}

// Old kernels, gVisor, rr.
TEST(uring_says_that_the_kernel_lacks_it)
{
    forbid_io_uring(ENOSYS);
    check_refusal(-ENOSYS, "Linux 6.1");
}

// Better one line at the start than an error for each operation.
TEST(uring_says_that_the_kernel_is_too_old)
{
    kernel.without = IORING_OP_SEND_ZC;
    check_refusal(-ENOSYS, "Linux 6.1");
    kernel.without = IORING_OP_SHUTDOWN;
    check_refusal(-ENOSYS, "Linux 6.1");
    kernel.without = 0;
    kernel.probe_error = -EINVAL;
    check_refusal(-ENOSYS, "Linux 6.1");
}

// The charge of a ring that was closed comes back late: a program that is
// started again must not fail for that.
TEST(uring_waits_a_little_for_locked_memory)
{
    struct coil_loop *loop;
    kernel.init_failures = 10; /* each size more than once */
    CHECK_INT(coil_loop_new(&loop, NULL), 0);
    CHECK_INT(kernel.init_failures, 0);
    coil_loop_close(loop);
}

// Read as "no RAM" by everybody who met it.
TEST(uring_says_that_locked_memory_is_limited)
{
    kernel.init_error = -ENOMEM;
    check_refusal(-ENOMEM, "RLIMIT_MEMLOCK");
    CHECK_INT(kernel.init_entries, 8); /* the smallest was tried */
}

TEST(uring_says_what_else_went_wrong)
{
    kernel.init_error = -EMFILE;
    check_refusal(-EMFILE, "Too many open files");
}

// The ring is there and the eventfd is not: the ring is closed again.
TEST(uring_without_a_descriptor_for_waking_is_refused)
{
    struct coil_loop *loop = NULL;
    listen_to_stderr();
    int one = dup(STDERR_FILENO);
    struct rlimit limit = take_all_descriptors();
    close(one); /* for the ring */
    int err = coil_loop_new(&loop, NULL);
    setrlimit(RLIMIT_NOFILE, &limit);
    check_one_line(said_back(), "Too many open files");
    CHECK_INT(err, -EMFILE);
}

// The charge of a ring just closed comes back late: a smaller one is tried.
TEST(uring_is_made_smaller_when_locked_memory_is_short)
{
    kernel.init_error = -ENOMEM;
    kernel.init_entries_most = 16;
    listen_to_stderr();
    struct pair pair = unix_pair();
    CHECK_INT(RUN(talks, .pair = pair), 0);
    CHECK_STR(said_back(), "");
    CHECK_INT(kernel.inits, 3);
    CHECK_INT(kernel.init_entries, 16);
    close_pair(pair);
}

static int open_and_close(void)
{
    struct coil_loop *loop;
    listen_to_stderr();
    int err = coil_loop_new(&loop, NULL);
    if (err == 0)
        coil_loop_close(loop);
    said_back();
    return err;
}

TEST(uring_survives_every_failed_allocation)
{
    test_every_allocation(open_and_close);
}

// They count as locked memory, whose charge comes back late.
TEST(uring_waits_for_the_memory_of_shared_buffers)
{
    stage_open();
    struct pair pair = unix_pair();
    struct coil_stream *s = coil_stream_new(pair.a);
    CHECK_INT(write(pair.b, "abc", 3), 3);
    kernel.register_failures = 4;
    CHECK_INT(wait_int(coil_stream_fill(s, 1)), 3);
    CHECK_INT(kernel.register_failures, 0);
    CHECK_INT(wait_int(coil_stream_close(s)), 0);
    close(pair.b);
    stage_close();
}

// They count as locked memory too. The stream can be asked again.
TEST(uring_without_shared_buffers_fails_who_receives)
{
    stage_open();
    struct pair pair = unix_pair();
    struct coil_stream *s = coil_stream_new(pair.a);
    kernel.register_error = -ENOMEM;
    CHECK_INT(wait_int(coil_stream_fill(s, 1)), -ENOMEM);
    CHECK_INT(wait_int(coil_stream_write(s, "x", 1)), 1);
    kernel.register_error = 0;
    CHECK_INT(write(pair.b, "abc", 3), 3);
    CHECK_INT(wait_int(coil_stream_fill(s, 1)), 3);
    CHECK_INT(wait_int(coil_stream_close(s)), 0);
    close(pair.b);
    stage_close();
}

/* ---- Workers ---------------------------------------------------------- */

/* The ring's descriptor, as /proc shows it. */
static int ring_fd(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int found = -1;
    for (struct dirent *e; dir && (e = readdir(dir));) {
        char path[64], target[64] = "";
        snprintf(path, sizeof path, "/proc/self/fd/%.20s", e->d_name);
        if (readlink(path, target, sizeof target - 1) > 0 &&
            strstr(target, "[io_uring]"))
            found = atoi(e->d_name);
    }
    if (dir)
        closedir(dir);
    return found;
}

// 311 threads for 8 operations on files have been seen elsewhere.
TEST(uring_caps_the_kernels_worker_threads_for_files)
{
    stage_open();
    unsigned most[2] = { 0, 0 }; /* zeroes ask */
    CHECK_INT(syscall(__NR_io_uring_register, ring_fd(),
                      IORING_REGISTER_IOWQ_MAX_WORKERS, most, 2),
              0);
    CHECK(most[0] > 0 && most[0] <= 8);
    stage_close();
}

/*
 * From here on this process can have no more threads, nor can the kernel make a
 * worker for it. Root has no such limit, so the process changes its user.
 */
static void forbid_threads(bool forbid)
{
    static struct rlimit limit;
    if (!forbid) { /* the leak checker starts one at the end */
        CHECK_INT(setrlimit(RLIMIT_NPROC, &limit), 0);
        return;
    }
    if (getuid() == 0)
        CHECK_INT(setresuid(65534, 65534, 65534), 0);
    prctl(PR_SET_DUMPABLE, 1); /* or /proc and leak checkers are closed to it */
    CHECK_INT(getrlimit(RLIMIT_NPROC, &limit), 0);
    CHECK_INT(setrlimit(RLIMIT_NPROC, &(struct rlimit){ 0, limit.rlim_max }),
              0);
}

/* A file to which no write can be made without a worker. */
static int synchronous_file(void)
{
    char name[] = "/tmp/coil-uring-XXXXXX";
    int fd = mkostemp(name, O_CLOEXEC | O_DSYNC);
    CHECK(fd >= 0);
    unlink(name);
    return fd;
}

// An operation that no task had cancelled ended with -ECANCELED: the write was
// lost, and no error was reported.
TEST(uring_without_workers_cancels_nothing)
{
    stage_open();
    int file = synchronous_file();
    struct pair pair = unix_pair(), tcp = tcp_pair(0);
    struct coil_stream *s = coil_stream_new(tcp.a);
    static char byte = 'x';
    forbid_threads(true);
    CHECK_INT(wait_int(coil_shutdown(pair.a, SHUT_WR)), 0);
    CHECK_INT(read(pair.b, &byte, 1), 0);
    CHECK_INT(wait_int(coil_stream_write_eof(s)), 0);
    CHECK_INT(read(tcp.b, &byte, 1), 0);
    CHECK_INT(wait_int(coil_pwrite(file, &byte, 1, 0)), -EAGAIN);
    CHECK_INT(wait_int(coil_pwrite(file, &byte, 1, 0)), -EAGAIN);
    CHECK_INT(wait_int(coil_close(file)), 0);
    CHECK_INT(wait_int(coil_stream_close(s)), 0);
    close(tcp.b);
    close_pair(pair);
    stage_close();
    forbid_threads(false);
}

// No other task awaits it, so its error is reported.
TEST(uring_without_workers_reports_the_task_that_has_failed)
{
    stage_open();
    int file = synchronous_file();
    static char byte = 'x';
    forbid_threads(true);
    coil_detach(coil_spawn(coil_pwrite(file, &byte, 1, 0)));
    UNTIL(stage_reported.n > 0);
    CHECK_INT(stage_reported.n, 1);
    CHECK_INT(stage_reported.err, -EAGAIN);
    close(file);
    stage_close();
    forbid_threads(false);
}

// Also in the pause between two tries. The caller has its buffer back at once.
TEST(uring_without_workers_still_cancels_when_asked)
{
    stage_open();
    int file = synchronous_file();
    static char byte = 'x';
    forbid_threads(true);
    struct coil_task *t = begin(coil_pwrite(file, &byte, 1, 0));
    coil_task_cancel(t);
    CHECK_INT(task_int(t), -ECANCELED);
    t = begin(coil_pwrite(file, &byte, 1, 0));
    CHECK_INT(wait_int(coil_close(file)), 0);
    CHECK_INT(task_int(t), -ECANCELED);
    stage_close();
    forbid_threads(false);
}

/* A unix socket whose backlog is full, and the connection that fills it. */
struct full {
    struct coil_addr addr;
    int listener, filler;
};

static int unix_socket(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    return fd;
}

static struct full full_listener(void)
{
    struct full full = { .listener = unix_socket(), .filler = unix_socket() };
    struct sockaddr *sa = &full.addr.u.sa;
    socklen_t len = sizeof(sa_family_t);
    full.addr.u.un.sun_family = AF_UNIX;
    CHECK_INT(bind(full.listener, sa, len), 0); /* the kernel makes a name */
    full.addr.len = sizeof full.addr.u.un;
    CHECK_INT(getsockname(full.listener, sa, &full.addr.len), 0);
    CHECK_INT(listen(full.listener, 0), 0);
    CHECK_INT(connect(full.filler, sa, full.addr.len), 0);
    return full;
}

static void accept_one(int listener)
{
    struct pollfd look = { .fd = listener, .events = POLLIN };
    UNTIL(poll(&look, 1, 0) == 1);
    int fd = accept(listener, NULL, NULL);
    CHECK(fd >= 0);
    close(fd);
}

// Each of the five took a worker, there were four, and no other operation that
// needs one could begin.
TEST(uring_connects_that_wait_for_a_backlog_delay_nothing)
{
    enum { N = 5 };
    stage_open();
    struct full full = full_listener(), other = full_listener();
    struct coil_task *waiting[N];
    int fds[N], fd = unix_socket();
    for (int i = 0; i < N; i++) {
        fds[i] = unix_socket();
        waiting[i] = begin(coil_connect(fds[i], &full.addr));
    }
    struct coil_task *reaches = begin(coil_connect(fd, &other.addr));
    stage_passes(200); /* the kernel tries 128 times before it takes a worker */
    accept_one(other.listener);
    CHECK_INT(task_int(reaches), 0);

    /* They wait as they did: accepted one by one, and one that is cancelled. */
    coil_task_cancel(waiting[N - 1]);
    CHECK_INT(task_int(waiting[N - 1]), -ECANCELED);
    for (int i = 0; i < N - 1; i++)
        CHECK(!coil_future_done(coil_task_future(waiting[i])));
    for (int i = 0; i < N; i++)
        accept_one(full.listener);
    for (int i = 0; i < N - 1; i++)
        CHECK_INT(task_int(waiting[i]), 0);
    for (int i = 0; i < N; i++)
        close(fds[i]);
    close(fd);
    close(full.listener);
    close(full.filler);
    close(other.listener);
    close(other.filler);
    stage_close();
}

// The pause between two tries grows, and a close ends the wait.
TEST(uring_connect_that_waits_for_a_backlog_does_not_spin)
{
    stage_open();
    struct full full = full_listener();
    int fd = unix_socket(), flags = fcntl(fd, F_GETFL);
    struct coil_task *t = begin(coil_connect(fd, &full.addr));
    struct coil_loop_stats before = stage_stats();
    CHECK_INT(wait_int(coil_sleep(COIL_MS(200))), 0);
    CHECK(stage_stats().enters - before.enters <= 40);
    CHECK(!coil_future_done(coil_task_future(t)));
    CHECK_INT(fcntl(fd, F_GETFL), flags);
    CHECK_INT(wait_int(coil_close(fd)), 0);
    CHECK_INT(task_int(t), -ECANCELED);
    CHECK(!is_open(fd));
    close(full.listener);
    close(full.filler);
    stage_close();
}

// Woken 128 times for bytes that another process took, an operation goes to a
// worker and waits there. The fifth of them had none, and never saw its bytes.
TEST(uring_operations_that_others_are_faster_than_delay_nothing)
{
    enum { N = 6 };
    stage_open();
    int fds[N][2];
    static char bytes[N];
    struct coil_task *waiting[N];
    for (int i = 0; i < N; i++) {
        CHECK_INT(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds[i]), 0);
        waiting[i] = begin(coil_recv(fds[i][0], &bytes[i], 1));
        for (int n = 0; n < 128; n++) {
            char byte;
            CHECK_INT(send(fds[i][1], "x", 1, 0), 1);
            if (recv(fds[i][0], &byte, 1, MSG_DONTWAIT) != 1)
                break; /* the worker was faster */
            stage_passes(1);
        }
    }
    for (int i = N - 1; i >= 0; i--) {
        if (!coil_future_done(coil_task_future(waiting[i])))
            CHECK_INT(send(fds[i][1], "x", 1, 0), 1);
        CHECK_INT(task_int(waiting[i]), 1);
    }
    for (int i = 0; i < N; i++) {
        close(fds[i][0]);
        close(fds[i][1]);
    }
    stage_close();
}

/* ---- Signals ---------------------------------------------------------- */

static volatile sig_atomic_t alarms;

static void count_alarm(int signal)
{
    (void)signal;
    alarms++;
}

/* A signal at every millisecond; no SA_RESTART. */
static void ring_the_alarm(int64_t interval)
{
    struct sigaction action = { .sa_handler = count_alarm };
    sigaction(SIGALRM, &action, NULL);
    struct timeval every = { .tv_usec = (suseconds_t)(interval / 1000) };
    struct itimerval timer = { .it_interval = every, .it_value = every };
    setitimer(ITIMER_REAL, &timer, NULL);
}

// A call that is interrupted for ever must not put timers off for ever.
TEST(uring_fires_timers_while_signals_interrupt_it)
{
    stage_open();
    ring_the_alarm(test_is_slow() ? COIL_MS(10) : COIL_MS(1));
    int64_t start = coil_now();
    for (int i = 0; i < 5; i++)
        CHECK_INT(wait_int(coil_sleep(COIL_MS(30))), 0);
    CHECK(coil_now() - start >= COIL_MS(150));
    CHECK(alarms > 0);
    ring_the_alarm(0);
    stage_close();
}

TEST(uring_loses_nothing_while_signals_interrupt_it)
{
    ring_the_alarm(test_is_slow() ? COIL_MS(10) : COIL_MS(1));
    kernel.interrupt_every = 3; /* and more than a timer can */
    struct pair pair = unix_pair();
    for (int i = 0; i < 10; i++)
        CHECK_INT(RUN(talks, .pair = pair), 0);
    ring_the_alarm(0);
    close_pair(pair);
}

// The default action kills the process: this case would not end well.
TEST(uring_send_to_a_peer_that_is_gone_raises_no_signal)
{
    stage_open();
    signal(SIGPIPE, SIG_DFL);
    for (int i = 0; i < 2; i++) {
        struct pair pair = i ? tcp_pair(0) : unix_pair();
        static char bytes[1 << 16];
        if (i)
            reset_on_close(pair.b);
        close(pair.b);
        int64_t n = 0;
        while (n >= 0)
            n = wait_int(coil_send(pair.a, bytes, sizeof bytes));
        CHECK(n == -EPIPE || n == -ECONNRESET);
        CHECK_INT(wait_int(coil_send(pair.a, bytes, 1)), -EPIPE);
        close(pair.a);
    }
    stage_close();
}

// Blocked in the kernel when the peer goes, not refused when it begins.
TEST(uring_send_that_waits_while_the_peer_goes_raises_no_signal)
{
    stage_open();
    signal(SIGPIPE, SIG_DFL);
    struct pair pair = tcp_pair(4096);
    static char bytes[1 << 20];
    struct coil_sender sender;
    coil_sender_init(&sender, pair.a);
    struct coil_task *t = coil_spawn(
        coil_sender_send(&sender, bytes, sizeof bytes));
    stage_passes(3);
    CHECK(!coil_task_done(t));
    close_with_reset(pair.b);
    int64_t n = task_int(t);
    CHECK(n == -EPIPE || n == -ECONNRESET);
    close(pair.a);
    stage_close();
}

/* ---- fork ------------------------------------------------------------- */

/* A child that ends without the harness's comparison. */
static void in_child(void (*does)(void *), void *arg)
{
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        does(arg);
        _exit(0);
    }
    int status;
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void has_no_loop_but_may_make_one(void *arg)
{
    CHECK(coil_loop_current() == NULL);
    CHECK_INT(ring_fd(), -1);
    struct pair pair = *(struct pair *)arg;
    if (under_valgrind()) /* it does not know MADV_DONTFORK */
        return;
    CHECK_INT(RUN(talks, .pair = pair), 0);
    CHECK(coil_loop_current() == NULL);
}

// A child that touches the shared ring corrupts it.
TEST(uring_belongs_to_the_parent_after_fork)
{
    stage_open();
    struct pair pair = unix_pair(), other = unix_pair();
    char buf[8];
    struct coil_task *flying = coil_spawn(coil_recv(pair.a, buf, sizeof buf));
    stage_passes(1);
    struct coil_task *queued = coil_spawn(coil_sleep(COIL_MS(1)));
    in_child(has_no_loop_but_may_make_one, &other);
    CHECK_INT(write(pair.b, "hello", 5), 5);
    CHECK_INT(task_int(flying), 5);
    CHECK_MEM(buf, "hello", 5);
    CHECK_INT(task_int(queued), 0);
    close_pair(pair);
    close_pair(other);
    stage_close();
}

static void writes_all_over(void *arg)
{
    memset(arg, 'x', 4096);
}

// Copy on write must not part the kernel's pages from the parent's.
TEST(uring_receives_into_shared_buffers_after_fork)
{
    stage_open();
    struct pair pair = tcp_pair(0);
    struct coil_stream *s = coil_stream_new(pair.a);
    struct pattern out = { .seed = 7 }, in = out;
    for (int i = 0; i < 40; i++) {
        char *data;
        pattern_send(&out, pair.b, 3000);
        int64_t n = wait_int(coil_stream_fill(s, 3000));
        CHECK(n >= 3000);
        n = (int64_t)coil_stream_peek(s, &data);
        if (i % 10 == 5)
            in_child(writes_all_over, data);
        pattern_check(&in, data, (size_t)n);
        coil_stream_consume(s, (size_t)n);
    }
    CHECK_INT(wait_int(coil_stream_close(s)), 0);
    close(pair.b);
    stage_close();
}

static char lent[4096];

// Lent to the parent's kernel: the child's copy is the child's.
TEST(uring_lends_nothing_of_a_child)
{
    stage_open();
    struct pair pair = unix_pair();
    struct coil_task *flying = begin(coil_recv(pair.a, lent, sizeof lent));
    in_child(writes_all_over, lent);
    CHECK_INT(write(pair.b, "hello", 5), 5);
    CHECK_INT(task_int(flying), 5);
    CHECK_MEM(lent, "hello", 5);
    close_pair(pair);
    stage_close();
}

/* ---- Waking ----------------------------------------------------------- */

struct waker {
    struct coil_loop *loop;
    struct coil_handle handle;
    atomic_int called, asked;
    int rounds;
};

static void on_call(void *arg)
{
    struct waker *w = arg;
    atomic_fetch_add(&w->called, 1);
}

/* Asks again only after the last call was made. */
static void *wake_often(void *arg)
{
    struct waker *w = arg;
    for (int i = 0; i < w->rounds; i++) {
        atomic_fetch_add(&w->asked, 1);
        coil_call_soon_threadsafe(w->loop, &w->handle, on_call, w);
        while (atomic_load(&w->called) <= i)
            sched_yield();
    }
    return NULL;
}

/* The loop has nothing else that could end its sleep. */
static void check_wakes(void)
{
    pthread_t thread;
    stage_open();
    struct waker w = { .loop = stage_loop,
                       .rounds = test_is_slow() ? 300 : 3000 };
    CHECK_INT(pthread_create(&thread, NULL, wake_often, &w), 0);
    while (atomic_load(&w.called) < w.rounds)
        coil_loop_pass(stage_loop, COIL_NEVER);
    CHECK_INT(pthread_join(thread, NULL), 0);
    stage_close();
}

// The poll that hears it is not one of the operations that are counted.
TEST(uring_hears_other_threads_while_no_operation_may_begin)
{
    static char buf[8];
    pthread_t thread;
    stage_open_with((struct coil_loop_options){ .operations_limit = 1 });
    struct pair pair = unix_pair();
    struct coil_task *t = coil_spawn(coil_recv(pair.a, buf, 1));
    stage_passes(3);
    CHECK_INT(wait_int(coil_recv(pair.a, buf, 1)), -ENOBUFS);
    struct waker w = { .loop = stage_loop, .rounds = 100 };
    CHECK_INT(pthread_create(&thread, NULL, wake_often, &w), 0);
    while (atomic_load(&w.called) < w.rounds)
        coil_loop_pass(stage_loop, COIL_NEVER);
    CHECK_INT(pthread_join(thread, NULL), 0);
    CHECK_INT(write(pair.b, "x", 1), 1);
    CHECK_INT(task_int(t), 1);
    close_pair(pair);
    stage_close();
}

// A wake-up that is lost once hangs a program once a week.
TEST(uring_hears_every_call_of_another_thread)
{
    check_wakes();
}

TEST(uring_hears_every_call_of_another_thread_on_older_kernels)
{
    for (size_t i = 1; i < RUNGS; i++) {
        kernel.forbidden_flags = rungs[i];
        check_wakes();
    }
}

// The kernel ends the poll that hears all calls when it finds no room for one
// of its completions.
TEST(uring_hears_other_threads_after_an_overflow)
{
    struct coil_task *tasks[64];
    stage_open_with(
        (struct coil_loop_options){ .sq_entries = 8, .cq_entries = 8 });
    struct pair pair = unix_pair();
    struct waker w = { .loop = stage_loop, .rounds = 10 };
    for (int round = 0; round < 10; round++) {
        struct coil_handle early = { 0 }, late = { 0 };
        for (int i = 0; i < 64; i++)
            tasks[i] = coil_spawn(coil_poll(pair.a, POLLIN));
        stage_passes(2);
        if (round % 2)
            coil_call_soon_threadsafe(stage_loop, &early, on_call, &w);
        CHECK_INT(write(pair.b, "x", 1), 1);
        if (round % 2 == 0)
            coil_call_soon_threadsafe(stage_loop, &late, on_call, &w);
        for (int i = 0; i < 64; i++) {
            stage_run(tasks[i]);
            coil_task_drop(&tasks[i]);
        }
        while (atomic_load(&w.called) <= round)
            coil_loop_pass(stage_loop, COIL_NEVER);
        char c;
        CHECK_INT(read(pair.a, &c, 1), 1);
    }
    struct coil_loop_stats stats;
    coil_loop_get_stats(stage_loop, &stats);
    CHECK(stats.overflows > 0);
    pthread_t thread;
    w = (struct waker){ .loop = stage_loop, .rounds = 100 };
    CHECK_INT(pthread_create(&thread, NULL, wake_often, &w), 0);
    while (atomic_load(&w.called) < w.rounds)
        coil_loop_pass(stage_loop, COIL_NEVER);
    CHECK_INT(pthread_join(thread, NULL), 0);
    close_pair(pair);
    stage_close();
}

// On an older kernel the completion of a wake-up shows while tasks are ready.
// Taken then, it must not be forgotten when they are not ready any more.
TEST(uring_wake_up_that_comes_while_tasks_are_ready_is_not_lost)
{
    kernel.forbidden_flags = rungs[RUNGS - 1];
    stage_open();
    stage_passes(3);
    for (int i = 0; i < 200; i++) {
        pthread_t thread;
        struct waker w = { .loop = stage_loop, .rounds = 1 };
        struct coil_handle busy = { 0 };
        coil_call_soon(&busy, on_call, &(struct waker){ .rounds = 0 });
        CHECK_INT(pthread_create(&thread, NULL, wake_often, &w), 0);
        while (!atomic_load(&w.asked))
            sched_yield();
        nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
        coil_loop_pass(stage_loop, 0); /* busy: it only looks */
        while (!atomic_load(&w.called))
            coil_loop_pass(stage_loop, COIL_NEVER);
        CHECK_INT(pthread_join(thread, NULL), 0);
    }
    stage_close();
}
