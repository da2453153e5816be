// SPDX-License-Identifier: MIT
/*
 * scale_pool.c: the line for connections of the HTTP client, as scale_coil.c.
 *
 *     scale_pool [--quick] [--row ROW] [--elements N]
 *
 * It uses the inside of the library: with whole requests there would be more
 * memory to touch than line to leave.
 */
#include <coil/coroutine.h>
#include <coil/task.h>

#include "http/client/pool.h"
#include "scale.h"

static struct coil_loop *loop;
static struct coil_task *tasks[MOST];
static struct coili_pool pool;
static struct coili_lease leases[MOST];
static struct coili_origin *origins[MOST];

static void check(int err)
{
    if (err < 0)
        die("failed: %s", coil_strerror(err));
}

static void ended(void *arg)
{
    (void)arg;
}

static void find_origins(size_t n, size_t hosts)
{
    for (size_t i = 0; i < n; i++) {
        char text[40];
        struct coil_url url;
        snprintf(text, sizeof text, "http://h%zu/", i % hosts);
        check(coil_url_parse(&url, text, strlen(text)));
        origins[i] = coili_origin_find(&pool, &url,
                                       (struct coili_tls){ NULL, NULL });
    }
}

/* Requests to so many hosts wait for the only connection, and leave. */
static void leave(size_t n, size_t hosts)
{
    struct coili_lease taken = { .conn = NULL };
    coili_pool_init(&pool, ended, NULL);
    pool.limit = 1;
    find_origins(n, hosts);
    check(coili_pool_take(origins[0], &taken));
    for (size_t i = 0; i < n; i++)
        tasks[i] = coil_spawn(
            coili_pool_wait(origins[i], &leases[i], COIL_NEVER));
    coil_loop_pass(loop, 0);
    coil_loop_pass(loop, 0);
    measured_on();
    for (size_t i = 0; i < n; i++)
        coil_task_cancel(tasks[from_middle(i, n)]);
    coil_loop_pass(loop, 0);
    measured_off();
    for (size_t i = 0; i < n; i++)
        coil_task_drop(&tasks[i]);
    coili_lease_drop(&taken);
    for (size_t i = 0; i < n; i++)
        coili_origin_unref(origins[i]);
    coili_pool_fini(&pool);
}

static void one_host(size_t n)
{
    leave(n, 1);
}

static void many_hosts(size_t n)
{
    leave(n, n);
}

int main(int argc, char **argv)
{
    static const struct scale_row rows[] = {
        { "pool", one_host, 0 },
        { "hosts", many_hosts, 0 },
        { NULL, NULL, 0 },
    };
    check(coil_loop_new(&loop, NULL));
    int status = scale_main("coil", rows, argc, argv);
    coil_loop_close(loop);
    return status;
}
