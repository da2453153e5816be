// SPDX-License-Identifier: MIT
/*
 * A pipeline: a queue of hosts, three workers that connect, a queue of hosts
 * that answer. A select feeds or prints; a loop that only feeds can deadlock.
 *
 *     ./build/samples/20_pipeline PORT HOST...
 *
 * Prints each host that accepts a connection, and why another one does not.
 */
#include <coil.h>
#include <errno.h>
#include <stdio.h>

static struct coil_queue hosts, reached; /* their items are char * */
static unsigned port, workers;

struct worker {
    struct coil_coro coro;
    char *host;
    int err;
};

static void worker(struct coil_coro *co)
{
    ASYNC(worker, my) {
        FOR_AWAIT(my->host, coil_queue_items(&hosts)) {
            TRY(my->err) WITHIN(COIL_SECONDS(10)) {
                AWAIT(coil_open_connection(my->host, (uint16_t)port, NULL));
            } /* no await takes the stream: coil closes it */
            if (my->err)
                fprintf(stderr, "%s: %s\n", my->host, coil_strerror(my->err));
            else
                AWAIT(coil_queue_put(&reached, my->host));
        }
        if (--workers == 0) /* all have seen the end of `hosts` */
            coil_queue_shutdown(&reached);
    }
}

struct pipeline {
    struct coil_coro coro;
    char **args, *host;
    struct coil_group group;
    struct coil_case cases[2];
    int which;
};

static void pipeline(struct coil_coro *co)
{
    ASYNC(pipeline, my) {
        coil_queue_init(&hosts, 3);
        coil_queue_init(&reached, 3);
        GROUP(&my->group) {
            for (; workers < 3; workers++)
                SPAWN(worker);
            my->cases[1] = coil_case_get(&reached);
            for (; *my->args; my->args += my->which == 0) {
                my->cases[0] = coil_case_put(&hosts, *my->args);
                AWAIT_TO(my->which, coil_select(my->cases, 2));
                if (my->which == 1)
                    puts(my->cases[1].item);
            }
            coil_queue_shutdown(&hosts); /* its items can still be got */
            FOR_AWAIT(my->host, coil_queue_items(&reached))
                puts(my->host);
        }

    FINALLY;
        coil_queue_fini(&hosts);
        coil_queue_fini(&reached);
    }
}

int main(int argc, char **argv)
{
    bool ok = argc > 1 && sscanf(argv[1], "%u", &port) == 1 && port < 65536;
    int err = ok ? RUN(pipeline, .args = argv + 2) : -EINVAL;
    return err < 0 ? fprintf(stderr, "%s\n", coil_strerror(err)), 1 : 0;
}
