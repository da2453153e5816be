// SPDX-License-Identifier: MIT
// labels: threads
/*
 * test_thread_storm.c: all that crosses threads, at once. Three loops that
 * close at any moment and begin again, two plain threads, one channel, one
 * executor, promises that any thread sets, remote tasks from any thread in any
 * loop, signals; each await may be cancelled or left.
 *
 * What is checked: each thing that was made is freed exactly once (the harness
 * finds what is not), nothing hangs, and the sanitizers have nothing to say.
 * TEST_SEED chooses another storm, TEST_ROUNDS says how long it is. The threads
 * run as the kernel lets them: the same seed need not give the same storm.
 */
#include "test.h"

#include <coil.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <coil/channel.h>
#include <coil/executor.h>
#include <coil/promise.h>
#include <coil/remote.h>
#include <coil/remote_task.h>
#include <coil/signal.h>

#define LOOPS 3
#define PLAIN 2

static struct {
    struct coil_channel *channel;
    struct coil_executor *executor;
    pthread_mutex_t lock;
    struct coil_remote *remotes[LOOPS]; /* guarded by it; NULL: closed */
    struct coil_promise *promises[16];  /* to be set */
    atomic_int made, freed, told, asked;
    atomic_bool over;
    int rounds;
} sky = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* ---- Chance ----------------------------------------------------------- */

static _Thread_local uint32_t chance;

static unsigned roll(unsigned n)
{
    chance ^= chance << 13;
    chance ^= chance >> 17;
    chance ^= chance << 5;
    return chance % n;
}

/* ---- Things ----------------------------------------------------------- */

static void *thing_new(void)
{
    int *thing = malloc(sizeof *thing);
    CHECK(thing);
    *thing = 1;
    atomic_fetch_add(&sky.made, 1);
    return thing;
}

static void thing_free(void *thing)
{
    if (!thing)
        return;
    CHECK_INT((*(int *)thing)++, 1);
    free(thing);
    atomic_fetch_add(&sky.freed, 1);
}

static struct coil_remote *some_remote(void)
{
    unsigned i = roll(LOOPS);
    pthread_mutex_lock(&sky.lock);
    struct coil_remote *remote = sky.remotes[i];
    if (remote)
        coil_remote_ref(remote);
    pthread_mutex_unlock(&sky.lock);
    return remote;
}

static void publish(int i, struct coil_remote *remote)
{
    pthread_mutex_lock(&sky.lock);
    struct coil_remote *before = sky.remotes[i];
    sky.remotes[i] = remote ? coil_remote_ref(remote) : NULL;
    pthread_mutex_unlock(&sky.lock);
    if (before)
        coil_remote_unref(before);
}

/* Puts one in, takes out what was there. */
static struct coil_promise *swap_promise(struct coil_promise *p)
{
    unsigned i = roll(16);
    pthread_mutex_lock(&sky.lock);
    struct coil_promise *before = sky.promises[i];
    sky.promises[i] = p;
    pthread_mutex_unlock(&sky.lock);
    return before;
}

/* Set it, or break it. */
static void settle(struct coil_promise *p)
{
    if (!p)
        return;
    if (roll(4))
        coil_promise_set(p, coil_result_pointer(thing_new()));
    coil_promise_unref(p);
}

/* ---- What is awaited -------------------------------------------------- */

struct sender {
    struct coil_coro coro;
    void *thing;
};

static void sender(struct coil_coro *co)
{
    ASYNC(sender, my) {
        my->thing = thing_new();
        AWAIT(coil_channel_put(sky.channel, my->thing));
        my->thing = NULL;

    FINALLY;
        thing_free(my->thing);
    }
}

struct receiver {
    struct coil_coro coro;
    void *thing;
};

static void receiver(struct coil_coro *co)
{
    ASYNC_GIVES(receiver, my, thing_free) {
        AWAIT_TO(my->thing, coil_channel_get(sky.channel));
        RETURN(my->thing);
    }
}

struct lender {
    struct coil_coro coro;
    int n;
    int64_t twice;
};

static struct coil_result doubled(void *arg)
{
    if (chance == 0)
        chance = (uint32_t)(uintptr_t)&chance | 1;
    if (roll(8) == 0)
        settle(swap_promise(NULL));
    int *n = arg;
    *n *= 2;
    return coil_result_int(*n);
}

static void lender(struct coil_coro *co)
{
    ASYNC(lender, my) {
        my->n = 21;
        AWAIT_TO(my->twice, coil_run_in_executor(sky.executor, doubled,
                                                 &my->n));
        CHECK_INT(my->twice, 42);
    }
}

static struct coil_result another(void *arg)
{
    CHECK_INT(*(int *)arg, 1);
    return coil_result_pointer(thing_new());
}

static struct coil_future *parcel(void)
{
    return coil_run_in_executor_take(
        roll(4) ? sky.executor : NULL,
        &(struct coil_job){ .run = another, .arg = thing_new(),
                            .free_arg = thing_free,
                            .free_result = thing_free });
}

struct parcels {
    struct coil_coro coro;
    void *thing;
};

static void parcels(struct coil_coro *co)
{
    ASYNC(parcels, my) {
        AWAIT_TO(my->thing, parcel());
        thing_free(my->thing);
    }
}

static struct coil_future *promised(void)
{
    struct coil_promise *p = coil_promise_new(thing_free);
    struct coil_future *f = coil_promise_future(p);
    settle(swap_promise(p));
    return f;
}

struct hopeful {
    struct coil_coro coro;
    void *thing;
};

static void hopeful(struct coil_coro *co)
{
    ASYNC(hopeful, my) {
        AWAIT_TO(my->thing, promised());
        thing_free(my->thing);
    }
}

static struct coil_future *anything(void)
{
    switch (roll(7)) {
    case 0:
        return CALL(sender);
    case 1:
        return CALL(receiver);
    case 2:
        return CALL(lender);
    case 3:
        return CALL(parcels);
    case 4:
        return CALL(hopeful);
    case 5:
        return coil_wait_signal(SIGUSR1);
    default:
        return coil_sleep(COIL_US(roll(300)));
    }
}

static void detach_something(void)
{
    switch (roll(4)) {
    case 0:
        coil_detach_future(coil_channel_get(sky.channel));
        break;
    case 1:
        coil_detach_future(parcel());
        break;
    case 2:
        coil_detach_future(promised());
        break;
    default:
        coil_detach(coil_spawn(anything()));
    }
}

/* ---- Remote tasks ----------------------------------------------------- */

static struct coil_future *make(void *arg)
{
    CHECK_INT(*(int *)arg, 1);
    return roll(9) ? anything() : NULL;
}

static void told(void *arg)
{
    (void)arg;
    atomic_fetch_add(&sky.told, 1);
}

/* Join the task for a while, if that is allowed; cancel it, or forget it. */
static void spawn_remote(bool may_wait)
{
    struct coil_remote *remote = some_remote();
    if (!remote)
        return;
    struct coil_remote_task *t = coil_remote_spawn(
        remote, &(struct coil_remote_job){ .make = make,
                                           .arg = thing_new(),
                                           .free_arg = thing_free,
                                           .free_result = thing_free });
    CHECK(t);
    atomic_fetch_add(&sky.asked, 1);
    coil_remote_task_on_done(t, told, NULL);
    struct coil_result r;
    if (may_wait && roll(2) &&
        coil_remote_task_join(t, COIL_US(roll(400)), &r) == 0 &&
        r.kind == COIL_RESULT_POINTER)
        thing_free(r.value.p);
    if (roll(2))
        coil_remote_task_cancel(t);
    coil_remote_task_unref(t);
    coil_remote_unref(remote);
}

/* ---- The loops -------------------------------------------------------- */

struct weather {
    struct coil_coro coro;
    struct coil_task *tasks[8];
    int self, left, err;
    unsigned i;
};

static void weather(struct coil_coro *co)
{
    ASYNC(weather, my) {
        publish(my->self, coil_remote_current());
        for (my->left = (int)roll(60); my->left > 0; my->left--) {
            my->i = roll(8);
            switch (roll(6)) {
            case 0:
            case 1:
                if (my->tasks[my->i])
                    coil_task_drop(&my->tasks[my->i]);
                my->tasks[my->i] = coil_spawn(anything());
                break;
            case 2:
                if (my->tasks[my->i])
                    coil_task_cancel(my->tasks[my->i]);
                break;
            case 3:
                detach_something();
                break;
            case 4:
                spawn_remote(false);
                break;
            default:
                settle(swap_promise(NULL));
            }
            if (my->left % 2)
                AWAIT(coil_sleep(roll(3) ? 0 : COIL_US(100)));
        }

    FINALLY;
        if (roll(2)) /* or it is refused */
            publish(my->self, NULL);
    }
}

static void hush(const struct coil_exception *what, void *arg)
{
    (void)what;
    (void)arg;
}

static void *run_loop(void *arg)
{
    int self = (int)((uintptr_t)arg % 16);
    chance = (uint32_t)(uintptr_t)arg * 2654435761u | 1;
    struct coil_loop_options options = COIL_LOOP_OPTIONS_INIT;
    options.on_exception = hush;
    options.close_ns = COIL_SECONDS(200);
    options.sq_entries = 8;
    options.cq_entries = 64;
    while (!atomic_load(&sky.over)) {
        int err = RUN_WITH(&options, weather, .self = self);
        /* The kernel returns locked memory late, and the user's other
         * processes share the limit. */
        CHECK(err == 0 || err == -ENOMEM);
        nanosleep(&(struct timespec){ .tv_nsec = err ? 20000000 : 300000 },
                  NULL);
    }
    publish(self, NULL);
    return NULL;
}

static void *run_plain(void *arg)
{
    chance = (uint32_t)(uintptr_t)arg * 2654435761u | 1;
    for (int i = 0; i < sky.rounds; i++) {
        void *thing;
        switch (roll(6)) {
        case 0:
            thing = thing_new();
            if (coil_channel_put_blocking(sky.channel, thing,
                                          COIL_US(roll(300))) < 0)
                thing_free(thing);
            break;
        case 1:
            if (coil_channel_get_blocking(sky.channel, COIL_US(roll(300)),
                                          &thing) == 0)
                thing_free(thing);
            break;
        case 2:
        case 3:
            spawn_remote(true);
            break;
        case 4:
            settle(swap_promise(NULL));
            break;
        default:
            kill(getpid(), SIGUSR1);
        }
    }
    return NULL;
}

static void begin(uint32_t seed)
{
    struct coil_executor_options o = COIL_EXECUTOR_OPTIONS_INIT;
    o.threads_limit = 2;
    sky.executor = coil_executor_new(&o);
    sky.channel = coil_channel_new(2, thing_free);
    atomic_store(&sky.over, false);
    chance = seed * 2 + 1;
    signal(SIGUSR1, SIG_IGN);
}

static void end(void)
{
    for (int i = 0; i < 16; i++) {
        if (sky.promises[i])
            coil_promise_unref(sky.promises[i]);
        sky.promises[i] = NULL;
    }
    coil_executor_free(sky.executor);
    coil_channel_shutdown(sky.channel);
    coil_channel_unref(sky.channel);
    CHECK_INT(sky.made, sky.freed);
    CHECK_INT(sky.asked, sky.told);
}

static void rage(uint32_t seed)
{
    pthread_t loops[LOOPS], plain[PLAIN];
    begin(seed);
    for (uintptr_t i = 0; i < LOOPS; i++)
        CHECK_INT(pthread_create(&loops[i], NULL, run_loop,
                                 (void *)(seed * 16 + i)), 0);
    for (uintptr_t i = 0; i < PLAIN; i++)
        CHECK_INT(pthread_create(&plain[i], NULL, run_plain,
                                 (void *)(seed * 16 + 8 + i)), 0);
    for (int i = 0; i < PLAIN; i++)
        pthread_join(plain[i], NULL);
    atomic_store(&sky.over, true);
    for (int i = 0; i < LOOPS; i++)
        pthread_join(loops[i], NULL);
    end();
}

TEST(thread_storm_loses_and_doubles_nothing)
{
    const char *rounds = getenv("TEST_ROUNDS");
    sky.rounds = rounds ? atoi(rounds) : test_is_slow() ? 300 : 2000;
    int n = test_seeds(3);
    for (int i = 0; i < n; i++)
        rage((uint32_t)test_seed(i));
}
