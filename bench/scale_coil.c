// SPDX-License-Identifier: MIT
/*
 * scale_coil.c: every list of coil that is left, with many elements in it.
 *
 *     scale_coil [--quick] [--row ROW] [--elements N]
 *
 * Most rows cancel tasks that wait, and let them end. Futures that wait are
 * awaited by a task each, as in a program.
 */
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <coil/as_completed.h>
#include <coil/barrier.h>
#include <coil/channel.h>
#include <coil/condition.h>
#include <coil/coroutine.h>
#include <coil/event.h>
#include <coil/executor.h>
#include <coil/group.h>
#include <coil/io.h>
#include <coil/limiter.h>
#include <coil/lock.h>
#include <coil/queue.h>
#include <coil/select.h>
#include <coil/semaphore.h>
#include <coil/sender.h>
#include <coil/shield.h>
#include <coil/signal.h>
#include <coil/task.h>
#include <coil/task_pool.h>
#include <coil/wait.h>

#include "scale.h"

typedef struct coil_future *wait_fn(size_t i);

static struct coil_loop *loop;
static struct coil_task *tasks[MOST];
static struct coil_handle handles[MOST];
static struct coil_future *shared; /* pending; what a row's elements share */

static void check(int err)
{
    if (err < 0)
        die("failed: %s", coil_strerror(err));
}

static void passes(int n)
{
    while (n-- > 0)
        coil_loop_pass(loop, 0);
}

/* The result, or the error, of a task that ends. */
static int64_t result_of(struct coil_task *task)
{
    check(coil_loop_run_until_complete(loop, task));
    struct coil_future *f = coil_task_future(task);
    int err = coil_future_error(f);
    return err ? err : coil_future_int(f);
}

/* ---- Waiters that are cancelled ----------------------------------------- */

static void spawn_waiters(size_t n, wait_fn *wait)
{
    for (size_t i = 0; i < n; i++)
        tasks[i] = coil_spawn(wait(i));
    passes(3);
}

static void end_tasks(size_t n)
{
    for (size_t i = 0; i < n; i++) {
        while (!coil_task_done(tasks[i]))
            coil_loop_pass(loop, COIL_MS(5));
    }
}

static void drop_tasks(size_t n)
{
    for (size_t i = 0; i < n; i++)
        coil_task_drop(&tasks[i]);
}

static void cancel_waiters(size_t n, wait_fn *wait)
{
    spawn_waiters(n, wait);
    measured_on();
    for (size_t i = 0; i < n; i++)
        coil_task_cancel(tasks[from_middle(i, n)]);
    end_tasks(n);
    measured_off();
    drop_tasks(n);
}

/* ---- Primitives --------------------------------------------------------- */

static struct coil_future *wait_lock(size_t i)
{
    static struct coil_lock lock;
    if (i == 0) {
        coil_lock_init(&lock);
        check(coil_lock_acquire_nowait(&lock));
    }
    return coil_lock_acquire(&lock);
}

static struct coil_lock condition_lock;
static struct coil_condition condition;

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

static struct coil_future *wait_condition(size_t i)
{
    if (i == 0) {
        coil_lock_init(&condition_lock);
        coil_condition_init(&condition, &condition_lock);
    }
    return CALL(notified);
}

static struct coil_future *wait_semaphore(size_t i)
{
    static struct coil_semaphore semaphore;
    if (i == 0)
        coil_semaphore_init(&semaphore, 0);
    return coil_semaphore_acquire(&semaphore);
}

static struct coil_future *wait_event(size_t i)
{
    static struct coil_event event;
    if (i == 0)
        coil_event_init(&event);
    return coil_event_wait(&event);
}

static struct coil_future *wait_barrier(size_t i)
{
    static struct coil_barrier barrier;
    if (i == 0)
        coil_barrier_init(&barrier, MOST + 1);
    return coil_barrier_wait(&barrier);
}

static struct coil_future *wait_limiter(size_t i)
{
    static struct coil_limiter limiter;
    if (i == 0)
        coil_limiter_init(&limiter, 0);
    return coil_limiter_acquire_for(&limiter, &tasks[i]);
}

static struct coil_future *wait_task_pool(size_t i)
{
    static struct coil_task_pool pool;
    if (i == 0)
        coil_task_pool_init(&pool, 0);
    return coil_task_pool_spawn(&pool, coil_sleep(0));
}

static struct coil_future *wait_item(size_t i)
{
    static struct coil_queue queue;
    if (i == 0)
        coil_queue_init(&queue, 1);
    return coil_queue_get(&queue);
}

static struct coil_channel *channel;

static struct coil_future *wait_channel(size_t i)
{
    (void)i;
    return coil_channel_get(channel);
}

static struct coil_completions completions;

static struct coil_future *wait_completion(size_t i)
{
    (void)i;
    return coil_completions_next(&completions);
}

static struct coil_future *wait_signal(size_t i)
{
    (void)i;
    return coil_wait_signal(SIGUSR1);
}

static struct coil_future *wait_time(size_t i)
{
    return coil_sleep(COIL_SECONDS(1000 + (int64_t)(i * 7919 % MOST)));
}

static struct coil_future *wait_shared(size_t i)
{
    (void)i;
    return coil_wait(&shared, 1, COIL_ALL_COMPLETED, COIL_NEVER);
}

static struct coil_task *shielded;

static struct coil_future *wait_shielded(size_t i)
{
    (void)i;
    return coil_shield(shielded);
}

static struct coil_queue queues[MOST];
static struct coil_case cases[MOST][2];

static struct coil_future *wait_select(size_t i)
{
    cases[i][0] = coil_case_get(&queues[i]);
    cases[i][1] = coil_case_future(shared);
    return coil_select(cases[i], 2);
}

#define ROW(name) \
    static void name##_row(size_t n) \
    { \
        cancel_waiters(n, wait_##name); \
    }

ROW(lock)
ROW(condition)
ROW(semaphore)
ROW(event)
ROW(barrier)
ROW(limiter)
ROW(task_pool)
ROW(item)
ROW(signal)
ROW(time)
ROW(shared)
#undef ROW

static void channel_row(size_t n)
{
    channel = coil_channel_new(1, NULL);
    cancel_waiters(n, wait_channel);
    coil_channel_unref(channel);
}

static void completion_row(size_t n)
{
    struct coil_task *late = coil_spawn(coil_future_ref(shared));
    check(coil_completions_init(&completions, &late, 1, COIL_NEVER));
    cancel_waiters(n, wait_completion);
    coil_completions_fini(&completions);
}

static void shielded_row(size_t n)
{
    shielded = coil_spawn(coil_future_ref(shared));
    cancel_waiters(n, wait_shielded);
}

static void select_row(size_t n)
{
    for (size_t i = 0; i < n; i++)
        coil_queue_init(&queues[i], 1);
    cancel_waiters(n, wait_select);
    for (size_t i = 0; i < n; i++)
        coil_queue_fini(&queues[i]);
}

static struct coil_executor *executor;

static struct coil_result run_nothing(void *arg)
{
    (void)arg;
    return coil_result_int(0);
}

static struct coil_result run_until_written(void *fd)
{
    uint64_t times;
    return coil_result_int(read(*(int *)fd, &times, sizeof times));
}

static struct coil_future *wait_job(size_t i)
{
    (void)i;
    return coil_run_in_executor(executor, run_nothing, NULL);
}

static void job(size_t n)
{
    struct coil_executor_options options = COIL_EXECUTOR_OPTIONS_INIT;
    int fd = eventfd(0, EFD_CLOEXEC);
    options.threads_limit = 1;
    executor = coil_executor_new(&options);
    struct coil_task *first = coil_spawn(
        coil_run_in_executor(executor, run_until_written, &fd));
    passes(2);
    cancel_waiters(n, wait_job);
    eventfd_write(fd, 1);
    check((int)result_of(first));
    coil_task_drop(&first);
    coil_executor_free(executor);
    close(fd);
}

static struct coil_sender sender;

static struct coil_future *wait_sender(size_t i)
{
    (void)i;
    return coil_sender_send(&sender, "x", 1);
}

static void sender_row(size_t n)
{
    static char block[1 << 22];
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        die("socketpair: %s", strerror(errno));
    coil_sender_init(&sender, fds[0]);
    struct coil_task *first = coil_spawn(
        coil_sender_send(&sender, block, sizeof block));
    passes(3);
    cancel_waiters(n, wait_sender);
    close(fds[1]);
    result_of(first);
    coil_task_drop(&first);
    close(fds[0]);
}

/* ---- Calls -------------------------------------------------------------- */

static void not_called(void *arg)
{
    (void)arg;
    die("a call was made that was withdrawn");
}

/* Callbacks are removed from a future. */
static void callback(size_t n)
{
    for (size_t i = 0; i < n; i++)
        coil_future_add_done_callback(shared, &handles[i], not_called, NULL);
    measured_on();
    for (size_t i = 0; i < n; i++)
        coil_future_remove_done_callback(shared, &handles[from_middle(i, n)]);
    measured_off();
}

/* Calls are withdrawn that are in the ready queue. */
static void ready(size_t n)
{
    for (size_t i = 0; i < n; i++)
        coil_call_soon(&handles[i], not_called, NULL);
    measured_on();
    for (size_t i = 0; i < n; i++)
        coil_handle_cancel(&handles[from_middle(i, n)]);
    measured_off();
}

/* The same, where a future has made them ready. */
static void woken(size_t n)
{
    struct coil_future *f = coil_future_new();
    for (size_t i = 0; i < n; i++)
        coil_future_add_done_callback(f, &handles[i], not_called, NULL);
    coil_future_set_int(f, 0);
    measured_on();
    for (size_t i = 0; i < n; i++)
        coil_handle_cancel(&handles[from_middle(i, n)]);
    measured_off();
    coil_future_unref(f);
}

/* ---- Tasks together ----------------------------------------------------- */

/* Each awaits the task before it, and returns its pointer. */
struct in_row {
    struct coil_coro coro;
    struct coil_task *before;
};

static void give_back(char *text)
{
    LAUNDER(text);
}

static void in_row(struct coil_coro *co)
{
    static char text[] = "result";
    ASYNC_GIVES(in_row, my, give_back) {
        if (my->before)
            RETURN_AWAIT(my->before);
        AWAIT(coil_future_ref(shared));
        RETURN(text);
    }
}

struct owner {
    struct coil_coro coro;
    size_t n;
};

/* Ends with its tasks, which await each other. */
static void owner(struct coil_coro *co)
{
    ASYNC(owner, my) {
        for (size_t i = 0; i < my->n; i++)
            tasks[i] = SPAWN(in_row, .before = i ? tasks[i - 1] : NULL);
        AWAIT(coil_future_ref(shared));
    }
}

static void end_of_row(size_t n)
{
    struct coil_task *t = coil_spawn(CALL(owner, .n = n));
    passes(3);
    measured_on();
    coil_task_cancel(t);
    result_of(t);
    measured_off();
    coil_task_drop(&t);
    coil_future_unref(shared); /* its await has ended it */
    shared = coil_future_new();
}

/* Results that were passed on are freed. */
static void row_freed(size_t n)
{
    struct coil_future *last = shared;
    for (size_t i = 0; i < n; i++)
        tasks[i] = coil_spawn(CALL(in_row, .before = i ? tasks[i - 1] : NULL));
    passes(2);
    coil_future_set_int(last, 0);
    check(coil_loop_run_until_complete(loop, tasks[n - 1]));
    coil_future_unref(last);
    shared = coil_future_new();
    for (size_t i = 0; i + 1 < n; i++)
        coil_task_drop(&tasks[i]);
    measured_on();
    coil_task_drop(&tasks[n - 1]);
    measured_off();
}

static struct coil_event never;

struct member {
    struct coil_coro coro;
};

static void member(struct coil_coro *co)
{
    ASYNC(member) {
        AWAIT(coil_event_wait(&never));
    }
}

struct grouped {
    struct coil_coro coro;
    size_t n;
    struct coil_group group;
};

static void grouped(struct coil_coro *co)
{
    ASYNC(grouped, my) {
        GROUP(&my->group) {
            for (size_t i = 0; i < my->n; i++)
                SPAWN(member);
        }
    }
}

static void group(size_t n)
{
    struct coil_task *t = coil_spawn(CALL(grouped, .n = n));
    passes(3);
    measured_on();
    coil_task_cancel(t);
    result_of(t);
    measured_off();
    coil_task_drop(&t);
}

static struct coil_future *wait_member(size_t i)
{
    (void)i;
    return CALL(member);
}

static void gather(size_t n)
{
    spawn_waiters(n, wait_member);
    struct coil_task *t = coil_spawn(coil_gather(tasks, n));
    passes(2);
    measured_on();
    coil_task_cancel(t);
    result_of(t);
    end_tasks(n);
    measured_off();
    coil_task_drop(&t);
    drop_tasks(n);
}

/* ---- Descriptors -------------------------------------------------------- */

enum { DESCRIPTORS = 19000 };

static int fds[DESCRIPTORS];

static struct coil_future *wait_descriptor(size_t i)
{
    fds[i] = eventfd(0, EFD_CLOEXEC);
    if (fds[i] < 0)
        die("eventfd: %s", strerror(errno));
    return coil_poll(fds[i], POLLIN);
}

/* Closed one after the other, each with an operation in flight. */
static void descriptor(size_t n)
{
    spawn_waiters(n, wait_descriptor);
    measured_on();
    for (size_t i = 0; i < n; i++) {
        struct coil_task *t = coil_spawn(coil_close(fds[from_middle(i, n)]));
        check((int)result_of(t));
        coil_task_drop(&t);
    }
    end_tasks(n);
    measured_off();
    drop_tasks(n);
}

/* All at once. */
static void descriptors(size_t n)
{
    static struct coil_task *closes[DESCRIPTORS];
    spawn_waiters(n, wait_descriptor);
    measured_on();
    for (size_t i = 0; i < n; i++)
        closes[i] = coil_spawn(coil_close(fds[from_middle(i, n)]));
    for (size_t i = 0; i < n; i++)
        check((int)result_of(closes[i]));
    end_tasks(n);
    measured_off();
    drop_tasks(n);
    for (size_t i = 0; i < n; i++)
        coil_task_drop(&closes[i]);
}

static void allow_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        die("getrlimit: %s", strerror(errno));
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
    static const struct scale_row rows[] = {
        { "lock", lock_row, 0 },
        { "condition", condition_row, 0 },
        { "semaphore", semaphore_row, 0 },
        { "event", event_row, 0 },
        { "barrier", barrier_row, 0 },
        { "limiter", limiter_row, 0 },
        { "task_pool", task_pool_row, 0 },
        { "item", item_row, 0 },
        { "channel", channel_row, 0 },
        { "completion", completion_row, 0 },
        { "signal", signal_row, 0 },
        { "shared", shared_row, 0 },
        { "shielded", shielded_row, 0 },
        { "select", select_row, 0 },
        { "job", job, 0 },
        { "sender", sender_row, 0 },
        { "time", time_row, 0 },
        { "callback", callback, 0 },
        { "ready", ready, 0 },
        { "woken", woken, 0 },
        { "end_of_row", end_of_row, 0 },
        { "row_freed", row_freed, 0 },
        { "group", group, 0 },
        { "gather", gather, 0 },
        { "descriptor", descriptor, DESCRIPTORS },
        { "descriptors", descriptors, DESCRIPTORS },
        { NULL, NULL, 0 },
    };
    struct coil_loop_options options = {
        .size = sizeof options,
        .cq_entries = 32768, /* the kernel's table of operations is as large */
        .operations_limit = 65536,
    };
    allow_descriptors();
    check(coil_loop_new(&loop, &options));
    shared = coil_future_new();
    coil_event_init(&never);
    int status = scale_main("coil", rows, argc, argv);
    coil_future_unref(shared);
    coil_loop_close(loop);
    return status;
}
