// SPDX-License-Identifier: MIT
#ifndef COILI_FINISHERS_H
#define COILI_FINISHERS_H

/*
 * finishers.h: tasks that have ended, in that order, for whoever reads them
 * one after the other.
 */
#include <stdbool.h>

#include <coil/future.h>
#include <coil/task.h>

/* Tasks that have ended, in that order; and who waits for the next one. */
struct coili_finishers {
    struct coili_finisher *first, *last;
    struct coil_future *wakeup;
};

struct coili_finisher {
    struct coil_handle handle;
    struct coili_finishers *list;
    struct coili_finisher *next;
    struct coil_task *task;
    bool pending, ended;
};

/* Put a task into the list once it has ended; keeps it. */
void coili_finisher_watch(struct coili_finisher *it,
                          struct coili_finishers *list,
                          struct coil_task *task);

/* No more of that one; harmless where none was watched, if zero. */
void coili_finisher_unwatch(struct coili_finisher *it);

/* Takes the first one; there must be one. */
struct coili_finisher *coili_finishers_pop(struct coili_finishers *list);

/* Done when the list has grown. One at a time. */
struct coil_future *coili_finishers_wait(struct coili_finishers *list);

/* Wake who waits for that: something else has changed. */
void coili_finishers_wake(struct coili_finishers *list);

/* Nobody waits for that any more. */
void coili_finishers_end_wait(struct coili_finishers *list);

#endif
