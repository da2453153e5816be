// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_allocations.c: what happens when memory is out.
 *
 * Each scenario is run with its 1st, 2nd, 3rd... allocation failing, alone and
 * with all later ones. It must end with -ENOMEM or do without; leave no block
 * and no descriptor behind; run each FINALLY exactly once; and have all its
 * permits back. Where every block is a malloc of its own (COIL_DEBUG, a
 * sanitizer) that is each single allocation; else each chunk of them.
 *
 * And the promise that makes FINALLY worth something: cancelling, closing and
 * releasing ask for no memory at all.
 */
#include "stage.h"

#include <coil/event.h>
#include <coil/io.h>
#include <coil/lock.h>
#include <coil/semaphore.h>

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* Frames that were made, and FINALLYs that ran. */
static int made, finals;

static struct coil_future *count_made(struct coil_future *f)
{
    made += !coil_future_done(f);
    return f;
}

#define MAKE(...) count_made(CALL(__VA_ARGS__))

static int run(struct coil_future *(*main)(void))
{
    struct coil_loop *loop;
    made = finals = 0;
    stage_reported.n = 0;
    int err = coil_loop_new(&loop, stage_options());
    if (err < 0)
        return err;
    struct coil_task *t = coil_spawn(main());
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    err = coil_future_error(coil_task_future(t));
    coil_loop_close(loop);
    CHECK_INT(finals, made);
    return err;
}

/* ---- The loop --------------------------------------------------------- */

static int open_and_close(void)
{
    struct coil_loop *loop;
    int err = coil_loop_new(&loop, stage_options());
    if (err == 0)
        coil_loop_close(loop);
    return err;
}

TEST(allocations_of_a_loop)
{
    test_every_allocation(open_and_close);
}

/* ---- Calls, children, scopes ------------------------------------------ */

static struct coil_semaphore permits;
static struct coil_lock mutex;
static struct coil_event event;

struct leaf {
    struct coil_coro coro;
    int passes;
    int err;
};

static void leaf(struct coil_coro *co)
{
    ASYNC(leaf, my) {
        for (; my->passes > 0; my->passes--)
            AWAIT(coil_sleep(0));
        if (my->err)
            FAIL(my->err);
        RETURN(1);
    FINALLY;
        finals++;
    }
}

struct nested {
    struct coil_coro coro;
    struct leaf place;
    int depth;
};

static void nested(struct coil_coro *co)
{
    ASYNC(nested, my) {
        HOLD(&permits);
        WITHIN(COIL_SECONDS(3600)) {
            if (my->depth > 0)
                AWAIT(MAKE(nested, .depth = my->depth - 1));
            AWAIT(MAKE(leaf, .passes = 1));
            AWAIT(coil_sleep(1));
        }
    FINALLY;
        finals++;
        made++;
        AWAIT(CALL_IN(&my->place, leaf, .passes = 1));
    }
}

static struct coil_future *make_nested(void)
{
    return MAKE(nested, .depth = 3);
}

static int nested_calls(void)
{
    coil_semaphore_init_bounded(&permits, 4);
    int err = run(make_nested);
    CHECK_INT(coil_semaphore_value(&permits), 4);
    return err;
}

TEST(allocations_of_nested_calls_with_holds_and_deadlines)
{
    test_every_allocation(nested_calls);
}

struct family {
    struct coil_coro coro;
    struct coil_task *a, *b, *c;
    struct coil_future *unused;
    int i, err;
};

static void family(struct coil_coro *co)
{
    ASYNC(family, my) {
        my->unused = MAKE(leaf);
        my->a = coil_spawn(MAKE(leaf, .passes = 3));
        my->b = coil_spawn(MAKE(leaf, .passes = 1000000));
        my->c = coil_spawn(coil_sleep(COIL_SECONDS(3600)));
        my->err = coil_start(MAKE(leaf, .passes = 2));
        coil_task_set_name(my->b, "b");
        coil_detach(coil_spawn(MAKE(leaf, .passes = 5)));
        coil_discard(MAKE(leaf));
        AWAIT(my->a);
        coil_task_cancel(my->b);
        coil_task_drop(&my->b);
        if (my->err)
            FAIL(my->err);
        /* The timers' heap grows by chunks. */
        for (my->i = 0; my->i < 300; my->i++)
            coil_task_drop(
                &(struct coil_task *){ coil_spawn(coil_sleep(1)) });
        AWAIT(coil_sleep(0));
    FINALLY;
        coil_discard(my->unused);
        coil_spawn(MAKE(leaf, .passes = 1));
        finals++;
    }
}

static struct coil_future *make_family(void)
{
    return MAKE(family);
}

static int children(void)
{
    return run(make_family);
}

TEST(allocations_of_children)
{
    test_every_allocation(children);
}

struct generates {
    struct coil_coro coro;
    int i, n;
};

static void generates(struct coil_coro *co)
{
    ASYNC(generates, my) {
        for (; my->i < my->n; my->i++) {
            AWAIT(MAKE(leaf, .passes = my->i % 2));
            YIELD(my->i);
        }
    FINALLY;
        finals++;
    }
}

struct iterates {
    struct coil_coro coro;
    int item, inner, sum;
};

static void iterates(struct coil_coro *co)
{
    ASYNC(iterates, my) {
        FOR_AWAIT(my->item, MAKE(generates, .n = 3)) {
            FOR_AWAIT(my->inner, MAKE(generates, .n = 5)) {
                if (my->inner == 2)
                    break;
                AWAIT(coil_sleep(0));
            }
        }
        FOR_AWAIT(my->item, MAKE(generates, .n = 100))
            if (my->item == 1)
                FAIL(-EPROTO);
    FINALLY;
        FOR_AWAIT(my->item, MAKE(generates, .n = 2))
            AWAIT(coil_sleep(0));
        finals++;
    }
}

static struct coil_future *make_iterates(void)
{
    return MAKE(iterates);
}

static int generators(void)
{
    int err = run(make_iterates);
    return err == -EPROTO ? 0 : err; /* with which it ends if it gets there */
}

TEST(allocations_of_generators)
{
    test_every_allocation(generators);
}

static void *made_pointer(void)
{
    return malloc(10);
}

struct gives {
    struct coil_coro coro;
};

static void gives(struct coil_coro *co)
{
    ASYNC_GIVES(gives, my, free) {
        (void)my;
        AWAIT(coil_sleep(0));
        void *memory = made_pointer();
        if (!memory)
            FAIL(-ENOMEM);
        RETURN(memory);
    }
}

struct passes_on {
    struct coil_coro coro;
    int depth;
};

static void passes_on(struct coil_coro *co)
{
    ASYNC(passes_on, my) {
        if (my->depth > 0)
            RETURN_AWAIT(CALL(passes_on, .depth = my->depth - 1));
        RETURN_AWAIT(CALL(gives));
    }
}

struct takes {
    struct coil_coro coro;
    void *memory;
};

static void takes(struct coil_coro *co)
{
    ASYNC(takes, my) {
        AWAIT(CALL(passes_on, .depth = 1)); /* freed: nobody takes it */
        AWAIT_TO(my->memory, CALL(passes_on, .depth = 2));
    FINALLY;
        free(my->memory);
    }
}

static struct coil_future *make_takes(void)
{
    return CALL(takes);
}

static int given_pointers(void)
{
    return run(make_takes);
}

TEST(allocations_of_given_pointers)
{
    test_every_allocation(given_pointers);
}

/* ---- Waiting for several ---------------------------------------------- */

struct gathers {
    struct coil_coro coro;
    struct coil_task *t[3], *task;
    int i, err;
};

static void spawn_three(struct gathers *my)
{
    for (int i = 0; i < 3; i++)
        my->t[i] = coil_spawn(
            MAKE(leaf, .passes = i, .err = i == 2 ? -EIO : 0));
}

static void gathers(struct coil_coro *co)
{
    ASYNC(gathers, my) {
        spawn_three(my);
        TRY_AWAIT(my->err, coil_gather(my->t, 3));
        if (my->err != -EIO)
            FAIL(my->err ? my->err : -EBADMSG);
        AWAIT(coil_gather_settled(my->t, 3));
        spawn_three(my);
        AWAIT(coil_wait(my->t, 3, COIL_FIRST_COMPLETED, COIL_SECONDS(3600)));
        AWAIT(coil_wait(my->t, 3, COIL_ALL_COMPLETED, COIL_NEVER));
        for (my->i = 0; my->i < 3; my->i++)
            coil_task_quiet(my->t[my->i]);
        struct coil_future *calls[] = { MAKE(leaf, .passes = 2),
                                        coil_sleep(1) };
        AWAIT(coil_gather(calls, 2));
    FINALLY;
        finals++;
    }
}

static struct coil_future *make_gathers(void)
{
    return MAKE(gathers);
}

static int gathering(void)
{
    return run(make_gathers);
}

TEST(allocations_of_gather_and_wait)
{
    test_every_allocation(gathering);
}

static void completes(struct coil_coro *co);

struct completes {
    struct coil_coro coro;
    struct coil_task *t[4], *task;
    int seen, err;
};

static void completes(struct coil_coro *co)
{
    ASYNC(completes, my) {
        for (int i = 0; i < 4; i++)
            my->t[i] = coil_spawn(MAKE(leaf, .passes = i));
        FOR_AWAIT(my->task, coil_as_completed(my->t, 4)) {
            AWAIT(my->task);
            my->seen++;
        }
        CHECK_INT(my->seen, 4);
        FOR_AWAIT(my->task, coil_as_completed(my->t, 4))
            break;
    FINALLY;
        finals++;
    }
}

static struct coil_future *make_completes(void)
{
    return MAKE(completes);
}

static int as_completed(void)
{
    return run(make_completes);
}

TEST(allocations_of_as_completed)
{
    test_every_allocation(as_completed);
}

static struct coil_future *next_leaf(void *arg)
{
    int *left = arg;
    return (*left)-- > 0 ? MAKE(leaf, .passes = *left % 3) : NULL;
}

struct maps {
    struct coil_coro coro;
    int left, seen;
    struct coil_task *task;
};

static void maps(struct coil_coro *co)
{
    ASYNC(maps, my) {
        my->left = 6;
        FOR_AWAIT(my->task, coil_map(3, next_leaf, &my->left)) {
            AWAIT(my->task);
            my->seen++;
        }
        CHECK_INT(my->seen, 6);
        my->left = 6;
        FOR_AWAIT(my->task, coil_map_unordered(2, next_leaf, &my->left)) {
            AWAIT(my->task);
            if (++my->seen == 9)
                break;
        }
    FINALLY;
        finals++;
    }
}

static struct coil_future *make_maps(void)
{
    return MAKE(maps);
}

static int mapping(void)
{
    return run(make_maps);
}

TEST(allocations_of_map)
{
    test_every_allocation(mapping);
}

struct waits_for {
    struct coil_coro coro;
    struct coil_task *task;
    int err;
};

/* -ENOMEM or what is expected. */
static int unless(int err, int expected)
{
    return err == expected ? 0 : err ? err : -EBADMSG;
}

static void waits_for(struct coil_coro *co)
{
    ASYNC(waits_for, my) {
        AWAIT(coil_wait_for(MAKE(leaf, .passes = 2), COIL_SECONDS(3600)));
        my->task = coil_spawn(MAKE(leaf, .passes = 2));
        AWAIT(coil_wait_for(my->task, COIL_SECONDS(3600)));
        TRY_AWAIT(my->err, coil_wait_for(MAKE(leaf), 0));
        if (unless(my->err, -ETIMEDOUT))
            FAIL(unless(my->err, -ETIMEDOUT));
        my->task = coil_spawn(MAKE(leaf, .passes = 1000000));
        TRY_AWAIT(my->err, coil_wait_for(my->task, COIL_US(1)));
        if (unless(my->err, -ETIMEDOUT))
            FAIL(unless(my->err, -ETIMEDOUT));
    FINALLY;
        finals++;
    }
}

static struct coil_future *make_waits_for(void)
{
    return MAKE(waits_for);
}

static int waiting_for(void)
{
    return run(make_waits_for);
}

TEST(allocations_of_wait_for)
{
    test_every_allocation(waiting_for);
}

/* ---- Semaphore, lock, event ------------------------------------------- */

struct contends {
    struct coil_coro coro;
    int i;
};

static void contends(struct coil_coro *co)
{
    ASYNC(contends, my) {
        for (my->i = 0; my->i < 2; my->i++) {
            HOLD(&permits);
            HOLD(&mutex);
            AWAIT(coil_sleep(0));
            RELEASE(&permits);
            RELEASE(&mutex);
        }
        AWAIT(coil_event_wait(&event));
        AWAIT(coil_semaphore_acquire(&permits));
        coil_semaphore_release(&permits);
    FINALLY;
        finals++;
    }
}

struct contest {
    struct coil_coro coro;
    struct coil_task *t[4];
    int i;
};

static void contest(struct coil_coro *co)
{
    ASYNC(contest, my) {
        for (int i = 0; i < 4; i++)
            my->t[i] = coil_spawn(MAKE(contends));
        for (my->i = 0; my->i < 20; my->i++)
            AWAIT(coil_sleep(0));
        coil_event_set(&event);
        AWAIT(coil_gather(my->t, 4));
    FINALLY;
        finals++;
    }
}

static struct coil_future *make_contest(void)
{
    return MAKE(contest);
}

static int contention(void)
{
    coil_semaphore_init_bounded(&permits, 2);
    coil_lock_init(&mutex);
    coil_event_init(&event);
    int err = run(make_contest);
    CHECK_INT(coil_semaphore_value(&permits), 2);
    CHECK(!coil_lock_locked(&mutex));
    CHECK(coil_waiters_empty(&permits.waiters));
    CHECK(coil_waiters_empty(&mutex.waiters));
    CHECK(coil_waiters_empty(&event.waiters));
    return err;
}

TEST(allocations_of_semaphore_lock_and_event)
{
    test_every_allocation(contention);
}

/* ---- Operations ------------------------------------------------------- */

struct transfers {
    struct coil_coro coro;
    int pipe[2], socket[2];
    char in[16];
    long n;
    struct coil_task *t;
};

static void transfers(struct coil_coro *co)
{
    ASYNC(transfers, my) {
        AWAIT_TO(my->n, coil_write(my->pipe[1], "pipe", 4));
        CHECK_INT(my->n, 4);
        AWAIT(coil_poll(my->pipe[0], POLLIN));
        AWAIT_TO(my->n, coil_read(my->pipe[0], my->in, sizeof my->in));
        CHECK_MEM(my->in, "pipe", 4);
        my->t = coil_spawn(coil_recv(my->socket[0], my->in, sizeof my->in));
        AWAIT_TO(my->n, coil_send(my->socket[1], "socket", 6));
        AWAIT_TO(my->n, my->t);
        CHECK_INT(my->n, 6);
        CHECK_MEM(my->in, "socket", 6);
        AWAIT(coil_shutdown(my->socket[1], SHUT_WR));
        AWAIT_TO(my->n, coil_recv(my->socket[0], my->in, sizeof my->in));
        CHECK_INT(my->n, 0);

    FINALLY;
        /* Closed for certain, memory or not. */
        AWAIT(coil_close(my->pipe[0]));
        AWAIT(coil_close(my->pipe[1]));
        AWAIT(coil_close(my->socket[0]));
        AWAIT(coil_close(my->socket[1]));
        finals++;
    }
}

static int ends[4];

static struct coil_future *make_transfers(void)
{
    return MAKE(transfers, .pipe = { ends[0], ends[1] },
                .socket = { ends[2], ends[3] });
}

static int operations(void)
{
    CHECK_INT(pipe2(ends, O_CLOEXEC), 0);
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends + 2), 0);
    int err = run(make_transfers);
    for (int i = 0; i < 4 && made == 0; i++) /* it never was */
        close(ends[i]);
    return err;
}

TEST(allocations_of_operations)
{
    test_every_allocation(operations);
}

/* ---- What asks for no memory ------------------------------------------ */

enum { WAITS, LOCKS, READS, SLEEPS, NESTS, GENERATES, COMBINES, DRAINS, KINDS };

struct waits {
    struct coil_coro coro;
    int kind, fd, depth;
    bool first;
    char in[8];
    struct hand *op;
    struct coil_task *t[2], *task;
    struct leaf place;
    int left, item;
};

static struct coil_future *endless(void *arg)
{
    (void)arg;
    return CALL(leaf, .passes = 1000000);
}

static void waits(struct coil_coro *co)
{
    ASYNC(waits, my) {
        WITHIN(COIL_SECONDS(3600)) {
            HOLD(&permits);
            if (my->kind == LOCKS) {
                my->first = !coil_lock_locked(&mutex);
                HOLD(&mutex); /* handed on, to the last of them, when all end */
                if (my->first)
                    AWAIT(coil_event_wait(&event));
            }
            if (my->kind == READS)
                AWAIT(coil_recv(my->fd, my->in, sizeof my->in));
            if (my->kind == SLEEPS)
                AWAIT(coil_sleep(COIL_SECONDS(3600)));
            if (my->kind == NESTS) {
                for (my->left = 0; my->left < 2; my->left++)
                    SPAWN(waits, .kind = LOCKS);
                if (my->depth > 0)
                    AWAIT(CALL(waits, .kind = NESTS, .depth = my->depth - 1));
                JOIN();
            }
            if (my->kind == GENERATES) {
                FOR_AWAIT(my->item, CALL(generates, .n = 100))
                    AWAIT(coil_event_wait(&event));
            }
            if (my->kind == COMBINES) {
                my->t[0] = SPAWN(waits, .kind = LOCKS);
                my->t[1] = coil_spawn(coil_gather(my->t, 1));
                coil_spawn(coil_wait_for(my->t[1], COIL_SECONDS(3600)));
                coil_spawn(coil_wait(my->t, 2, COIL_ALL_COMPLETED,
                                     COIL_SECONDS(3600)));
                FOR_AWAIT(my->task, coil_map(3, endless, NULL)) {
                }
            }
            if (my->kind == DRAINS)
                SPAWN(waits, .kind = WAITS, .op = my->op);
            if (my->kind == WAITS)
                AWAIT(hand_op(my->op));
        }

    FINALLY;
        AWAIT(coil_sleep(0));
        AWAIT(CALL_IN(&my->place, leaf, .passes = 1));
        finals++;
    }
}

struct everything {
    struct coil_coro coro;
    int fd;
    struct hand *op;
    int kind;
    struct coil_future *unused;
};

static void everything(struct coil_coro *co)
{
    ASYNC(everything, my) {
        for (my->kind = 0; my->kind < KINDS; my->kind++)
            SPAWN(waits, .kind = my->kind, .fd = my->fd, .depth = 5,
                  .op = my->op);
        my->unused = CALL(leaf);
        JOIN();
    FINALLY;
        coil_discard(my->unused);
        finals++;
    }
}

// When memory is out is when everything is cancelled: that must not need any.
TEST(allocations_are_not_made_to_cancel_release_or_clean_up)
{
    for (int closes = 0; closes < 2; closes++) {
        int fds[2];
        struct hand op = { .on_cancel = HAND_LINGERS };
        CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        coil_semaphore_init_bounded(&permits, 100);
        coil_lock_init(&mutex);
        coil_event_init(&event);
        stage_open();
        struct coil_task *t = coil_spawn(
            CALL(everything, .fd = fds[0], .op = &op));
        stage_passes(50);
        CHECK(coil_semaphore_value(&permits) < 90);
        size_t attempts = test_forbidden_allocations();

        test_forbid_allocations(true);
        if (closes) {
            struct coil_future *lingering = op.flying;
            op.on_cancel = HAND_ENDS;
            CHECK(lingering != NULL);
            stage_close();
        } else {
            coil_task_cancel(t);
            stage_passes(20);
            while (op.flying) {
                hand_set(&op, -ECANCELED, 0);
                stage_passes(20);
            }
            coil_loop_run_until_complete(stage_loop, t);
            coil_task_drop(&t);
        }
        test_forbid_allocations(false);
        CHECK_INT(test_forbidden_allocations(), attempts);
        if (!closes)
            stage_close();

        CHECK_INT(coil_semaphore_value(&permits), 100);
        CHECK(!coil_lock_locked(&mutex));
        close(fds[0]);
        close(fds[1]);
    }
}
