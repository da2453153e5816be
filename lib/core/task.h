// SPDX-License-Identifier: MIT
#ifndef COILI_TASK_H
#define COILI_TASK_H

/*
 * task.h: what stands in front of a frame, and how a frame is cancelled.
 *
 * Every frame that coil allocates can become a task, and has a struct coil_task
 * in front. A frame in the user's memory (CALL_IN) has none: task_of() is not
 * for it. `siblings` is linked by coroutine.c (frames that were not begun), by
 * task.c (a nursery) and removed by the file that starts or frees the frame;
 * `owner` is written by task.c.
 */

#include <coil/task.h>

#include "base/list.h"
#include "future.h"
#include "scope.h"

struct coil_task {
    struct coili_list siblings; /* of the nursery; or of loop->unstarted */
    struct coili_nursery *owner;
    struct coil_coro coro;
};

_Static_assert(offsetof(struct coil_task, coro) == COILI_TASK_HEAD,
               "machinery.h knows where a task begins");

static inline struct coil_task *task_of(struct coil_coro *co)
{
    return COILI_CONTAINER(co, struct coil_task, coro);
}

/*
 * The frame at the root of a running frame's task: up through callers, and
 * through the consumers of generators.
 */
static inline struct coil_coro *root_of(struct coil_coro *co)
{
    while (!(co->future.flags & F_TASK) && co->future.waiters)
        co = (struct coil_coro *)co->future.waiters;
    return co;
}

/* The name that coil_task_set_name() gave. */
struct name_scope {
    struct coili_scope scope;
    char name[64];
};

/* The name of its function, or the one it was given. */
const char *coili_name(struct coil_coro *co);

/* ---- Spawning --------------------------------------------------------- */

/* Spawn and start there; NULL: where coil_spawn() does. */
struct coil_task *coili_spawn_into(struct coili_nursery *n,
                                   struct coil_future *future);
int coili_start_into(struct coili_nursery *n, struct coil_future *future);

/* Make a frame that was not awaited a task of the loop that is cancelled. */
void coili_adopt(struct coil_loop *loop, struct coil_coro *co);

/* Wake a task's waiters and let go of the loop's reference. */
void coili_task_ended(struct coil_loop *loop, struct coil_coro *co);

/* ---- Cancelling ------------------------------------------------------- */

/* Cancel a frame and what it waits for. False: it is over. */
bool coili_cancel(struct coil_coro *co, enum coil_cancel_reason reason);

/*
 * One request more, or one less. REQUESTS_MOST means that many or more: that
 * count does not change any more, so that no request is lost.
 */
#define REQUESTS_MOST UINT8_MAX
void coili_count_request(struct coil_future *f);
void coili_uncount_request(struct coil_future *f);

/* Let a coroutine that has not begun go straight to its FINALLY. */
void coili_begin_cancelled(struct coil_coro *co, enum coil_cancel_reason why);

/* ---- Walking ---------------------------------------------------------- */

/* The frames of a task, one after the other, generators at rest among them. */
struct coil_coro *coili_next_frame(struct coil_coro *co);

/*
 * As coil_task_next(). Adds to *depth how much deeper the next task is in the
 * tree of tasks.
 */
struct coil_task *coili_task_next(struct coil_task *task, int *depth);

#endif
