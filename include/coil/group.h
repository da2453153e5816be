// SPDX-License-Identifier: MIT
#ifndef COIL_GROUP_H
#define COIL_GROUP_H

/*
 * group.h: tasks that succeed together or are cancelled together.
 *
 *     struct crawl {
 *         struct coil_coro coro;
 *         struct coil_group group;
 *         struct coil_task *a, *b;
 *         ...
 *     };
 *
 *     GROUP(&my->group) {
 *         my->a = SPAWN(fetch, .url = a);
 *         my->b = SPAWN(fetch, .url = b);
 *     }                                   // both have succeeded here
 *     AWAIT_TO(my->n, my->a);             // the handles are still valid
 *
 * The tasks that this coroutine spawns in the block, and those that other code
 * spawns by coil_group_spawn(), are in the group. The closing brace waits for
 * all of them. The first task that fails cancels the others and the rest of the
 * block, and the block fails with the error of that task, which a TRY around
 * the GROUP can catch. An error of another task is reported if no await or call
 * fetches it. If the code of the block fails first, the block fails with that
 * error, and all tasks are cancelled. A task that was cancelled has not failed.
 * A SPAWN that finds no memory makes the block fail with -ENOMEM; START returns
 * that error instead. If a failed task must not cancel the others, let it
 * RETURN its error as a value, or SPAWN the tasks outside of a group and TRY
 * each await.
 *
 * The wait at the brace is an await: a cancellation from outside ends it with
 * -ECANCELED, asks all tasks to end and replaces the value of RETURN.
 *
 * A coroutine may have several groups, also nested. A group may be entered
 * again once its block is over, as in a loop. Do not zero the group before
 * that: it keeps the handles of its tasks.
 */

#include <coil/api.h>
#include <coil/block.h>

COIL_BEGIN_DECLS

/*
 * In your memory, mostly a field of the frame; zero it before its first use. 64
 * bytes. The fields are private.
 */
struct coil_group {
    uintptr_t words[8];
};

/*
 * Run a coroutine or any future in the group, for code outside of the group's
 * block: tasks of the group, or calls of the loop. Memory that is lent to the
 * new task must outlive the group.
 *
 *     coil_group_spawn(my->group, CALL(fetch, .url = c));
 *
 * Result    the handle of the task. If the group accepts no task (it was not
 *           entered yet, was asked to end, or is over): a handle that has
 *           failed with COIL_ECLOSED; out of memory: with -ENOMEM
 * Lifetime  takes `future`, and discards it if the group accepts no task. The
 *           handle is valid until the group is entered again, or its coroutine
 *           is over
 * Source    asyncio TaskGroup.create_task()
 */
COIL_API struct coil_task *coil_group_spawn(struct coil_group *group,
                                            struct coil_future *future);

/*
 * The same without a handle: the task leaves the group when it ends.
 *
 * Result    0
 * Errors    COIL_ECLOSED: the group accepts no task; -ENOMEM
 * Lifetime  takes `future`, also on error
 */
COIL_API int coil_group_start(struct coil_group *group,
                              struct coil_future *future);

/*
 * Cancel all tasks of the group, and the rest of its block. The block does not
 * fail: the coroutine continues after the brace. A value of RETURN stands,
 * unless the brace of a group inside this one waits at that moment: that wait
 * is an await, and is cancelled. If the group was not entered yet, the first
 * await of its block is cancelled. If its block is over, nothing happens. A
 * second call changes nothing.
 *
 * Source    asyncio TaskGroup.cancel(); trio nursery.cancel_scope.cancel()
 */
COIL_API void coil_group_cancel(struct coil_group *group);

/*
 * Number of tasks of the group that have not ended; 0 before and after its
 * block. A generator that the group's brace is closing counts, too.
 *
 * Source    trio len(nursery.child_tasks)
 */
COIL_API size_t coil_group_count(const struct coil_group *group);

/*
 * The tasks of the group that have not ended, in the order in which they were
 * spawned: the first with NULL, then the one after `task`, NULL at the end.
 *
 * Lifetime  the result views the group; between two calls no task may be
 *           spawned or end
 * Source    trio nursery.child_tasks
 */
COIL_API struct coil_task *coil_group_next(const struct coil_group *group,
                                           const struct coil_task *task);

COIL_END_DECLS

#ifndef __cplusplus

/*
 * Begin the block of a group: the closing brace waits for all tasks spawned in
 * the block. Aborts in FINALLY, and while the group's block is open. Allocates
 * nothing.
 *
 * Errors    of the first task that failed, or of the code in the block
 * Lifetime  the caller lends `group` until this coroutine is over: the group
 *           keeps the handles of its tasks
 * Source    asyncio.TaskGroup, trio.open_nursery()
 */
#define COIL_GROUP(group) \
    COILI_COVER(COILI_LANDING(5), \
                for (coili_group_enter(co, COILI_LANDING(5), (group)); \
                     coili_block_more(co, COILI_LANDING(5));)) \
        COILI_WARNS_OF_EMPTY

#ifndef COIL_NO_SHORT_NAMES
#define GROUP(group) COIL_GROUP(group)
#endif

COIL_API void coili_group_enter(struct coil_coro *co, int32_t id,
                                struct coil_group *group);

#endif

#endif
