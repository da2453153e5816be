// SPDX-License-Identifier: MIT
#ifndef COILI_FINISHERS_H
#define COILI_FINISHERS_H

/*
 * finishers.h: a list of tasks in the order in which they end, for one reader.
 */
#include <stdbool.h>

#include <coil/future.h>
#include <coil/task.h>

/* Tasks that have ended, in that order; the future of a reader that waits. */
struct coili_finishers {
    struct coili_finisher *first, *last;
    struct coil_future *wakeup;
};

/* A task that is watched. */
struct coili_finisher {
    struct coil_handle handle;
    struct coili_finishers *list;
    struct coili_finisher *next;
    struct coil_task *task;
    bool pending, ended;
};

/*
 * Append the task to the list once it has ended. Shares the task until it is
 * unwatched.
 */
void coili_finisher_watch(struct coili_finisher *it,
                          struct coili_finishers *list,
                          struct coil_task *task);

/* Stop watching the task. Does nothing if `it` is zero. */
void coili_finisher_unwatch(struct coili_finisher *it);

/* Remove the first task from the list; there must be one. */
struct coili_finisher *coili_finishers_pop(struct coili_finishers *list);

/* A future that is done when the list has grown. One at a time. */
struct coil_future *coili_finishers_wait(struct coili_finishers *list);

/* Complete that future: something else has changed. */
void coili_finishers_wake(struct coili_finishers *list);

/* The reader does not wait for that future any more. */
void coili_finishers_end_wait(struct coili_finishers *list);

#endif
