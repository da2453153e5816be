// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_storm.c: thousands of tasks that do whatever comes to their mind, each
 * cancelled at whatever await it stands, in whatever pass that is.
 *
 * An actor is a random program: nested calls, children, generators, deadlines,
 * semaphores, locks, an event, sleeps, gather, wait_for, map, races, shields,
 * chains, transfers over pipes and sockets, and awaits of other actors, in
 * circles and of ancestors too. It may run into any deadlock: a request must
 * get it out. At the end every permit is back, every FINALLY ran exactly once,
 * nothing is in flight.
 *
 * A storm has a clock of its own, which each look at it moves on. So a seed
 * gives the same storm again, whatever else the machine does.
 *
 *     TEST_SEED=77 TEST_SEEDS=1 build/tests/test_storm
 */
#include "stage.h"

#include <coil/event.h>
#include <coil/io.h>
#include <coil/lock.h>
#include <coil/race.h>
#include <coil/semaphore.h>
#include <coil/shield.h>
#include <coil/then.h>

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#endif

/* ---- Chance ----------------------------------------------------------- */

static uint64_t random_state;

/* xorshift64*: the same storm again for the same seed. */
static unsigned chance(unsigned n)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (unsigned)((random_state * 0x2545f4914f6cdd1dull) >> 33) % n;
}

static bool one_in(unsigned n)
{
    return chance(n) == 0;
}

static int64_t some_time(void)
{
    return (int64_t)chance(300) * 1000 - 50000;
}

static enum coil_cancel_reason some_reason(void)
{
    return (enum coil_cancel_reason)chance(4);
}

/* ---- Time ------------------------------------------------------------- */

/* A step of 0: the clock of the system. */
static int64_t clock_ns, clock_step_ns;

/* The linker's names: each call of clock_gettime() calls the second one. */
int __real_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
    if (clock_step_ns == 0)
        return __real_clock_gettime(clock, ts);
    clock_ns += clock_step_ns;
    ts->tv_sec = clock_ns / 1000000000;
    ts->tv_nsec = clock_ns % 1000000000;
    return 0;
}

/* ---- The world -------------------------------------------------------- */

enum { SEMAPHORES = 3, LOCKS = 2, ROOTS_MAX = 512, PAIRS_MAX = 100 };

static struct {
    struct coil_semaphore sems[SEMAPHORES];
    struct coil_lock locks[LOCKS];
    struct coil_event event;
    struct coil_task *roots[ROOTS_MAX]; /* alive, or NULL */
    unsigned roots_n; /* few of them are cancelled often, many seldom */
    int made, over, pairs;
    bool ending; /* nobody begins anything more */
    bool asks_once; /* by coil_loop_close(): see storm_to_be_closed() */
    uint64_t late, caught, cancelled, finished;
} world;

static struct coil_future *made(struct coil_future *f)
{
    world.made += !coil_future_done(f);
    return f;
}

#define MAKE(...) made(CALL(__VA_ARGS__))

/* ---- Actors ----------------------------------------------------------- */

enum deed {
    LETS_OTHERS_GO,
    SLEEPS,
    TAKES_A_PERMIT,
    TAKES_A_LOCK,
    BORROWS_A_LOCK,
    GIVES_BACK,
    WAITS_FOR_THE_EVENT,
    CALLS,
    CATCHES,
    SPAWNS,
    GATHERS,
    WAITS,
    READS_AS_COMPLETED,
    MAPS,
    WAITS_FOR,
    RACES,
    SHIELDS,
    CHAINS,
    TRANSFERS,
    ITERATES,
    ITERATES_BY_HAND,
    AWAITS_ANOTHER,
    CANCELS,
    DROPS,
    ENDS,
    DEEDS
};

struct actor {
    struct coil_coro coro;
    int depth, steps, err, failed, i, n, item;
    enum deed deed;
    bool over, holds_sem[SEMAPHORES], holds_lock[LOCKS], pair, left;
    int fd[2];
    char in[24], out[24];
    long moved;
    struct coil_task *t[3], *task;
    struct coil_future *unused, *gen;
    bool more;
};

static struct coil_future *an_actor(int depth);

struct counts {
    struct coil_coro coro;
    int i, n, depth, heard;
    int64_t value;
    bool over, more;
    struct coil_future *inner;
};

static void counts(struct coil_coro *co)
{
    ASYNC(counts, my) {
        WITHIN(one_in(8) ? some_time() : COIL_NEVER) {
            for (my->i = 0; my->i < my->n; my->i++) {
                if (one_in(2))
                    AWAIT(coil_sleep(0));
                if (one_in(6) && my->depth > 0)
                    AWAIT(an_actor(my->depth - 1));
                if (one_in(2))
                    YIELD_TO(my->heard, my->i);
                else
                    YIELD(my->i);
                if (one_in(3) && my->depth > 0) {
                    my->inner = MAKE(counts, .n = 3, .depth = my->depth - 1);
                    if (one_in(2)) {
                        NEXT(my->more, my->heard, my->inner);
                        if (!my->more)
                            continue;
                    }
                    YIELD_FROM_TO(my->value, my->inner);
                    CHECK_INT(my->value, 3);
                }
            }
            RETURN(my->n);
        }

    FINALLY;
        CHECK(!my->over);
        my->over = true;
        if (one_in(2))
            AWAIT(coil_sleep(0));
        world.over++;
    }
}

/* The calls of a map that is over a generator. */
struct makes_actors {
    struct coil_coro coro;
    int n, depth;
    bool over;
};

static void makes_actors(struct coil_coro *co)
{
    ASYNC(makes_actors, my) {
        for (; my->n > 0; my->n--) {
            if (one_in(2))
                AWAIT(coil_sleep(0));
            YIELD(an_actor(my->depth));
        }
        if (one_in(3))
            FAIL(-EIO);

    FINALLY;
        CHECK(!my->over);
        my->over = true;
        world.over++;
    }
}

/* Sends after a while, so that the receiver waits, or not. */
struct sends {
    struct coil_coro coro;
    int fd, passes;
    const char *out;
    long moved;
    bool socket, over;
};

static void sends(struct coil_coro *co)
{
    ASYNC(sends, my) {
        for (; my->passes > 0; my->passes--)
            AWAIT(coil_sleep(0));
        if (my->socket)
            AWAIT_TO(my->moved, coil_send(my->fd, my->out, 20));
        else
            AWAIT_TO(my->moved, coil_write(my->fd, my->out, 20));
        CHECK_INT(my->moved, 20);
    FINALLY;
        CHECK(!my->over);
        my->over = true;
        world.over++;
    }
}

static struct coil_future *next_actor(void *arg)
{
    struct actor *my = arg;
    return my->n-- > 0 ? an_actor(my->depth - 1) : NULL;
}

static struct coil_future *then_an_actor(struct coil_future *done, void *arg)
{
    struct actor *my = arg;
    (void)done;
    if (one_in(3))
        coil_task_quiet(coil_spawn(an_actor(my->depth - 1)));
    return one_in(2) ? an_actor(my->depth - 1) : NULL;
}

/* A chain over an actor, or over a task of somebody else's. */
static struct coil_future *a_chain(struct actor *my, struct coil_task *task)
{
    struct coil_future *f = task ? coil_then(task, then_an_actor, my)
                                 : an_actor(my->depth - 1);
    f = coil_then_catch(f, then_an_actor, one_in(2) ? then_an_actor : NULL, my);
    return one_in(2) ? coil_finally(f, next_actor, my) : f;
}

static struct coil_task *another(void)
{
    struct coil_task *t = world.roots[chance(world.roots_n)];
    return t != coil_task_current() ? t : NULL;
}

static bool open_pair(struct actor *my, bool socket)
{
    if (world.pairs >= PAIRS_MAX)
        return false;
    int err = socket ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
                                  my->fd)
                     : pipe2(my->fd, O_CLOEXEC);
    CHECK_INT(err, 0);
    world.pairs++;
    my->pair = true;
    for (int i = 0; i < 20; i++)
        my->out[i] = (char)('a' + chance(26));
    return true;
}

static void spawn_some(struct actor *my)
{
    my->n = 1 + (int)chance(3);
    for (int i = 0; i < my->n; i++)
        my->t[i] = coil_spawn(an_actor(my->depth - 1));
}

static void actor(struct coil_coro *co)
{
    ASYNC(actor, my) {
        for (; my->steps > 0 && !world.ending; my->steps--) {
            my->deed = (enum deed)chance(DEEDS);
            TRY(my->failed) WITHIN(one_in(6) ? some_time() : COIL_NEVER) {
                if (my->deed == ENDS && one_in(2))
                    RETURN(my->depth);
                if (my->deed == ENDS)
                    FAIL(one_in(2) ? -EIO : -ECANCELED);
                if (my->deed == LETS_OTHERS_GO)
                    AWAIT(coil_sleep(0));
                if (my->deed == SLEEPS)
                    AWAIT(coil_sleep(some_time()));

                if (my->deed == TAKES_A_PERMIT) {
                    my->i = (int)chance(SEMAPHORES);
                    if (!my->holds_sem[my->i]) {
                        HOLD(&world.sems[my->i]);
                        my->holds_sem[my->i] = true;
                    }
                }
                if (my->deed == TAKES_A_LOCK) {
                    my->i = (int)chance(LOCKS);
                    if (!my->holds_lock[my->i]) {
                        HOLD(&world.locks[my->i]);
                        my->holds_lock[my->i] = true;
                    }
                }
                if (my->deed == BORROWS_A_LOCK) {
                    my->i = (int)chance(LOCKS);
                    if (!my->holds_lock[my->i]) {
                        WITH(&world.locks[my->i]) {
                            AWAIT(coil_sleep(0));
                            if (one_in(3) || my->depth == 0)
                                LEAVE;
                            AWAIT(an_actor(my->depth - 1));
                        }
                    }
                }
                if (my->deed == GIVES_BACK) {
                    my->i = (int)chance(LOCKS);
                    if (my->holds_lock[my->i])
                        RELEASE(&world.locks[my->i]);
                    my->holds_lock[my->i] = false;
                    if (my->holds_sem[my->i])
                        RELEASE(&world.sems[my->i]);
                    my->holds_sem[my->i] = false;
                }
                if (my->deed == WAITS_FOR_THE_EVENT && one_in(3))
                    AWAIT(coil_event_wait(&world.event));

                if (my->deed == AWAITS_ANOTHER) {
                    my->task = another();
                    if (my->task)
                        TRY_AWAIT(my->err, my->task);
                    else
                        coil_event_set(&world.event);
                }
                if (my->deed == CANCELS) {
                    if (one_in(3))
                        coil_task_cancel(coil_task_current());
                    if (one_in(6))
                        coil_task_uncancel(coil_task_current());
                    if ((my->task = another()))
                        coil_task_cancel_with(my->task, some_reason());
                    coil_event_clear(&world.event);
                }
                if (my->deed == TRANSFERS && !my->pair &&
                    open_pair(my, my->steps % 2)) {
                    START(sends, .fd = my->fd[1], .passes = (int)chance(4),
                          .out = my->out, .socket = my->steps % 2);
                    world.made++;
                    if (my->steps % 2)
                        AWAIT_TO(my->moved, coil_recv(my->fd[0], my->in, 20));
                    else
                        AWAIT_TO(my->moved, coil_read(my->fd[0], my->in, 20));
                    CHECK_INT(my->moved, 20);
                    CHECK_MEM(my->in, my->out, 20);
                }
                if (my->depth == 0)
                    continue;

                if (my->deed == CALLS)
                    AWAIT(an_actor(my->depth - 1));
                if (my->deed == CATCHES) {
                    TRY_ALL(my->err) AWAIT(an_actor(my->depth - 1));
                    world.caught += my->err == -ECANCELED;
                }
                if (my->deed == ITERATES) {
                    FOR_AWAIT(my->item, MAKE(counts, .n = 4,
                                             .depth = my->depth - 1)) {
                        if (one_in(3))
                            AWAIT(coil_sleep(0));
                        if (one_in(8))
                            break;
                    }
                }
                if (my->deed == ITERATES_BY_HAND) {
                    my->gen = MAKE(counts, .n = 5, .depth = my->depth - 1);
                    for (my->i = 0; my->i < 4; my->i++) {
                        if (one_in(2))
                            NEXT(my->more, my->item, my->gen);
                        else
                            TRY_NEXT(my->err, my->more, my->item, my->gen);
                        if (!my->more)
                            break;
                        if (one_in(2))
                            SEND(my->gen, my->i);
                        if (one_in(3))
                            AWAIT(coil_sleep(0));
                    }
                    if (my->more && one_in(3)) {
                        CLOSE(my->gen);
                    } else if (my->more && one_in(2)) {
                        FOR_AWAIT(my->item, my->gen) {
                            if (one_in(4))
                                break;
                        }
                    }
                }
                if (my->deed == WAITS_FOR)
                    TRY_AWAIT(my->err, coil_wait_for(an_actor(my->depth - 1),
                                                     some_time()));
                if (my->deed == SHIELDS && one_in(2))
                    TRY_AWAIT(my->err, coil_shield(an_actor(my->depth - 1)));
                else if (my->deed == SHIELDS && (my->task = another()))
                    TRY_AWAIT(my->err, coil_shield(my->task));
                if (my->deed == CHAINS) {
                    my->n = 1;
                    my->task = one_in(2) ? another() : NULL;
                    TRY_AWAIT(my->err, a_chain(my, my->task));
                }
                if (my->deed == MAPS) {
                    my->n = (int)chance(5);
                    FOR_AWAIT(my->task,
                              my->steps % 2
                                  ? coil_map(1 + chance(3), next_actor, my)
                                  : coil_map_unordered(1 + chance(3),
                                                       next_actor, my)) {
                        TRY_AWAIT(my->err, my->task);
                        my->left = one_in(6);
                        if (my->left)
                            break;
                    }
                    if (my->left && world.asks_once)
                        RETURN(my->depth);
                }
                if (my->deed == MAPS && one_in(2)) {
                    FOR_AWAIT(my->task,
                              my->steps % 2
                                  ? coil_map_over(1 + chance(3),
                                                  MAKE(makes_actors, .n = 4,
                                                       .depth = my->depth - 1))
                                  : coil_map_over_unordered(
                                        1 + chance(3),
                                        MAKE(makes_actors, .n = 4,
                                             .depth = my->depth - 1))) {
                        TRY_AWAIT(my->err, my->task);
                        my->left = one_in(6);
                        if (my->left)
                            break;
                    }
                    if (my->left && world.asks_once)
                        RETURN(my->depth);
                }
                if (my->deed == DROPS) {
                    if (my->unused)
                        coil_discard(my->unused);
                    my->unused = an_actor(my->depth - 1);
                }
                if (my->deed == SPAWNS || my->deed == GATHERS ||
                    my->deed == WAITS || my->deed == RACES ||
                    my->deed == READS_AS_COMPLETED)
                    spawn_some(my);
                if (my->deed == GATHERS && one_in(2))
                    TRY_AWAIT(my->err, coil_gather(my->t, (size_t)my->n));
                else if (my->deed == GATHERS)
                    AWAIT(coil_gather_settled(my->t, (size_t)my->n));
                if (my->deed == RACES && one_in(2))
                    TRY_AWAIT(my->err, coil_race(my->t, (size_t)my->n));
                else if (my->deed == RACES)
                    TRY_AWAIT(my->err, coil_staggered_race(some_time(), NULL,
                                                           next_actor, my));
                if (my->deed == WAITS)
                    AWAIT(coil_wait(my->t, (size_t)my->n,
                                    (enum coil_wait_mode)chance(4),
                                    some_time()));
                if (my->deed == WAITS && one_in(3))
                    AWAIT(coil_cancel_and_wait(my->t, (size_t)my->n));
                if (my->deed == READS_AS_COMPLETED) {
                    FOR_AWAIT(my->task,
                              coil_as_completed_within(
                                  my->t, (size_t)my->n,
                                  one_in(3) ? some_time() : COIL_NEVER)) {
                        TRY_AWAIT(my->err, my->task);
                        if (one_in(5))
                            break;
                    }
                }
                if (my->deed == SPAWNS) {
                    if (one_in(3))
                        coil_detach(my->t[0]);
                    else if (one_in(3))
                        coil_task_cancel(my->t[0]);
                    else if (one_in(2))
                        coil_task_drop(&my->t[0]);
                    if (one_in(2))
                        JOIN();
                }
            }
            world.late += my->failed == -ETIMEDOUT;
            if (my->failed && one_in(2))
                FAIL(my->failed);
        }
        world.finished++;

    FINALLY;
        CHECK(!my->over);
        my->over = true;
        if (my->unused)
            coil_discard(my->unused);
        if (one_in(3))
            AWAIT(coil_sleep(0));
        if (one_in(8)) {
            WITHIN(some_time())
                AWAIT(coil_sleep(100000));
        }
        if (my->pair) {
            AWAIT(coil_close(my->fd[0]));
            AWAIT(coil_close(my->fd[1]));
            world.pairs--;
        }
        if (one_in(10) && my->depth > 0)
            AWAIT(an_actor(my->depth - 1));
        world.over++;
    }
}

static struct coil_future *an_actor(int depth)
{
    return MAKE(actor, .depth = depth, .steps = 1 + (int)chance(6));
}

/* ---- The storm -------------------------------------------------------- */

static void begin(uint64_t seed)
{
    memset(&world, 0, sizeof world);
    random_state = seed * 0x9e3779b97f4a7c15ull + 1;
    clock_ns = COIL_SECONDS(1);
    clock_step_ns = COIL_US(20);
    world.roots_n = 16u << chance(6);
    for (int i = 0; i < SEMAPHORES; i++)
        coil_semaphore_init_bounded(&world.sems[i], (size_t)(i * 4 + 1));
    for (int i = 0; i < LOCKS; i++)
        coil_lock_init(&world.locks[i]);
    coil_event_init(&world.event);
}

static void blow(struct coil_task **slot)
{
    if (!*slot)
        return;
    world.cancelled += coil_task_cancel_with(*slot, some_reason());
    if (one_in(10))
        coil_task_cancel(*slot);
    if (one_in(50))
        coil_task_uncancel(*slot);
}

/* Forget those that have ended; true while there are others. */
static bool sweep(void)
{
    bool alive = false;
    for (int i = 0; i < ROOTS_MAX; i++) {
        struct coil_task **t = &world.roots[i];
        if (*t && coil_task_done(*t)) {
            coil_future_error(coil_task_future(*t));
            coil_task_drop(t);
        }
        alive |= *t != NULL;
    }
    return alive;
}

static void rage(int tasks, int depth)
{
    for (int pass = 0; tasks > 0; pass++) {
        for (int n = (int)chance(20); n > 0 && tasks > 0; n--) {
            struct coil_task **t = &world.roots[chance(world.roots_n)];
            if (!*t) {
                *t = coil_spawn(an_actor(depth));
                tasks--;
            }
        }
        for (int n = (int)chance(12); n > 0; n--)
            blow(&world.roots[chance(world.roots_n)]);
        if (one_in(20))
            coil_event_set(&world.event);
        coil_loop_pass(stage_loop, 0);
        sweep();
    }
}

/* Whatever holds them, a few requests get everybody out, detached ones too. */
static void calm_down(void)
{
    for (int round = 0; sweep() || stage_tasks() > 0; round++) {
        CHECK(round < 10000);
        struct coil_task *t = round % 8 ? NULL : coil_task_next(NULL);
        for (; t; t = coil_task_next(t))
            world.cancelled += coil_task_cancel(t);
        coil_loop_pass(stage_loop, COIL_MS(1));
    }
    coil_loop_pass(stage_loop, 0);
}

static void check_nothing_is_lost(void)
{
    CHECK_INT(world.over, world.made);
    CHECK_INT(world.pairs, 0);
    for (int i = 0; i < SEMAPHORES; i++) {
        CHECK_INT(coil_semaphore_value(&world.sems[i]), i * 4 + 1);
        CHECK(coil_waiters_empty(&world.sems[i].waiters));
    }
    for (int i = 0; i < LOCKS; i++) {
        CHECK(!coil_lock_locked(&world.locks[i]));
        CHECK(coil_waiters_empty(&world.locks[i].waiters));
    }
    CHECK(coil_waiters_empty(&world.event.waiters));
}

static void storm(uint64_t seed)
{
    int tasks = test_is_slow() ? 150 : 3000, depth = (int)(seed % 4);
    begin(seed);
    size_t blocks = test_heap_blocks();
    stage_open();
    rage(tasks, depth);
    calm_down();
    /* The loop itself: slots for operations, places for timers. */
    CHECK(test_heap_blocks() - blocks <= 16);
    stage_close();
    check_nothing_is_lost();
}

/*
 * A small storm, whose loop is closed some passes after the last task began. A
 * loop cancels its tasks once. So nothing may wait for ever that this one
 * request does not reach. An actor that catches the request begins nothing
 * more. A map that an actor has left gets a request only if the actor gets it
 * after its body: so the body of such an actor ends at once.
 */
static void storm_to_be_closed(uint64_t seed)
{
    struct coil_loop_options options = *stage_options();
    options.close_ns = COIL_MS(100);
    begin(seed);
    world.roots_n = 4u << chance(6);
    world.asks_once = true;
    clock_step_ns = (1 + chance(40)) * COIL_US(1);
    stage_open_often(&options);
    rage(20 + (int)chance(600), (int)(seed % 4));
    stage_passes((int)chance(30));
    world.ending = true;
    clock_step_ns = COIL_US(100);
    stage_close();
    check_nothing_is_lost();
}

// Several seeds, shallow and deep: no permit, no FINALLY, no buffer is lost.
TEST(storm_loses_nothing)
{
    test_timeout(60);
    bool cancelled = false, late = false;
    int n = test_seeds(22);
    for (int i = 0; i < n; i++) {
        storm(test_seed(i));
        cancelled |= world.cancelled > 0;
        late |= world.late > 0;
    }
    CHECK((cancelled && late) || n < 4);
}

// Tasks of the loop that wait for each other must end when it is closed.
TEST(storm_can_be_closed_in_the_midst_of_it)
{
    test_timeout(60);
    int n = test_seeds(1000);
    for (int i = 0; i < n; i++)
        storm_to_be_closed(test_seed(i));
}

/* ---- Buffers in flight ------------------------------------------------ */

#ifdef WITH_ASAN
/* So that a report ends the case by a signal, as a death test wants it. */
const char *__asan_default_options(void);

__attribute__((used, visibility("default"))) const char *
__asan_default_options(void)
{
    return "abort_on_error=1";
}
#endif

#ifdef WITH_ASAN
struct receives {
    struct coil_coro coro;
    int fd;
    _Alignas(8) char in[32]; /* poisoned by eights */
    long n;
};

static void receives(struct coil_coro *co)
{
    ASYNC(receives, my) {
        AWAIT_TO(my->n, coil_recv(my->fd, my->in, sizeof my->in));
        RETURN(my->n);
    }
}

static struct receives *begin_to_receive(int fds[2], struct coil_task **t)
{
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    stage_open();
    *t = coil_spawn(CALL(receives, .fd = fds[0]));
    stage_passes(2);
    return coil_task_frame(*t);
}
#endif

// A buffer that the kernel has is not to be looked at: a bug in the program.
DEATH_TEST(storm_buffer_in_flight_must_not_be_read, "use-after-poison")
{
#ifndef WITH_ASAN
    SKIP("AddressSanitizer is not here to see it");
#else
    int fds[2];
    struct coil_task *t;
    struct receives *frame = begin_to_receive(fds, &t);
    volatile char c = frame->in[0];
    (void)c;
#endif
}

// Not to be had back by cancelling: only the operation's own end returns it.
TEST(storm_buffer_in_flight_is_poisoned_until_the_final_completion)
{
#ifndef WITH_ASAN
    SKIP("AddressSanitizer is not here to see it");
#else
    for (int cancels = 0; cancels < 2; cancels++) {
        int fds[2];
        struct coil_task *t;
        struct receives *frame = begin_to_receive(fds, &t);
        CHECK(__asan_address_is_poisoned(frame->in));
        CHECK(__asan_address_is_poisoned(frame->in + sizeof frame->in - 1));
        if (cancels) {
            coil_task_cancel(t);
            CHECK(__asan_address_is_poisoned(frame->in));
        } else {
            CHECK_INT(write(fds[1], "12345", 5), 5);
        }
        CHECK_INT(stage_run(t), cancels ? -ECANCELED : 0);
        CHECK(!__asan_address_is_poisoned(frame->in));
        CHECK(!__asan_address_is_poisoned(frame->in + sizeof frame->in - 1));
        if (!cancels)
            CHECK_MEM(frame->in, "12345", 5);
        stage_close();
        close(fds[0]);
        close(fds[1]);
    }
#endif
}
