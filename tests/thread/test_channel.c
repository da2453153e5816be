// SPDX-License-Identifier: MIT
// labels: core threads
/*
 * test_channel.c: items between coroutines, loops and threads. Each item that
 * was put is got once, whatever is cancelled in between.
 */
#include "gate.h"
#include "stage.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <coil/channel.h>

static void *number(intptr_t n)
{
    return (void *)n;
}

static atomic_int items_freed;

static void count_freed(void *item)
{
    (void)item;
    atomic_fetch_add(&items_freed, 1);
}

static struct coil_channel *channel(size_t limit)
{
    struct coil_channel *ch = coil_channel_new(limit, count_freed);
    CHECK(ch);
    return ch;
}

struct putter {
    struct coil_coro coro;
    struct coil_channel *channel;
    intptr_t n;
    int err;
};

static void putter(struct coil_coro *co)
{
    ASYNC(putter, my) {
        TRY_AWAIT(my->err, coil_channel_put(my->channel, number(my->n)));
        trace("s%d:%d", (int)my->n, my->err);
    }
}

struct getter {
    struct coil_coro coro;
    struct coil_channel *channel;
    int id, err;
    void *item;
};

static void getter(struct coil_coro *co)
{
    ASYNC(getter, my) {
        TRY_AWAIT_TO(my->err, my->item, coil_channel_get(my->channel));
        if (my->err)
            trace("r%d:%d", my->id, my->err);
        else
            trace("r%d=%d", my->id, (int)(intptr_t)my->item);
    }
}

/* ---- One loop --------------------------------------------------------- */

TEST(channel_is_first_come_first_served)
{
    stage_open();
    struct coil_channel *ch = channel(2);
    for (int i = 1; i <= 4; i++)
        SPAWN(putter, .channel = ch, .n = i);
    stage_passes(2);
    CHECK_TRACE("s1:0 s2:0");
    CHECK_INT(coil_channel_count(ch), 2);
    for (int i = 1; i <= 6; i++)
        SPAWN(getter, .channel = ch, .id = i);
    stage_passes(3);
    CHECK_TRACE("r1=1 r2=2 r3=3 r4=4 s3:0 s4:0");
    for (int i = 5; i <= 6; i++)
        SPAWN(putter, .channel = ch, .n = i);
    stage_passes(3);
    CHECK_TRACE("s5:0 s6:0 r5=5 r6=6");
    coil_channel_unref(ch);
    stage_close();
}

TEST(channel_now_or_not_at_all)
{
    void *item = NULL;
    struct coil_channel *ch = channel(2);
    CHECK_INT(coil_channel_get_nowait(ch, &item), -EAGAIN);
    for (int i = 1; i <= 5; i++) { /* round the ring */
        CHECK_INT(coil_channel_put_nowait(ch, number(i)), 0);
        CHECK_INT(coil_channel_put_nowait(ch, number(i + 10)), 0);
        CHECK_INT(coil_channel_put_nowait(ch, number(99)), -EAGAIN);
        CHECK_INT(coil_channel_get_nowait(ch, &item), 0);
        CHECK(item == number(i));
        CHECK_INT(coil_channel_get_nowait(ch, &item), 0);
        CHECK(item == number(i + 10));
    }
    CHECK_INT(coil_channel_put_nowait(ch, number(1)), 0);
    coil_channel_shutdown(ch);
    coil_channel_shutdown(ch);
    CHECK_INT(coil_channel_put_nowait(ch, number(1)), COIL_ECLOSED);
    CHECK_INT(coil_channel_get_nowait(ch, &item), 0);
    CHECK_INT(coil_channel_get_nowait(ch, &item), COIL_EEND);
    coil_channel_unref(ch);
    coil_channel_unref(NULL);
    CHECK_INT(items_freed, 0);
}

// Items in the channel are got; those of waiting putters stay the putters'.
TEST(channel_closed_is_drained)
{
    stage_open();
    struct coil_channel *ch = channel(1);
    SPAWN(putter, .channel = ch, .n = 1);
    SPAWN(putter, .channel = ch, .n = 2);
    stage_passes(1);
    coil_channel_shutdown(ch);
    stage_passes(1);
    CHECK_TRACE("s1:0 s2:-4099");
    SPAWN(getter, .channel = ch, .id = 1);
    SPAWN(getter, .channel = ch, .id = 2);
    SPAWN(putter, .channel = ch, .n = 3);
    stage_passes(2);
    CHECK_TRACE("r1=1 r2:-4096 s3:-4099");
    coil_channel_unref(ch);

    ch = channel(1);
    SPAWN(getter, .channel = ch, .id = 3);
    stage_passes(1);
    coil_channel_shutdown(ch);
    stage_passes(1);
    CHECK_TRACE("r3:-4096");
    coil_channel_unref(ch);
    stage_close();
}

TEST(channel_frees_what_is_left_in_it)
{
    struct coil_channel *ch = channel(3);
    for (int i = 0; i < 3; i++)
        CHECK_INT(coil_channel_put_nowait(ch, number(i)), 0);
    coil_channel_unref(coil_channel_ref(ch));
    CHECK_INT(items_freed, 0);
    coil_channel_unref(ch);
    CHECK_INT(items_freed, 3);
}

struct reads {
    struct coil_coro coro;
    struct coil_channel *channel;
    int stop_at;
    void *item;
};

static void reads(struct coil_coro *co)
{
    ASYNC(reads, my) {
        FOR_AWAIT(my->item, coil_channel_items(my->channel)) {
            trace("%d", (int)(intptr_t)my->item);
            if ((intptr_t)my->item == my->stop_at)
                break;
        }
        trace("end");
    }
}

TEST(channel_items_end_with_it)
{
    stage_open();
    struct coil_channel *ch = channel(4);
    SPAWN(reads, .channel = ch, .stop_at = 3);
    stage_passes(1);
    for (int i = 1; i <= 4; i++)
        CHECK_INT(coil_channel_put_nowait(ch, number(i)), 0);
    stage_passes(4);
    CHECK_TRACE("1 2 3 end");
    SPAWN(reads, .channel = ch);
    stage_passes(2);
    CHECK_TRACE("4");
    coil_channel_shutdown(ch);
    stage_passes(3);
    CHECK_TRACE("end");
    coil_future_unref(coil_channel_get(ch));
    coil_discard(coil_channel_items(ch));
    stage_close();
    coil_channel_unref(ch);
    CHECK_INT(test_heap_blocks(), 0); /* no reference is left */
}

/* ---- Cancelling ------------------------------------------------------- */

TEST(channel_waiter_that_is_cancelled_leaves)
{
    stage_open();
    struct coil_channel *ch = channel(1);
    struct coil_task *a = SPAWN(getter, .channel = ch, .id = 1);
    SPAWN(getter, .channel = ch, .id = 2);
    stage_passes(1);
    coil_task_cancel(a);
    CHECK_INT(coil_channel_put_nowait(ch, number(7)), 0);
    stage_passes(2);
    CHECK_TRACE("r2=7");
    CHECK_INT(coil_channel_put_nowait(ch, number(8)), 0);
    struct coil_task *b = SPAWN(putter, .channel = ch, .n = 9);
    stage_passes(1);
    coil_task_cancel(b);
    stage_passes(2);
    SPAWN(getter, .channel = ch, .id = 3);
    stage_passes(2);
    CHECK_TRACE("r3=8");
    CHECK_INT(coil_channel_count(ch), 0);
    coil_channel_unref(ch);
    stage_close();
}

// A getter is granted, then cancelled before it runs: its await has the item.
TEST(channel_item_granted_to_a_cancelled_getter_is_delivered)
{
    stage_open();
    struct coil_channel *ch = channel(1);
    struct coil_task *a = SPAWN(getter, .channel = ch, .id = 1);
    stage_passes(1);
    CHECK_INT(coil_channel_put_nowait(ch, number(7)), 0);
    coil_task_cancel(a);
    stage_passes(2);
    CHECK_TRACE("r1=7");
    coil_channel_unref(ch);
    stage_close();
}

// The value of a task is never fetched: its item goes to the next getter.
TEST(channel_item_that_nobody_took_is_the_first_again)
{
    stage_open();
    struct coil_channel *ch = channel(2);
    void *item = NULL;
    CHECK_INT(coil_channel_put_nowait(ch, number(1)), 0);
    CHECK_INT(coil_channel_put_nowait(ch, number(2)), 0);
    struct coil_task *a = coil_spawn(coil_channel_get(ch));
    stage_passes(2);
    CHECK_INT(coil_channel_count(ch), 1);
    coil_task_drop(&a);
    CHECK_INT(coil_channel_get_nowait(ch, &item), 0);
    CHECK(item == number(1));

    a = coil_spawn(coil_channel_get(ch));
    stage_passes(2);
    SPAWN(getter, .channel = ch, .id = 1);
    stage_passes(1);
    coil_task_drop(&a);
    stage_passes(1);
    CHECK_TRACE("r1=2");

    CHECK_INT(coil_channel_put_nowait(ch, number(3)), 0);
    a = coil_spawn(coil_channel_get(ch));
    stage_passes(2);
    CHECK_INT(coil_channel_put_nowait(ch, number(4)), 0);
    CHECK_INT(coil_channel_put_nowait(ch, number(5)), 0);
    coil_task_drop(&a);
    CHECK_INT(items_freed, 1); /* there was no room for it */
    coil_channel_unref(ch);
    CHECK_INT(items_freed, 3);
    stage_close();
}

// A queue does the same.
TEST(channel_items_that_no_await_took_return_to_their_old_positions)
{
    static const int orders[][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
                                     { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
    stage_open();
    for (int k = 0; k < 6; k++) {
        struct coil_channel *ch = channel(5);
        struct coil_task *tasks[3];
        void *item;
        for (int i = 0; i < 3; i++)
            tasks[i] = coil_spawn(coil_channel_get(ch));
        stage_passes(k % 2 ? 2 : 0); /* they wait, or get at once */
        for (int i = 1; i <= 4; i++)
            CHECK_INT(coil_channel_put_nowait(ch, number(i)), 0);
        stage_passes(2);
        for (int i = 0; i < 3; i++)
            coil_task_drop(&tasks[orders[k][i]]);
        for (int i = 1; i <= 4; i++) {
            CHECK_INT(coil_channel_get_nowait(ch, &item), 0);
            CHECK_INT((intptr_t)item, i);
        }
        coil_channel_unref(ch);
    }
    stage_close();
}

/* ---- Threads ---------------------------------------------------------- */

TEST(channel_wait_has_a_time_out)
{
    void *item = number(5);
    struct coil_channel *ch = channel(1);
    CHECK_INT(coil_channel_get_blocking(ch, COIL_MS(2), &item), -ETIMEDOUT);
    CHECK_INT(coil_channel_get_blocking(ch, 0, &item), -ETIMEDOUT);
    CHECK(item == number(5));
    CHECK_INT(coil_channel_put_blocking(ch, number(1), 0), 0);
    CHECK_INT(coil_channel_put_blocking(ch, number(2), COIL_MS(2)), -ETIMEDOUT);
    CHECK_INT(coil_channel_get_blocking(ch, COIL_NEVER, &item), 0);
    CHECK(item == number(1));
    CHECK_INT(coil_channel_count(ch), 0);
    coil_channel_shutdown(ch);
    CHECK_INT(coil_channel_get_blocking(ch, COIL_NEVER, &item), COIL_EEND);
    CHECK_INT(coil_channel_put_blocking(ch, item, COIL_NEVER), COIL_ECLOSED);
    coil_channel_unref(ch);
}

struct blocks {
    struct coil_coro coro;
    struct coil_channel *channel;
};

static void blocks(struct coil_coro *co)
{
    ASYNC(blocks, my) {
        void *item;
        coil_channel_get_blocking(my->channel, COIL_MS(1), &item);
    }
}

DEATH_TEST(channel_that_blocks_a_coroutine_aborts, "await the future instead")
{
    (void)RUN(blocks, .channel = channel(1));
}

DEATH_TEST(channel_without_any_room_aborts, "limit is 0: must be at least 1")
{
    (void)!coil_channel_new(0, NULL);
}

struct relay {
    struct coil_coro coro;
    struct coil_channel *from, *to;
    void *item;
};

static void relay(struct coil_coro *co)
{
    ASYNC(relay, my) {
        FOR_AWAIT(my->item, coil_channel_items(my->from)) {
            AWAIT(coil_channel_put(my->to, my->item));
        }

    FINALLY;
        coil_channel_shutdown(my->to);
    }
}

struct pair {
    struct coil_channel *from, *to;
};

static void *run_relay(void *arg)
{
    struct pair *pair = arg;
    CHECK_INT(RUN(relay, .from = pair->from, .to = pair->to), 0);
    return NULL;
}

// thread -> loop -> loop -> thread, through channels with room for one.
TEST(channel_passes_items_from_thread_to_loop_to_loop_to_thread)
{
    struct coil_channel *ch[3] = { channel(1), channel(1), channel(3) };
    struct pair pairs[2] = { { ch[0], ch[1] }, { ch[1], ch[2] } };
    pthread_t threads[2];
    int n = test_is_slow() ? 200 : 2000, sent = 0, got = 0;
    for (int i = 0; i < 2; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, run_relay, &pairs[i]), 0);
    void *item;
    while (got < n) {
        if (sent < n && coil_channel_put_nowait(ch[0], number(sent)) == 0) {
            if (++sent == n)
                coil_channel_shutdown(ch[0]);
        } else if (coil_channel_get_blocking(ch[2], COIL_MS(1), &item) == 0) {
            CHECK_INT((intptr_t)item, got++); /* in order */
        }
    }
    CHECK_INT(coil_channel_get_blocking(ch[2], COIL_NEVER, &item), COIL_EEND);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 3; i++)
        coil_channel_unref(ch[i]);
}

// Either side may drop the last reference.
TEST(channel_outlives_the_loop_that_made_it)
{
    stage_open();
    struct coil_channel *ch = channel(1);
    SPAWN(putter, .channel = ch, .n = 1);
    SPAWN(putter, .channel = ch, .n = 2);
    stage_passes(1);
    stage_close();
    CHECK_TRACE("s1:0");
    void *item;
    CHECK_INT(coil_channel_get_blocking(ch, COIL_NEVER, &item), 0);
    CHECK(item == number(1));
    CHECK_INT(coil_channel_get_blocking(ch, 0, &item), -ETIMEDOUT);
    coil_channel_unref(ch);
}

// No coroutine awaits the put: only the end of the loop can end it.
TEST(channel_detached_put_ends_with_its_loop)
{
    for (int i = 0; i < 2; i++) {
        struct coil_channel *ch = channel(1);
        stage_open();
        CHECK_INT(coil_channel_put_nowait(ch, number(1)), 0);
        coil_detach_future(coil_channel_put(ch, number(2)));
        coil_detach_future(coil_channel_put(ch, number(3)));
        void *item;
        CHECK_INT(coil_channel_get_nowait(ch, &item), 0);
        stage_close();
        CHECK_INT(items_freed, i * 2 + 1); /* the third */
        coil_channel_unref(ch);
        CHECK_INT(items_freed, i * 2 + 2);
    }
    struct coil_channel *ch = channel(1);
    stage_open();
    coil_detach_future(coil_channel_get(ch));
    stage_close();
    CHECK_INT(coil_channel_put_nowait(ch, number(1)), 0);
    CHECK_INT(coil_channel_count(ch), 1);
    coil_channel_unref(ch);
}

static void *waits_to_get(void *arg)
{
    void *item;
    (void)coil_channel_get_blocking(arg, COIL_NEVER, &item);
    return NULL;
}

static void *waits_to_put(void *arg)
{
    int err = coil_channel_put_blocking(arg, number(9), COIL_NEVER);
    return (void *)(intptr_t)err;
}

static void cancel_waiting(struct coil_channel *ch, void *(*fn)(void *))
{
    pthread_t thread;
    void *end;
    CHECK_INT(pthread_create(&thread, NULL, fn, ch), 0);
    usleep(1000);
    pthread_cancel(thread);
    pthread_join(thread, &end);
    CHECK(end == PTHREAD_CANCELED);
}

// The thread leaves neither a lock nor a waiter behind.
TEST(channel_thread_that_is_cancelled_leaves_the_waiters)
{
    struct coil_channel *ch = channel(1);
    void *item;
    test_timeout(5);
    cancel_waiting(ch, waits_to_get);
    CHECK_INT(coil_channel_put_nowait(ch, number(1)), 0);
    CHECK_INT(coil_channel_count(ch), 1);
    cancel_waiting(ch, waits_to_put);
    CHECK_INT(coil_channel_get_nowait(ch, &item), 0);
    CHECK_INT(coil_channel_count(ch), 0);
    coil_channel_unref(ch);
}

struct owner {
    struct coil_channel *channel;
    atomic_int owns, err;
    void *item;
};

static void still_owns(void *arg)
{
    ((struct owner *)arg)->owns++;
}

static void *puts_its_item(void *arg)
{
    struct owner *o = arg;
    pthread_cleanup_push(still_owns, o);
    o->err = coil_channel_put_blocking(o->channel, o->item, COIL_NEVER);
    pthread_cleanup_pop(o->err != 0);
    return NULL;
}

static void *gets_its_item(void *arg)
{
    struct owner *o = arg;
    o->err = coil_channel_get_blocking(o->channel, COIL_NEVER, &o->item);
    if (o->err == 0)
        still_owns(o);
    return NULL;
}

/*
 * The thread is cancelled at once when its wait need not go on. Whether its
 * call returns or is cut short, the item is the thread's or in the channel.
 */
TEST(channel_item_of_a_cancelled_put_has_one_owner)
{
    int n = test_is_slow() ? 40 : 400;
    for (int i = 0; i < n; i++) {
        struct owner o = { .channel = channel(1), .item = number(2) };
        pthread_t thread;
        void *item;
        CHECK_INT(coil_channel_put_nowait(o.channel, number(1)), 0);
        CHECK_INT(pthread_create(&thread, NULL, puts_its_item, &o), 0);
        usleep((useconds_t)(i % 4) * 50);
        CHECK_INT(coil_channel_get_nowait(o.channel, &item), 0);
        CHECK(item == number(1));
        pthread_cancel(thread);
        pthread_join(thread, NULL);
        CHECK_INT(o.owns + (int)coil_channel_count(o.channel), 1);
        coil_channel_unref(o.channel);
    }
}

TEST(channel_item_of_a_cancelled_get_has_one_owner)
{
    int n = test_is_slow() ? 40 : 400;
    for (int i = 0; i < n; i++) {
        struct owner o = { .channel = channel(1) };
        pthread_t thread;
        CHECK_INT(pthread_create(&thread, NULL, gets_its_item, &o), 0);
        usleep((useconds_t)(i % 4) * 50);
        CHECK_INT(coil_channel_put_nowait(o.channel, number(2)), 0);
        pthread_cancel(thread);
        pthread_join(thread, NULL);
        CHECK_INT(o.owns + (int)coil_channel_count(o.channel), 1);
        coil_channel_unref(o.channel);
    }
}

/* ---- Storm ------------------------------------------------------------ */

static struct {
    struct coil_channel *channel;
    atomic_long put, got, sum;
    int each;
} storm;

static void *put_many(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    for (int i = 1; i <= storm.each; i++) {
        seed = seed * 1103515245 + 12345;
        int64_t timeout_ns = seed >> 16 & 1 ? COIL_NEVER : COIL_US(50);
        int err = coil_channel_put_blocking(storm.channel, number(i),
                                            timeout_ns);
        if (err == 0) {
            atomic_fetch_add(&storm.put, 1);
            atomic_fetch_add(&storm.sum, i);
        } else {
            CHECK_INT(err, -ETIMEDOUT);
        }
    }
    return NULL;
}

static void got(void *item)
{
    atomic_fetch_add(&storm.got, 1);
    atomic_fetch_sub(&storm.sum, (intptr_t)item);
}

static void *get_many(void *arg)
{
    (void)arg;
    void *item;
    int err;
    while ((err = coil_channel_get_blocking(storm.channel, COIL_US(50),
                                            &item)) != COIL_EEND)
        if (err == 0)
            got(item);
    return NULL;
}

struct stormy {
    struct coil_coro coro;
    struct coil_task *tasks[8];
    int i, err, ends;
};

struct hasty {
    struct coil_coro coro;
    void *item;
};

static void hasty(struct coil_coro *co)
{
    ASYNC(hasty, my) {
        AWAIT_TO(my->item, coil_channel_get(storm.channel));
        got(my->item);
    }
}

/* Eight at once, cancelled at any moment. */
static void stormy(struct coil_coro *co)
{
    ASYNC(stormy, my) {
        while (my->ends == 0) {
            for (my->i = 0; my->i < 8; my->i++)
                my->tasks[my->i] = SPAWN(hasty);
            AWAIT(coil_sleep(0));
            AWAIT(coil_sleep(0));
            for (my->i = 0; my->i < 8; my->i++)
                coil_task_cancel(my->tasks[my->i]);
            for (my->i = 0; my->i < 8; my->i++) {
                TRY_ALL(my->err) AWAIT(my->tasks[my->i]);
                my->ends += my->err == COIL_EEND;
                coil_task_drop(&my->tasks[my->i]);
            }
        }
    }
}

static void *run_stormy(void *arg)
{
    (void)arg;
    CHECK_INT(RUN(stormy), 0);
    return NULL;
}

TEST(channel_storm_loses_and_doubles_nothing)
{
    pthread_t putters[3], getters[4];
    storm.channel = channel(4);
    storm.each = test_is_slow() ? 300 : 3000;
    for (uintptr_t i = 0; i < 3; i++)
        CHECK_INT(pthread_create(&putters[i], NULL, put_many, (void *)i), 0);
    for (int i = 0; i < 4; i++)
        CHECK_INT(pthread_create(&getters[i], NULL,
                                 i < 2 ? get_many : run_stormy, NULL),
                  0);
    for (int i = 0; i < 3; i++)
        pthread_join(putters[i], NULL);
    coil_channel_shutdown(storm.channel);
    for (int i = 0; i < 4; i++)
        pthread_join(getters[i], NULL);
    coil_channel_unref(storm.channel);
    CHECK_INT(storm.put, storm.got);
    CHECK_INT(storm.sum, 0);
    CHECK_INT(items_freed, 0);
}

// Threads wait in line with coroutines of two loops, and are cancelled there.
TEST(channel_storm_of_cancelled_threads_loses_and_doubles_nothing)
{
    pthread_t others[4];
    storm.channel = channel(2);
    storm.each = test_is_slow() ? 100 : 1000;
    for (uintptr_t i = 0; i < 4; i++)
        CHECK_INT(pthread_create(&others[i], NULL,
                                 i == 0   ? put_many
                                 : i == 1 ? get_many
                                          : run_stormy,
                                 (void *)i),
                  0);
    for (int i = 0; i < storm.each / 4; i++) {
        struct owner o[4];
        pthread_t threads[4];
        for (int k = 0; k < 4; k++) {
            o[k] = (struct owner){ .channel = storm.channel,
                                   .item = number(i + 1) };
            CHECK_INT(pthread_create(&threads[k], NULL,
                                     k == 3 ? gets_its_item : puts_its_item,
                                     &o[k]),
                      0);
        }
        usleep((useconds_t)(i % 4) * 50);
        for (int k = 0; k < 4; k++)
            pthread_cancel(threads[k]);
        for (int k = 0; k < 4; k++) {
            pthread_join(threads[k], NULL);
            if (k == 3 && o[k].owns) {
                got(o[k].item);
            } else if (k < 3 && !o[k].owns) {
                atomic_fetch_add(&storm.put, 1);
                atomic_fetch_add(&storm.sum, i + 1);
            }
        }
    }
    pthread_join(others[0], NULL);
    coil_channel_shutdown(storm.channel);
    for (int i = 1; i < 4; i++)
        pthread_join(others[i], NULL);
    coil_channel_unref(storm.channel);
    CHECK_INT(storm.put, storm.got);
    CHECK_INT(storm.sum, 0);
    CHECK_INT(items_freed, 0);
}

/* ---- Memory ----------------------------------------------------------- */

struct brief {
    struct coil_coro coro;
    struct coil_channel *channel;
    void *item;
};

static void brief(struct coil_coro *co)
{
    ASYNC(brief, my) {
        my->channel = coil_channel_new(1, NULL);
        if (!my->channel)
            FAIL(-ENOMEM);
        AWAIT(coil_channel_put(my->channel, number(1)));
        coil_channel_shutdown(my->channel);
        FOR_AWAIT(my->item, coil_channel_items(my->channel)) {
            CHECK(my->item == number(1));
        }

    FINALLY;
        coil_channel_unref(my->channel);
    }
}

static int run_brief(void)
{
    return RUN(brief);
}

TEST(channel_survives_every_failed_allocation)
{
    test_every_allocation(run_brief);
}

TEST(channel_allocates_nothing_in_plain_threads)
{
    struct coil_channel *ch = channel(1);
    void *item;
    test_forbid_allocations(true);
    CHECK_INT(coil_channel_put_blocking(ch, number(1), COIL_NEVER), 0);
    CHECK_INT(coil_channel_put_blocking(ch, number(1), COIL_US(10)),
              -ETIMEDOUT);
    coil_channel_get_blocking(ch, COIL_NEVER, &item);
    coil_channel_get_blocking(ch, COIL_US(10), &item);
    coil_channel_shutdown(ch);
    test_forbid_allocations(false);
    CHECK_INT(test_forbidden_allocations(), 0);
    coil_channel_unref(ch);
}
