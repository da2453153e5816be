// SPDX-License-Identifier: MIT
#ifndef COIL_GROUP_H
#define COIL_GROUP_H

/*
 * group.h: tasks that succeed together or end together.
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
 *     }                                   // both have ended well here
 *     AWAIT_TO(my->n, my->a);             // their handles are still good
 *
 * The tasks that this coroutine spawns in the block, and those that other code
 * spawns by coil_group_spawn(), are in the group. The closing brace waits for
 * all of them. The first task that fails cancels the others and the rest of the
 * block, and its error is that of the block, an error like any other: TRY
 * around the GROUP takes it. An error of another task is reported if no await
 * or call fetches it. If the code of the block fails first, its error is that
 * of the block, and all tasks are cancelled. A task that was cancelled has not
 * failed. A SPAWN that finds no memory makes the block fail with -ENOMEM; START
 * returns that error instead. Where some tasks may fail and the others are to
 * go on, let them RETURN what went wrong, or SPAWN them outside of a group and
 * TRY each await.
 *
 * The wait at the brace is an await: a cancellation from outside strikes it,
 * asks all tasks to end and takes the place of the value of RETURN.
 *
 * Groups may stand one after another in a coroutine, or in each other. A group
 * may be entered again once its block is over, as in a loop. Do not zero the
 * group in between: until then it keeps the handles of its tasks.
 */

#include <coil/api.h>
#include <coil/block.h>

COIL_BEGIN_DECLS

/*
 * In your memory, mostly a field of the frame; a group of zero bytes was not
 * entered yet. 64 bytes. The fields are private.
 */
struct coil_group {
    uintptr_t words[8];
};

/*
 * Run a coroutine or any future in the group, for code outside of the group's
 * block: its tasks, or calls of the loop. What the new task borrows must
 * outlive the group.
 *
 *     coil_group_spawn(my->group, CALL(fetch, .url = c));
 *
 * Result    the handle of the task. If the group accepts no task (it was not
 *           entered yet, was asked to end, or is over): a handle that has
 *           failed with COIL_ECLOSED; without memory: with -ENOMEM
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
 * fail: the coroutine goes on behind the brace. A value of RETURN stands,
 * unless the brace of a group inside this one waits at that moment: that wait
 * is an await, and is struck. If the group was not entered yet, its first await
 * is struck. If its block is over, nothing happens. A second call changes
 * nothing.
 *
 * Source    asyncio TaskGroup.cancel(); trio nursery.cancel_scope.cancel()
 */
COIL_API void coil_group_cancel(struct coil_group *group);

/*
 * Number of tasks of the group that have not ended; 0 before and after its
 * block. A generator that is being closed at the group's brace counts, too.
 *
 * Source    trio len(nursery.child_tasks)
 */
COIL_API size_t coil_group_count(const struct coil_group *group);

/*
 * The tasks of the group that have not ended, in the order in which they were
 * spawned: the first with NULL, then the one after `task`, NULL at the end.
 *
 * Lifetime  the result views the group; between two calls nothing may be
 *           spawned or end
 * Source    trio nursery.child_tasks
 */
COIL_API struct coil_task *coil_group_next(const struct coil_group *group,
                                           const struct coil_task *task);

COIL_END_DECLS

#ifndef __cplusplus

/*
 * A block: all tasks spawned in it have ended at its closing brace. Aborts in
 * FINALLY, and while the group's block is open. Nothing is allocated.
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
