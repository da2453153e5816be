// SPDX-License-Identifier: MIT
/*
 * test_embed_glib.c: coil inside GLib's main loop.
 *
 * A GSource with coil's descriptor, whose prepare() asks coil for the time. Its
 * dispatches are counted: GLib must neither hang nor spin.
 *
 * Without GLib (package libglib2.0-dev) the cases are skipped.
 */
#include "stage.h"

#if defined __has_include
#if __has_include(<glib.h>)
#define HAVE_GLIB 1
#endif
#endif

#ifndef HAVE_GLIB

TEST(embed_glib_runs_timers_sockets_and_threads)
{
    SKIP("no GLib: install libglib2.0-dev");
}

TEST(embed_glib_and_coil_take_turns)
{
    SKIP("no GLib: install libglib2.0-dev");
}

#else

#include <glib-unix.h>
#include <glib.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <coil/io.h>

struct coil_source {
    GSource source;
    gpointer tag;
    int dispatched;
};

static gboolean prepare(GSource *source, gint *timeout)
{
    int64_t ns = coil_loop_timeout(stage_loop);
    (void)source;
    *timeout = ns == COIL_NEVER ? -1 : (gint)((ns + 999999) / 1000000);
    return ns == 0;
}

static gboolean check(GSource *source)
{
    struct coil_source *s = (struct coil_source *)source;
    return g_source_query_unix_fd(source, s->tag) != 0 ||
           coil_loop_timeout(stage_loop) == 0;
}

static gboolean dispatch(GSource *source, GSourceFunc fn, gpointer data)
{
    (void)fn;
    (void)data;
    ((struct coil_source *)source)->dispatched++;
    coil_loop_pass(stage_loop, 0);
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs functions = { .prepare = prepare,
                                  .check = check,
                                  .dispatch = dispatch };

static GMainContext *context;
static GMainLoop *main_loop;
static struct coil_source *source;

static void open_both(void)
{
    test_heap_ignore(); // GLib keeps what it has
    stage_open();
    context = g_main_context_new();
    main_loop = g_main_loop_new(context, FALSE);
    source = (struct coil_source *)g_source_new(&functions, sizeof *source);
    source->tag = g_source_add_unix_fd(&source->source,
                                       coil_loop_fd(stage_loop), G_IO_IN);
    g_source_attach(&source->source, context);
}

static void close_both(void)
{
    g_source_destroy(&source->source);
    g_source_unref(&source->source);
    g_main_loop_unref(main_loop);
    g_main_context_unref(context);
    stage_close();
}

static void quit(void *arg)
{
    (void)arg;
    g_main_loop_quit(main_loop);
}

static int run(struct coil_task *task)
{
    struct coil_handle done = { 0 };
    coil_future_add_done_callback(coil_task_future(task), &done, quit, NULL);
    g_main_loop_run(main_loop);
    CHECK(coil_task_done(task));
    return coil_future_error(coil_task_future(task));
}

static void count(void *arg)
{
    ++*(int *)arg;
}

struct work {
    struct coil_coro coro;
    int fd, i;
    char byte;
};

static void work(struct coil_coro *co)
{
    COIL_ASYNC(work, my) {
        for (; my->i < 10; my->i++) {
            COIL_AWAIT(coil_sleep(COIL_MS(2)));
            COIL_AWAIT(coil_send(my->fd, "x", 1));
            COIL_AWAIT(coil_recv(my->fd, &my->byte, 1));
        }
    }
}

static void *peer(void *arg)
{
    static struct coil_handle call;
    static int called;
    int fd = *(int *)arg;
    char byte;
    while (recv(fd, &byte, 1, 0) == 1) {
        usleep(1000);
        if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1)
            break;
    }
    coil_call_soon_threadsafe(stage_loop, &call, count, &called);
    while (!__atomic_load_n(&called, __ATOMIC_ACQUIRE))
        usleep(100);
    return NULL;
}

TEST(embed_glib_runs_timers_sockets_and_threads)
{
    int fds[2];
    pthread_t thread;
    open_both();
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    CHECK_INT(pthread_create(&thread, NULL, peer, &fds[1]), 0);
    CHECK_INT(run(COIL_SPAWN(work, .fd = fds[0])), 0);
    CHECK(source->dispatched <= 10 * 12);
    close(fds[0]); // now the thread calls, and waits until it was called
    int before = source->dispatched;
    while (pthread_tryjoin_np(thread, NULL) != 0)
        g_main_context_iteration(context, FALSE);
    CHECK(source->dispatched - before <= 10);
    close(fds[1]);
    close_both();
}

static gboolean tick(gpointer ticks)
{
    return ++*(int *)ticks < 5;
}

struct wait_for_ticks {
    struct coil_coro coro;
    int *ticks;
};

static void wait_for_ticks(struct coil_coro *co)
{
    COIL_ASYNC(wait_for_ticks, my) {
        while (*my->ticks < 5)
            COIL_AWAIT(coil_sleep(COIL_MS(1)));
    }
}

TEST(embed_glib_and_coil_take_turns)
{
    int ticks = 0;
    open_both();
    GSource *timeout = g_timeout_source_new(3);
    g_source_set_callback(timeout, tick, &ticks, NULL);
    g_source_attach(timeout, context);
    g_source_unref(timeout);
    CHECK_INT(run(COIL_SPAWN(wait_for_ticks, .ticks = &ticks)), 0);
    CHECK_INT(ticks, 5);
    close_both();
}

#endif
