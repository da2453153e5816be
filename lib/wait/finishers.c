// SPDX-License-Identifier: MIT
/*
 * finishers.c: a list of tasks in the order in which they end.
 *
 * A callback of each task appends it to the list; a plain future, `wakeup`,
 * tells the one reader that the list has grown. The reader may stop at any
 * time: coili_finisher_unwatch() removes the callback from the task.
 */
#include "finishers.h"

void coili_finishers_wake(struct coili_finishers *list)
{
    if (!list->wakeup)
        return;
    struct coil_future *wakeup = list->wakeup;
    list->wakeup = NULL;
    coil_future_set_int(wakeup, 0);
    coil_future_unref(wakeup);
}

static void ended(void *arg)
{
    struct coili_finisher *it = arg;
    struct coili_finishers *list = it->list;
    it->pending = false;
    it->ended = true;
    it->next = NULL;
    if (list->last)
        list->last->next = it;
    else
        list->first = it;
    list->last = it;
    coili_finishers_wake(list);
}

void coili_finisher_watch(struct coili_finisher *it,
                          struct coili_finishers *list,
                          struct coil_task *task)
{
    *it = (struct coili_finisher){ .list = list, .task = task };
    coil_future_ref(coil_task_future(task)); /* may outlive its spawner */
    if (coil_task_done(task)) {
        ended(it);
        return;
    }
    it->pending = true;
    coil_future_add_done_callback(coil_task_future(task), &it->handle,
                                  ended, it);
}

void coili_finisher_unwatch(struct coili_finisher *it)
{
    if (!it->task)
        return;
    if (it->pending)
        coil_future_remove_done_callback(coil_task_future(it->task),
                                         &it->handle);
    coil_future_unref(coil_task_future(it->task));
    *it = (struct coili_finisher){ 0 };
}

struct coili_finisher *coili_finishers_pop(struct coili_finishers *list)
{
    struct coili_finisher *it = list->first;
    list->first = it->next;
    if (!list->first)
        list->last = NULL;
    return it;
}

struct coil_future *coili_finishers_wait(struct coili_finishers *list)
{
    struct coil_future *wakeup = coil_future_new();
    if (!coil_future_done(wakeup))
        list->wakeup = coil_future_ref(wakeup);
    return wakeup;
}

void coili_finishers_end_wait(struct coili_finishers *list)
{
    if (list->wakeup)
        coil_future_unref(list->wakeup);
    list->wakeup = NULL;
}
