// SPDX-License-Identifier: MIT
/*
 * as_completed.c: tasks in the order in which they end.
 *
 * A generator over the list of those that have ended. It owns none of them: to
 * leave it, or to cancel it, only takes its callbacks out of them.
 */
#include <coil/as_completed.h>

#include <errno.h>

#include <coil/coroutine.h>
#include <coil/loop.h>

#include "finishers.h"

struct as_completed {
    struct coil_coro coro;
    struct coil_task *const *tasks;
    size_t n, yielded;
    struct coili_finisher *all;
    struct coili_finishers list;
};

static void as_completed(struct coil_coro *co)
{
    COIL_ASYNC(as_completed, my) {
        my->all = coil_alloc((my->n + 1) * sizeof *my->all);
        if (!my->all)
            COIL_FAIL(-ENOMEM);
        for (size_t i = 0; i < my->n; i++)
            coili_finisher_watch(&my->all[i], &my->list, my->tasks[i]);

        for (; my->yielded < my->n; my->yielded++) {
            while (!my->list.first)
                COIL_AWAIT(coili_finishers_more(&my->list));
            COIL_YIELD(coili_finishers_pop(&my->list)->task);
        }

    COIL_FINALLY;
        coili_finishers_forget(&my->list);
        for (size_t i = 0; my->all && i < my->n; i++)
            coili_finisher_unwatch(&my->all[i]);
        coil_free(my->all, (my->n + 1) * sizeof *my->all);
    }
}

struct coil_future *coil_as_completed(struct coil_task *const *tasks, size_t n)
{
    return COIL_CALL(as_completed, .tasks = tasks, .n = n);
}
