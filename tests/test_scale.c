// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_scale.c: to leave a list, to cancel, to close and to end takes the same
 * time per element with 16,000 elements as with 1,000.
 *
 * A case does the same with n elements and with 16 n. Linear work takes 16
 * times as long, quadratic work 256 times. The limit lies between the two, at
 * 80: caches that are too small cost less than a factor of 5. CPU time of the
 * thread is compared, on which other programs of the machine have little
 * effect; for the effect that they have, the best of several runs counts.
 */
#include "peer.h"

#include "http/client/pool.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <coil/barrier.h>
#include <coil/channel.h>
#include <coil/condition.h>
#include <coil/event.h>
#include <coil/executor.h>
#include <coil/group.h>
#include <coil/limiter.h>
#include <coil/lock.h>
#include <coil/queue.h>
#include <coil/race.h>
#include <coil/select.h>
#include <coil/semaphore.h>
#include <coil/sender.h>
#include <coil/shield.h>
#include <coil/signal.h>
#include <coil/task_pool.h>

enum { FEW = 1000, TIMES = 16, MANY = FEW * TIMES, LIMIT = 80 };

/* ---- Measuring -------------------------------------------------------- */

static int64_t clock_began, clock_ns;

static int64_t cpu_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Around the part that is measured; may be used several times. */
static void clock_on(void)
{
    clock_began = cpu_now();
}

static void clock_off(void)
{
    clock_ns += cpu_now() - clock_began;
}

static int64_t measure(void (*work)(size_t n), size_t n)
{
    clock_ns = 0;
    work(n);
    return clock_ns;
}

/*
 * Fails if 16 n elements take more than 80 times as long as n. A try that the
 * machine has disturbed is repeated.
 */
static void check_linear(void (*work)(size_t n))
{
    size_t few = test_is_slow() ? FEW / 8 : FEW;
    int64_t small = INT64_MAX, large = INT64_MAX;
    for (int tries = 0; tries < 10; tries++) {
        for (int i = 0; i < 3; i++) {
            int64_t took = measure(work, few);
            small = took < small ? took : small;
        }
        int64_t took = measure(work, few * TIMES);
        large = took < large ? took : large;
        test_note("%zu took %lld us, %zu took %lld us: %.1f times as long", few,
                  (long long)small / 1000, few * TIMES, (long long)large / 1000,
                  (double)large / (double)small);
        if (large < small * LIMIT)
            return;
    }
    test_fail(__FILE__, __LINE__,
              "%zu took %lld us, %zu took %lld us: %.1f times as long, at most "
              "%d allowed",
              few, (long long)small / 1000, few * TIMES,
              (long long)large / 1000, (double)large / (double)small, LIMIT);
}

/* ---- Orders ----------------------------------------------------------- */

static size_t order[MANY];

static void oldest_first(size_t n)
{
    for (size_t i = 0; i < n; i++)
        order[i] = i;
}

static void newest_first(size_t n)
{
    for (size_t i = 0; i < n; i++)
        order[i] = n - 1 - i;
}

/* Neighbours in the list are near in memory, so that caches do not count. */
static void from_the_middle(size_t n)
{
    for (size_t i = 0; i < n; i++)
        order[i] = i % 2 ? n / 2 - i / 2 - 1 : n / 2 + i / 2;
}

/* ---- Tasks that are cancelled ----------------------------------------- */

static struct coil_task *tasks[MANY];

/* Cancel all tasks in that order, and let them end. */
static void cancel_all(size_t n)
{
    for (size_t i = 0; i < n; i++)
        coil_task_cancel(tasks[order[i]]);
    for (size_t i = 0; i < n; i++)
        UNTIL(coil_task_done(tasks[i]));
}

static void drop_all(size_t n)
{
    for (size_t i = 0; i < n; i++)
        coil_task_drop(&tasks[i]);
}

/* Futures that `wait` makes, awaited by a task each, in three orders. */
static void cancel_waiters(size_t n, struct coil_future *(*wait)(size_t i))
{
    static void (*const orders[])(size_t) = { oldest_first, newest_first,
                                              from_the_middle };
    for (size_t k = 0; k < sizeof orders / sizeof *orders; k++) {
        orders[k](n);
        for (size_t i = 0; i < n; i++)
            tasks[i] = coil_spawn(wait(i));
        stage_passes(3);
        clock_on();
        cancel_all(n);
        clock_off();
        drop_all(n);
    }
}

/* ---- Sends in line ---------------------------------------------------- */

static struct coil_sender sender;

static struct coil_future *send_one(size_t i)
{
    (void)i;
    return coil_sender_send(&sender, "x", 1);
}

static void leave_sender(size_t n)
{
    static char block[1 << 20];
    stage_open();
    struct pair pair = tcp_pair(4096);
    coil_sender_init(&sender, pair.a);
    struct coil_task *first = begin(coil_sender_send(&sender, block,
                                                     sizeof block));
    cancel_waiters(n, send_one);
    CHECK(!coil_task_done(first));
    close_with_reset(pair.b);
    CHECK(task_int(first) < 0);
    close(pair.a);
    stage_close();
}

// 20,000 writes in line, cancelled newest first, took 2.3 s.
TEST(scale_sends_leave_their_line)
{
    check_linear(leave_sender);
}

/* ---- Connects that wait for a backlog ---------------------------------- */

static struct coil_addr full_addr;
static int connecting;

static struct coil_future *connect_full(size_t i)
{
    (void)i;
    return coil_connect(connecting, &full_addr);
}

static void leave_backlog(size_t n)
{
    enum { LISTENING, FILLER, CONNECTING, FDS };
    int fds[FDS];
    stage_open();
    for (int i = 0; i < FDS; i++)
        fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr *sa = &full_addr.u.sa;
    sa->sa_family = AF_UNIX;
    CHECK_INT(bind(fds[LISTENING], sa, sizeof sa->sa_family), 0);
    full_addr.len = sizeof full_addr.u;
    CHECK_INT(getsockname(fds[LISTENING], sa, &full_addr.len), 0);
    CHECK_INT(listen(fds[LISTENING], 0), 0);
    CHECK_INT(connect(fds[FILLER], sa, full_addr.len), 0);
    connecting = fds[CONNECTING];
    cancel_waiters(n, connect_full);
    for (int i = 0; i < FDS; i++)
        close(fds[i]);
    stage_close();
}

// The backend keeps them in a line of its own.
TEST(scale_connects_leave_a_full_backlog)
{
    check_linear(leave_backlog);
}

/* ---- Listeners to signals --------------------------------------------- */

static struct coil_future *listen_usr1(size_t i)
{
    (void)i;
    return coil_wait_signal(SIGUSR1);
}

static void leave_signal(size_t n)
{
    stage_open();
    struct coil_task *other = begin(coil_wait_signal(SIGUSR2));
    cancel_waiters(n, listen_usr1);
    coil_task_cancel(other);
    CHECK_INT(task_int(other), -ECANCELED);
    stage_close();
}

static void hear_signal(size_t n)
{
    stage_open();
    for (size_t i = 0; i < n; i++)
        tasks[i] = coil_spawn(coil_wait_signal(SIGUSR1));
    stage_passes(3);
    clock_on();
    CHECK_INT(kill(getpid(), SIGUSR1), 0);
    for (size_t i = 0; i < n; i++)
        CHECK_INT(stage_run(tasks[i]), 0);
    clock_off();
    drop_all(n);
    stage_close();
}

static size_t heard;

static void count_heard(void *arg)
{
    (void)arg;
    heard++;
}

/* As many arrivals of another signal as there are listeners. */
static void hear_other_signal(size_t n)
{
    struct coil_signal_handler handler = { 0 };
    stage_open();
    for (size_t i = 0; i < n; i++)
        tasks[i] = coil_spawn(coil_wait_signal(SIGUSR1));
    stage_passes(3);
    CHECK_INT(coil_signal_add_handler(&handler, SIGUSR2, count_heard, NULL), 0);
    heard = 0;
    clock_on();
    for (size_t i = 1; i <= n; i++) {
        CHECK_INT(kill(getpid(), SIGUSR2), 0);
        UNTIL(heard == i);
    }
    clock_off();
    oldest_first(n);
    cancel_all(n);
    drop_all(n);
    CHECK(coil_signal_remove_handler(&handler));
    stage_close();
}

// 20,000 tasks that waited for one signal took 1.6 s to cancel, or to wake.
TEST(scale_listeners_to_a_signal_leave)
{
    check_linear(leave_signal);
}

TEST(scale_listeners_to_a_signal_are_woken)
{
    check_linear(hear_signal);
}

TEST(scale_listeners_to_other_signals_cost_nothing)
{
    check_linear(hear_other_signal);
}

/* ---- Waiters of one future -------------------------------------------- */

static struct coil_future *shared;

static void not_called(void *arg)
{
    (void)arg;
    CHECK(false);
}

static void remove_callbacks(size_t n)
{
    static struct coil_handle handles[MANY];
    static void (*const orders[])(size_t) = { oldest_first, newest_first,
                                              from_the_middle };
    stage_open();
    shared = coil_future_new();
    for (size_t k = 0; k < sizeof orders / sizeof *orders; k++) {
        orders[k](n);
        for (size_t i = 0; i < n; i++)
            coil_future_add_done_callback(shared, &handles[i], not_called,
                                          NULL);
        clock_on();
        for (size_t i = 0; i < n; i++)
            CHECK(coil_future_remove_done_callback(shared, &handles[order[i]]));
        for (size_t i = 0; i < n; i++)
            CHECK(!coil_handle_cancel(&handles[i]));
        clock_off();
    }
    coil_future_unref(shared);
    stage_close();
}

static struct coil_future *wait_for_shared(size_t i)
{
    (void)i;
    return coil_wait(&shared, 1, COIL_ALL_COMPLETED, COIL_NEVER);
}

static struct coil_task *shared_task;

static struct coil_future *shield_shared(size_t i)
{
    (void)i;
    return coil_shield(shared_task);
}

static void leave_wait(size_t n)
{
    stage_open();
    shared = coil_future_new();
    cancel_waiters(n, wait_for_shared);
    shared_task = begin(coil_future_ref(shared));
    cancel_waiters(n, shield_shared);
    coil_task_cancel(shared_task);
    CHECK_INT(task_int(shared_task), -ECANCELED);
    coil_future_unref(shared);
    stage_close();
}

static struct coil_queue queues[MANY];
static struct coil_case cases[MANY][2];

static struct coil_future *select_or_stop(size_t i)
{
    cases[i][0] = coil_case_get(&queues[i]);
    cases[i][1] = coil_case_future(shared);
    return coil_select(cases[i], 2);
}

/* Each gets an item in turn, and then selects again. */
static void select_items(size_t n)
{
    stage_open();
    shared = coil_future_new();
    for (size_t i = 0; i < n; i++)
        coil_queue_init(&queues[i], 1);
    from_the_middle(n);
    for (size_t i = 0; i < n; i++)
        tasks[i] = coil_spawn(select_or_stop(i));
    stage_passes(3);
    clock_on();
    for (size_t i = 0; i < n; i++) {
        size_t k = order[i];
        CHECK_INT(coil_queue_put_nowait(&queues[k], &queues[k]), 0);
        CHECK_INT(stage_run(tasks[k]), 0);
    }
    clock_off();
    drop_all(n);
    cancel_waiters(n, select_or_stop);
    for (size_t i = 0; i < n; i++)
        coil_queue_fini(&queues[i]);
    coil_future_unref(shared);
    stage_close();
}

// One item of 10,000 tasks that share a stop took 23 to 33 us.
TEST(scale_selects_leave_a_shared_future)
{
    check_linear(select_items);
}

TEST(scale_callbacks_are_removed)
{
    check_linear(remove_callbacks);
}

TEST(scale_waits_and_shields_leave_a_shared_task)
{
    check_linear(leave_wait);
}

/* ---- Tasks in a row --------------------------------------------------- */

enum { DEEP = 200000 };

static size_t freed;

static void count_freed(char *text)
{
    CHECK_STR(text, "result");
    freed++;
}

static struct coil_task *in_a_row[DEEP];

/* Returns the result of another one; the last of the row makes it. */
struct in_row {
    struct coil_coro coro;
    struct coil_task **next;
};

static void in_row(struct coil_coro *co)
{
    static char text[] = "result";
    ASYNC_GIVES(in_row, my, count_freed) {
        if (my->next)
            RETURN_AWAIT(*my->next);
        AWAIT(coil_future_ref(shared));
        RETURN(text);
    }
}

/* Each task awaits the one before it. */
static void spawn_row(size_t n)
{
    for (size_t i = 0; i < n; i++)
        in_a_row[i] = coil_spawn(
            CALL(in_row, .next = i ? &in_a_row[i - 1] : NULL));
}

/* Each task awaits the one that is spawned behind it. */
static void spawn_row_forwards(size_t n)
{
    for (size_t i = 0; i < n; i++)
        in_a_row[i] = coil_spawn(
            CALL(in_row, .next = i + 1 < n ? &in_a_row[i + 1] : NULL));
}

/* Drop all of them. Each is held by the one that has its result. */
static void free_row(size_t n)
{
    stage_open();
    shared = coil_future_new();
    freed = 0;
    spawn_row(n);
    stage_passes(2);
    coil_future_set_int(shared, 0);
    CHECK_INT(stage_run(in_a_row[n - 1]), 0);
    for (size_t i = 0; i + 1 < n; i++)
        coil_task_drop(&in_a_row[i]);
    CHECK_INT(freed, 0);
    clock_on();
    coil_task_drop(&in_a_row[n - 1]);
    clock_off();
    CHECK_INT(freed, 1);
    coil_future_unref(shared);
    stage_close();
}

// 200,000 of them were freed recursively, and the C stack overflowed.
TEST(scale_results_that_were_passed_on_are_freed_flat)
{
    check_linear(free_row);
    free_row(DEEP);
}

struct spawner {
    struct coil_coro coro;
    size_t n;
    void (*spawn)(size_t n);
    bool in_group;
    struct coil_group group;
};

static void spawner(struct coil_coro *co)
{
    ASYNC(spawner, my) {
        if (my->in_group) {
            GROUP(&my->group) {
                my->spawn(my->n);
                AWAIT(coil_future_ref(shared));
                AWAIT(coil_sleep(0));
                coil_group_cancel(&my->group);
            }
        } else {
            my->spawn(my->n);
            AWAIT(coil_future_ref(shared));
        }
    }
}

static void end_row(size_t n, bool in_group, void (*spawn)(size_t n))
{
    shared = coil_future_new();
    struct coil_task *t = begin(
        CALL(spawner, .n = n, .spawn = spawn, .in_group = in_group));
    clock_on();
    coil_future_set_int(shared, 0);
    CHECK_INT(stage_run(t), 0);
    clock_off();
    for (size_t i = 0; i < n; i++)
        in_a_row[i] = NULL;
    coil_task_drop(&t);
    coil_future_unref(shared);
}

static void end_rows(size_t n)
{
    stage_open();
    end_row(n, false, spawn_row);
    end_row(n, false, spawn_row_forwards);
    stage_close();
}

static void end_grouped_rows(size_t n)
{
    stage_open();
    end_row(n, true, spawn_row);
    end_row(n, true, spawn_row_forwards);
    stage_close();
}

// 8,000 tasks that await each other in a row took 0.4 s to end.
TEST(scale_tasks_in_a_row_end_with_their_spawner)
{
    check_linear(end_rows);
}

TEST(scale_tasks_in_a_row_end_with_their_group)
{
    check_linear(end_grouped_rows);
}

/* ---- Descriptors ------------------------------------------------------ */

static int descriptors[MANY];

/*
 * Descriptors with an operation in flight on each. The kernel finds operations
 * that are to be cancelled in a table as large as the ring.
 */
static void open_descriptors(size_t n)
{
    stage_open_with((struct coil_loop_options){ .cq_entries = 16384 });
    for (size_t i = 0; i < n; i++) {
        descriptors[i] = eventfd(0, EFD_CLOEXEC);
        CHECK(descriptors[i] >= 0);
        tasks[i] = coil_spawn(coil_poll(descriptors[i], POLLIN));
    }
    stage_passes(3);
    from_the_middle(n);
}

static void close_one_by_one(size_t n)
{
    open_descriptors(n);
    clock_on();
    for (size_t i = 0; i < n; i++) {
        CHECK_INT(wait_int(coil_close(descriptors[order[i]])), 0);
        CHECK_INT(task_int(tasks[order[i]]), -ECANCELED);
    }
    clock_off();
    stage_close();
}

static void close_together(size_t n)
{
    static struct coil_task *closes[MANY];
    open_descriptors(n);
    clock_on();
    for (size_t i = 0; i < n; i++)
        closes[i] = coil_spawn(coil_close(descriptors[order[i]]));
    for (size_t i = 0; i < n; i++) {
        CHECK_INT(task_int(closes[i]), 0);
        CHECK_INT(task_int(tasks[order[i]]), -ECANCELED);
    }
    clock_off();
    stage_close();
}

static void allow_descriptors(void)
{
    struct rlimit limit;
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_max < MANY + 100)
        SKIP("too few descriptors are allowed: ulimit -Hn");
    limit.rlim_cur = limit.rlim_max;
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

// The close of one of 10,000 looked at the operations of all: 24 us.
TEST(scale_descriptors_are_closed_one_by_one)
{
    allow_descriptors();
    check_linear(close_one_by_one);
}

TEST(scale_descriptors_are_closed_together)
{
    allow_descriptors();
    check_linear(close_together);
}

/* ---- Everything else that tasks wait for -------------------------------- */

static struct coil_lock lock;
static struct coil_condition condition;
static struct coil_semaphore semaphore;
static struct coil_event event;
static struct coil_barrier barrier;
static struct coil_limiter limiter;
static struct coil_task_pool pool;
static struct coil_queue empty, full;
static struct coil_channel *empty_channel, *full_channel;
static struct coil_completions completions;

static struct coil_future *wait_for_lock(size_t i)
{
    (void)i;
    return coil_lock_acquire(&lock);
}

struct notified {
    struct coil_coro coro;
};

static void notified(struct coil_coro *co)
{
    ASYNC(notified) {
        HOLD(&condition);
        AWAIT(coil_condition_wait(&condition));
    }
}

static struct coil_future *wait_for_condition(size_t i)
{
    (void)i;
    return CALL(notified);
}

static struct coil_future *wait_for_semaphore(size_t i)
{
    (void)i;
    return coil_semaphore_acquire(&semaphore);
}

static struct coil_future *wait_for_event(size_t i)
{
    (void)i;
    return coil_event_wait(&event);
}

static struct coil_future *wait_for_barrier(size_t i)
{
    (void)i;
    return coil_barrier_wait(&barrier);
}

static struct coil_future *wait_for_limiter(size_t i)
{
    return coil_limiter_acquire_for(&limiter, &tasks[i]);
}

static struct coil_future *wait_for_pool(size_t i)
{
    (void)i;
    return coil_task_pool_spawn(&pool, coil_sleep(0));
}

static struct coil_future *wait_for_item(size_t i)
{
    (void)i;
    return coil_queue_get(&empty);
}

static struct coil_future *wait_for_place(size_t i)
{
    (void)i;
    return coil_queue_put(&full, &full);
}

static struct coil_future *wait_for_channel_item(size_t i)
{
    (void)i;
    return coil_channel_get(empty_channel);
}

static struct coil_future *wait_for_channel_place(size_t i)
{
    (void)i;
    return coil_channel_put(full_channel, full_channel);
}

static struct coil_future *wait_for_completion(size_t i)
{
    (void)i;
    return coil_completions_next(&completions);
}

static struct coil_future *wait_for_time(size_t i)
{
    return coil_sleep(COIL_SECONDS(1000 + (int64_t)(i * 7919 % MANY)));
}

/* Each primitive with `n` waiters, which are cancelled in several orders. */
static void leave_primitives(size_t n, struct coil_future *(*wait)(size_t i))
{
    stage_open();
    coil_lock_init(&lock);
    coil_condition_init(&condition, &lock);
    coil_semaphore_init(&semaphore, 0);
    coil_event_init(&event);
    coil_barrier_init(&barrier, MANY + 1);
    coil_limiter_init(&limiter, 0);
    coil_task_pool_init(&pool, 0);
    coil_queue_init(&empty, 1);
    coil_queue_init(&full, 1);
    CHECK_INT(coil_queue_put_nowait(&full, &full), 0);
    empty_channel = coil_channel_new(1, NULL);
    full_channel = coil_channel_new(1, NULL);
    CHECK_INT(coil_channel_put_nowait(full_channel, full_channel), 0);
    struct coil_task *late = begin(coil_sleep(COIL_SECONDS(1000)));
    CHECK_INT(coil_completions_init(&completions, &late, 1, COIL_NEVER), 0);
    if (wait == wait_for_lock)
        CHECK_INT(coil_lock_acquire_nowait(&lock), 0);
    cancel_waiters(n, wait);
    coil_completions_fini(&completions);
    coil_task_cancel(late);
    stage_passes(2);
    coil_task_drop(&late);
    coil_queue_fini(&empty);
    coil_queue_fini(&full);
    coil_channel_unref(empty_channel);
    coil_channel_unref(full_channel);
    stage_close();
}

#define PRIMITIVE(name) \
    static void leave_##name(size_t n) \
    { \
        leave_primitives(n, wait_for_##name); \
    }

PRIMITIVE(lock)
PRIMITIVE(condition)
PRIMITIVE(semaphore)
PRIMITIVE(event)
PRIMITIVE(barrier)
PRIMITIVE(limiter)
PRIMITIVE(pool)
PRIMITIVE(item)
PRIMITIVE(place)
PRIMITIVE(channel_item)
PRIMITIVE(channel_place)
PRIMITIVE(completion)
PRIMITIVE(time)

TEST(scale_waiters_for_a_lock_leave)
{
    check_linear(leave_lock);
}

TEST(scale_waiters_for_a_condition_leave)
{
    check_linear(leave_condition);
}

TEST(scale_waiters_for_a_semaphore_leave)
{
    check_linear(leave_semaphore);
}

TEST(scale_waiters_for_an_event_leave)
{
    check_linear(leave_event);
}

TEST(scale_waiters_at_a_barrier_leave)
{
    check_linear(leave_barrier);
}

TEST(scale_waiters_for_a_limiter_leave)
{
    check_linear(leave_limiter);
}

TEST(scale_waiters_for_a_task_pool_leave)
{
    check_linear(leave_pool);
}

TEST(scale_waiters_for_an_item_leave)
{
    check_linear(leave_item);
}

TEST(scale_waiters_for_a_place_in_a_queue_leave)
{
    check_linear(leave_place);
}

TEST(scale_waiters_for_an_item_of_a_channel_leave)
{
    check_linear(leave_channel_item);
}

TEST(scale_waiters_for_a_place_in_a_channel_leave)
{
    check_linear(leave_channel_place);
}

TEST(scale_waiters_for_a_completion_leave)
{
    check_linear(leave_completion);
}

TEST(scale_sleepers_are_cancelled)
{
    check_linear(leave_time);
}

/* ---- Items that no await took ------------------------------------------- */

/* Each task has got an item. The tasks are dropped, and the items put back. */
static void put_back(size_t n, void (*order_of)(size_t),
                     struct coil_future *(*get)(size_t i), int (*put)(void *))
{
    for (size_t i = 0; i < n; i++)
        tasks[i] = coil_spawn(get(i));
    stage_passes(2);
    for (size_t i = 0; i < n; i++)
        CHECK_INT(put(&tasks[i]), 0);
    stage_passes(3);
    order_of(n);
    clock_on();
    for (size_t i = 0; i < n; i++)
        coil_task_drop(&tasks[order[i]]);
    clock_off();
}

static int put_item(void *item)
{
    return coil_queue_put_nowait(&empty, item);
}

static int put_in_channel(void *item)
{
    return coil_channel_put_nowait(empty_channel, item);
}

static void put_back_items(size_t n)
{
    static void (*const orders[])(size_t) = { oldest_first, newest_first,
                                              from_the_middle };
    void *item;
    stage_open();
    for (size_t k = 0; k < 6; k++) {
        if (k < 3)
            coil_queue_init(&empty, n);
        else
            coil_queue_init_lifo(&empty, n);
        put_back(n, orders[k % 3], wait_for_item, put_item);
        for (size_t i = 0; i < n; i++) {
            CHECK_INT(coil_queue_get_nowait(&empty, &item), 0);
            CHECK(item == &tasks[k < 3 ? i : n - 1 - i]);
        }
        coil_queue_fini(&empty);
    }
    empty_channel = coil_channel_new(n, NULL);
    for (size_t k = 0; k < 3; k++) {
        put_back(n, orders[k], wait_for_channel_item, put_in_channel);
        for (size_t i = 0; i < n; i++) {
            CHECK_INT(coil_channel_get_nowait(empty_channel, &item), 0);
            CHECK(item == &tasks[i]);
        }
    }
    coil_channel_unref(empty_channel);
    stage_close();
}

// Each item was moved past all older ones, or in a LIFO queue all newer ones.
TEST(scale_items_are_put_back)
{
    check_linear(put_back_items);
}

/* ---- Jobs that no thread has taken yet ---------------------------------- */

static struct coil_executor *executor;

static struct coil_result do_nothing(void *arg)
{
    (void)arg;
    return coil_result_int(0);
}

static struct coil_result wait_for_end(void *fd)
{
    uint64_t times;
    return coil_result_int(read(*(int *)fd, &times, sizeof times));
}

static struct coil_future *queue_job(size_t i)
{
    (void)i;
    return coil_run_in_executor(executor, do_nothing, NULL);
}

static void leave_executor(size_t n)
{
    struct coil_executor_options options = COIL_EXECUTOR_OPTIONS_INIT;
    options.threads_limit = 1;
    int end = eventfd(0, EFD_CLOEXEC);
    stage_open();
    executor = coil_executor_new(&options);
    struct coil_task *first = begin(
        coil_run_in_executor(executor, wait_for_end, &end));
    cancel_waiters(n, queue_job);
    CHECK_INT(eventfd_write(end, 1), 0);
    CHECK_INT(task_int(first), 8);
    coil_executor_free(executor);
    close(end);
    stage_close();
}

TEST(scale_jobs_leave_the_queue_of_an_executor)
{
    check_linear(leave_executor);
}

/* ---- The line for HTTP connections -------------------------------------- */

static struct coili_pool connections;
static struct coili_lease leases[MANY];
static struct coili_origin *origins[MANY];

static struct coil_future *wait_for_connection(size_t i)
{
    return coili_pool_wait(origins[i], &leases[i], COIL_NEVER);
}

static void pool_ended(void *arg)
{
    (void)arg;
}

/* Requests to `hosts` hosts wait for the only connection. */
static void leave_connections(size_t n, size_t hosts)
{
    struct coili_lease taken = { .conn = NULL };
    stage_open();
    coili_pool_init(&connections, pool_ended, NULL);
    connections.limit = 1;
    for (size_t i = 0; i < n; i++) {
        char text[40];
        struct coil_url url;
        snprintf(text, sizeof text, "http://h%zu/", i % hosts);
        CHECK_INT(coil_url_parse(&url, text, strlen(text)), 0);
        origins[i] = coili_origin_find(&connections, &url, (struct coili_tls){ NULL, NULL });
    }
    CHECK_INT(coili_pool_take(origins[0], &taken), 0);
    cancel_waiters(n, wait_for_connection);
    coili_lease_drop(&taken);
    for (size_t i = 0; i < n; i++)
        coili_origin_unref(origins[i]);
    coili_pool_fini(&connections);
    stage_close();
}

static void leave_one_host(size_t n)
{
    leave_connections(n, 1);
}

static void leave_many_hosts(size_t n)
{
    leave_connections(n, n);
}

TEST(scale_requests_to_one_host_leave_their_line)
{
    check_linear(leave_one_host);
}

TEST(scale_requests_to_many_hosts_leave_their_line)
{
    check_linear(leave_many_hosts);
}

/* ---- Groups and combinators --------------------------------------------- */

struct crowd {
    struct coil_coro coro;
    size_t n;
    struct coil_group group;
};

static void crowd(struct coil_coro *co)
{
    ASYNC(crowd, my) {
        GROUP(&my->group) {
            for (size_t i = 0; i < my->n; i++)
                tasks[i] = SPAWN(notified);
            AWAIT(coil_future_ref(shared));
        }
    }
}

/* A group whose tasks hold a lock one after the other is cancelled. */
static void cancel_group(size_t n)
{
    stage_open();
    coil_lock_init(&lock);
    coil_condition_init(&condition, &lock);
    shared = coil_future_new();
    struct coil_task *t = begin(CALL(crowd, .n = n));
    clock_on();
    coil_task_cancel(t);
    UNTIL(coil_task_done(t));
    clock_off();
    coil_task_drop(&t);
    coil_future_unref(shared);
    stage_close();
}

static void wait_in_any_way(size_t n, struct coil_future *wait)
{
    struct coil_task *t = begin(wait);
    clock_on();
    coil_task_cancel(t);
    for (size_t i = 0; i < n; i++)
        coil_task_cancel(tasks[i]);
    UNTIL(coil_task_done(t));
    for (size_t i = 0; i < n; i++)
        UNTIL(coil_task_done(tasks[i]));
    clock_off();
    coil_task_drop(&t);
    drop_all(n);
}

static void spawn_sleepers(size_t n)
{
    for (size_t i = 0; i < n; i++)
        tasks[i] = coil_spawn(coil_sleep(COIL_SECONDS(1000)));
}

static void cancel_combinators(size_t n)
{
    stage_open();
    spawn_sleepers(n);
    wait_in_any_way(n, coil_gather(tasks, n));
    spawn_sleepers(n);
    wait_in_any_way(n, coil_gather_settled(tasks, n));
    spawn_sleepers(n);
    wait_in_any_way(n, coil_wait(tasks, n, COIL_FIRST_EXCEPTION, COIL_NEVER));
    spawn_sleepers(n);
    wait_in_any_way(n, coil_race(tasks, n));
    spawn_sleepers(n);
    wait_in_any_way(n, coil_cancel_and_wait(tasks, n));
    stage_close();
}

TEST(scale_groups_are_cancelled)
{
    check_linear(cancel_group);
}

TEST(scale_combinators_are_cancelled)
{
    check_linear(cancel_combinators);
}

static struct coil_future *pending[MANY];

COROUTINE(end_with, struct coil_future *future;)
{
    ASYNC(end_with, my) {
        AWAIT(my->future);
    }
}

/* All tasks end in one pass, the last one first. */
static void wait_for_first(size_t n)
{
    static struct coil_future *all[MANY];
    stage_open();
    for (size_t i = 0; i < n; i++) {
        pending[i] = coil_future_new();
        tasks[i] = SPAWN(end_with, .future = coil_future_ref(pending[i]));
        all[i] = coil_task_future(tasks[i]);
    }
    struct coil_task *first = begin(coil_wait(all, n, COIL_FIRST_COMPLETED,
                                              COIL_NEVER));
    for (size_t i = n; i-- > 0;)
        coil_future_set_int(pending[i], 0);
    clock_on();
    stage_passes(3);
    clock_off();
    CHECK(coil_task_done(first));
    coil_task_drop(&first);
    for (size_t i = 0; i < n; i++)
        coil_future_unref(pending[i]);
    drop_all(n);
    stage_close();
}

// Callbacks that were ready were searched for in the ready queue: 100,000 of
// them stopped the loop for 69 s.
TEST(scale_wait_leaves_tasks_that_end_in_one_pass)
{
    check_linear(wait_for_first);
}

/* ---- Calls ------------------------------------------------------------ */

static struct coil_handle calls[MANY];

static void call_soon(size_t i)
{
    coil_call_soon(&calls[i], not_called, NULL);
}

static void call_from_thread(size_t i)
{
    coil_call_soon_threadsafe(stage_loop, &calls[i], not_called, NULL);
}

static void call_at(size_t i)
{
    CHECK_INT(coil_call_at(&calls[i], (int64_t)i / 2, not_called, NULL), 0);
}

static void call_at_close(size_t i)
{
    coil_call_at_close(&calls[i], not_called, NULL);
}

static void cancel_calls(void *n)
{
    clock_on();
    for (size_t i = 0; i < *(const size_t *)n; i++)
        CHECK(coil_handle_cancel(&calls[order[i]]));
    clock_off();
}

/* Before the pass in which the calls are due, and in that pass. */
static void withdraw_calls(size_t n)
{
    static void (*const ways[])(size_t) = { call_soon, call_from_thread,
                                            call_at, call_at_close };
    static void (*const orders[])(size_t) = { oldest_first, newest_first,
                                              from_the_middle };
    struct coil_handle first = { 0 };
    stage_open();
    for (size_t k = 0; k < 12; k++) {
        orders[k % 3](n);
        for (size_t i = 0; i < n; i++)
            ways[k / 3](i);
        cancel_calls(&n);
        coil_call_soon(&first, cancel_calls, &n);
        for (size_t i = 0; i < n; i++)
            ways[k / 3](i);
        stage_passes(1);
    }
    stage_close();
}

TEST(scale_calls_are_withdrawn)
{
    check_linear(withdraw_calls);
}

/* ---- Dumps ------------------------------------------------------------ */

static void dump(void)
{
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    clock_on();
    coil_dump(fd);
    clock_off();
    close(fd);
}

COROUTINE(call_deep, size_t levels; bool spawn;)
{
    ASYNC(call_deep, my) {
        if (my->spawn)
            SPAWN(end_with, .future = coil_future_ref(shared));
        if (my->levels > 0)
            AWAIT(
                CALL(call_deep, .levels = my->levels - 1, .spawn = my->spawn));
        else
            AWAIT(coil_future_ref(shared));
    }
}

COROUTINE(spawn_deep, size_t levels;)
{
    ASYNC(spawn_deep, my) {
        if (my->levels > 0)
            SPAWN(spawn_deep, .levels = my->levels - 1);
        AWAIT(coil_future_ref(shared));
    }
}

/* Frames that call each other, with a child each, and tasks in tasks. */
static void dump_deep(size_t n)
{
    stage_open();
    for (int way = 0; way < 3; way++) {
        shared = coil_future_new();
        struct coil_task *task = way == 2 ? SPAWN(spawn_deep, .levels = n)
                                          : SPAWN(call_deep, .levels = n,
                                                  .spawn = way);
        stage_passes((int)n + 3);
        dump();
        coil_future_set_int(shared, 0);
        CHECK_INT(stage_run(task), 0);
        coil_task_drop(&task);
        stage_passes(3);
        coil_future_unref(shared);
    }
    stage_close();
}

TEST(scale_dump_of_deep_trees)
{
    check_linear(dump_deep);
}
